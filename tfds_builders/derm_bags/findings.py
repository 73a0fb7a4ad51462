"""What is to be said of a folder beside its cases: what was assumed, nearly there, or lost."""

from collections.abc import Mapping, Sequence

from tfds_builders.derm_bags.layouts import Source
from tfds_builders.splits import renaming_note


def salt(source: Source) -> str:
    """Returns what decided the rows beside tables, names of files and options: "" for most folders."""
    renamed = f" {sorted(source.renamed_splits.items())}" if source.renamed_splits else ""
    return (f" {source.salt}" if source.salt else "") + renamed


def notes(
    source: Source, of_labels: Sequence[str], near: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    """Returns what is to be printed about a folder.

    Args:
      source: with notes of its own.
      of_labels: what was understood of ids and labels.
      near: (path of a missing image, path of a file of another spelling).
    """
    said = list(source.notes)
    if source.file and source.renamed_splits:
        said.append(renaming_note(source.renamed_splits))
    said += of_labels
    if near:
        first = "; ".join(f"{path!r} is there as {there!r}" for path, there in near[:3])
        said.append(
            f"{len(near):,} of the missing images may be there under another spelling ({first}): "
            "correct the table or rename the files."
        )
    return tuple(said)


def lost_classes(of_missing: Mapping[str, int], kept: set[str]) -> dict[str, int]:
    """Returns {label: images} of the labels that no case has, as all their images are missing.

    Args:
      of_missing: {label: missing images of cases that have it}.
      kept: the labels of the cases.
    """
    return {label: images for label, images in sorted(of_missing.items()) if label not in kept}
