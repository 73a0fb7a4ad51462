"""Notes on a folder: assumptions, images under another spelling, and classes without an image."""

from collections.abc import Mapping, Sequence

from tfds_builders.derm_bags.layouts import Source
from tfds_builders.splits import renaming_note


def salt(source: Source) -> str:
    """Returns what affected the rows besides tables, file names and options: "" for most folders."""
    renamed = f" {sorted(source.renamed_splits.items())}" if source.renamed_splits else ""
    return (f" {source.salt}" if source.salt else "") + renamed


def notes(
    source: Source, label_notes: Sequence[str], near: Sequence[tuple[str, str]]
) -> tuple[str, ...]:
    """Returns what is to be printed about a folder.

    Args:
      source: with notes of its own.
      label_notes: assumptions about ids and labels.
      near: (path of a missing image, path of a file of another spelling).
    """
    lines = list(source.notes)
    if source.file and source.renamed_splits:
        lines.append(renaming_note(source.renamed_splits))
    lines += label_notes
    if near:
        examples = "; ".join(f"{path!r} is there as {similar!r}" for path, similar in near[:3])
        lines.append(
            f"{len(near):,} of the missing images may be there under another spelling ({examples}): "
            "correct the table or rename the files."
        )
    return tuple(lines)


def lost_classes(missing_images: Mapping[str, int], stored: set[str]) -> dict[str, int]:
    """Returns {label: images} of the labels that no case has because all their images are missing.

    Args:
      missing_images: {label: missing images of cases that have it}.
      stored: the labels of the cases.
    """
    return {
        label: images for label, images in sorted(missing_images.items()) if label not in stored
    }
