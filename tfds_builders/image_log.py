"""Notes of a build on single images: left out, passed over, or stored with a note.

They are stored in `info.metadata` (counts, first examples) and, in full, in IMAGES_CSV beside the data.
"""

import collections
import csv
import dataclasses
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from etils import epath

from tfds_builders.errors import NOT_INSTALLED, NotAPicture
from tfds_builders.pixels import ImageError, Loaded

IMAGES_CSV = "images_with_problems.csv"
UNREADABLE, PASSED_OVER, NOTE = "unreadable", "passed over", "note"
EXAMPLES = 5  # images named for each note in `info.metadata`; IMAGES_CSV names all
_COLUMNS = ("kind", "table", "row", "image", "reason")


@dataclasses.dataclass
class ImageLog:
    """`entries` are [kind, table, row, image, reason]; `frames` [table, row, images of a file]."""

    entries: list[list] = dataclasses.field(default_factory=list)
    frames: list[list] = dataclasses.field(default_factory=list)

    def leave_out(self, table: str, row: int, path: str, error: ImageError | str) -> None:
        """Records that an image is not stored: broken, missing, or (`NotAPicture`) not an image.

        Args:
          table: name of the table file.
          row: of the image in it.
          path: of the image.
          error: why it is left out.
        """
        kind = PASSED_OVER if isinstance(error, NotAPicture) else UNREADABLE
        self.entries.append([kind, table, row, path, str(error)])

    def add_stored(self, table: str, row: int, name: str, loaded: Loaded) -> list[str]:
        """Records the notes on one file, and returns the ids of its images.

        Args:
          table: name of the table file.
          row: of the image in it.
          name: id of the file.
          loaded: its images and notes.
        """
        self.entries += [[NOTE, table, row, name, note] for note in loaded.notes]
        if len(loaded.images) == 1:
            return [name]
        self.frames.append([table, row, len(loaded.images)])
        return [f"{name}, frame {i + 1}" for i in range(len(loaded.images))]

    def left_out(self) -> Iterator[tuple[str, int]]:
        """Yields (table, row) of each image that is not stored."""
        return ((table, row) for kind, table, row, *_ in self.entries if kind != NOTE)

    def metadata(self) -> dict[str, Any]:
        """Returns the entries of `info.metadata`.

        skipped_images is [[row, path, reason]], passed_over {reason: images}, image_notes
        {note: [images, [the first few of their ids]]}.
        """
        entries = sorted(self.entries, key=lambda entry: entry[1:])
        notes: dict[str, list] = {}
        for kind, _, _, name, note in entries:
            if kind == NOTE:
                of_note = notes.setdefault(note, [0, []])
                of_note[0] += 1
                of_note[1] += [name] if len(of_note[1]) < EXAMPLES else []
        passed_over = collections.Counter(e[-1] for e in entries if e[0] == PASSED_OVER)
        return {
            "skipped_images": [[*e[2:]] for e in entries if e[0] == UNREADABLE],
            "passed_over": dict(passed_over.most_common()),
            "image_notes": notes,
        }

    def write_csv(self, folder: epath.Path) -> None:
        """Writes all entries into the `folder` of the prepared data; nothing if there are none."""
        if not self.entries:
            return
        with (folder / IMAGES_CSV).open("w") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            writer.writerows(sorted(self.entries))

    def to_json(self) -> str:
        """Returns both lists as JSON."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def join(cls, texts: Iterable[str]) -> "ImageLog":
        """Returns the union of logs that were written as JSON."""
        log = cls()
        for text in texts:
            part = json.loads(text)
            log.entries += part["entries"]
            log.frames += part["frames"]
        return log


def by_reason(skipped: Iterable[Sequence]) -> dict[str, list]:
    """Returns {reason: [images, row and path of the first]}, the commonest first.

    Reasons that differ in a number only ("12 extraneous bytes ...") are one.

    Args:
      skipped: (row, path, reason) of each image, as `info.metadata["skipped_images"]` has them.
    """
    groups: dict[str, list] = {}
    for row, path, reason in skipped:
        group = groups.setdefault(
            re.sub(r"\b(0x[0-9a-f]+|\d+)\b", "#", reason), [0, reason, row, path]
        )
        group[0] += 1
    ordered = sorted(groups.items(), key=lambda item: -item[1][0])
    return {
        (first if count == 1 else general): [count, f"row {row}, {path}"]
        for general, (count, first, row, path) in ordered
    }


def missing_decoders_note(metadata: Mapping[str, Any], folder: epath.Path) -> str:
    """Returns a note on a copy that was prepared where decoders were missing; "" for others.

    Such a copy is reused under the same name, even if a decoder has been installed since.

    Args:
      metadata: `info.metadata` of the copy.
      folder: of the copy.
    """
    number = sum(NOT_INSTALLED in reason for *_, reason in metadata.get("skipped_images", ()))
    if not number:
        return ""
    return (
        f"{number:,} images are not in this prepared copy, as the installation that prepared it had no "
        f"decoder for them. With the extra [dicom] installed, delete {folder} and run this again."
    )


def summary(metadata: Mapping[str, Any], folder: epath.Path) -> list[str]:
    """Returns lines for the terminal: how many images were left out or have a note, and why.

    Args:
      metadata: `info.metadata`.
      folder: of the prepared data.
    """
    lines = [
        f"Left out as unreadable: {number:,} x {reason} (first: {first})"
        for reason, (number, first) in by_reason(metadata.get("skipped_images", ())).items()
    ]
    lines += [
        f"Passed over, no picture: {number:,} x {reason}"
        for reason, number in metadata.get("passed_over", {}).items()
    ]
    lines += [
        f"Stored, with a note: {number:,} x {note} (first: {names[0]})"
        for note, (number, names) in metadata.get("image_notes", {}).items()
    ]
    if lines and (folder / IMAGES_CSV).exists():
        lines.append(f"All of them: {folder / IMAGES_CSV}")
    return lines
