"""What is to be said of a folder beside its cases: what was assumed, nearly there, or lost."""

import collections

from tfds_builders.derm_bags.labels import parse_label
from tfds_builders.derm_bags.layouts import Source
from tfds_builders.splits import renaming_note


def salt(source: Source) -> str:
    """Returns what decided the rows beside tables, names of files and options: "" for most folders."""
    renamed = f" {sorted(source.renamed_splits.items())}" if source.renamed_splits else ""
    return (f" {source.salt}" if source.salt else "") + renamed


def notes(source: Source, near: list[tuple[str, str]]) -> tuple[str, ...]:
    """Returns what is to be printed about a folder: what was assumed, and what is nearly there."""
    said = list(source.notes)
    if source.file and source.renamed_splits:
        said.append(renaming_note(source.renamed_splits))
    if near:
        first = "; ".join(f"{path!r} is there as {there!r}" for path, there in near[:3])
        said.append(
            f"{len(near):,} of the missing images may be there under another spelling ({first}): "
            "correct the table or rename the files."
        )
    return tuple(said)


def lost_classes(
    source: Source, missing: list[tuple[int, str, str]], kept: set[str]
) -> dict[str, int]:
    """Returns {label: images} of the labels that no case has, as all their images are missing."""
    if not missing or "label" not in source.rows.columns:
        return {}
    rows = {row for row, *_ in missing}
    cells = source.rows["label"][source.rows.index.isin(rows)]
    weights = [parse_label(cell) for cell in cells]
    lost = collections.Counter(of_row[0][0] for of_row in weights if of_row)
    return {label: images for label, images in sorted(lost.items()) if label not in kept}
