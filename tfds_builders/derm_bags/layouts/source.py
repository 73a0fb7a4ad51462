"""The common form of all layouts: the rows that a manifest.csv would have had."""

import dataclasses
import os

import pandas as pd

from tfds_builders.folders import ImageRoot
from tfds_builders.problems import Problems

REQUIRED = ("case_id", "image_path")
OPTIONAL = ("label", "patient_id", "split")


@dataclasses.dataclass(frozen=True)
class Source:
    """The rows of a folder, not yet checked.

    `rows` has str values, one row per image, and the columns of a manifest: REQUIRED, those of
    OPTIONAL that the source knows, `label_columns`, and any others as metadata. Its index is the row
    number in `file`, or counts the images (from 1, in the order of their paths) where there is no table.
    """

    layout: str
    folder: str  # absolute
    rows: pd.DataFrame
    patient_id_from: str  # what named the patients
    file: str = ""  # the table that row numbers lead to; "" where there is none
    published: dict[str, str] = dataclasses.field(default_factory=dict)  # column -> its name there
    raw: bytes = b""  # the bytes of all tables, for the fingerprint
    images: ImageRoot | None = None  # where paths lead; None: `folder`, links not followed
    near: dict[str, str] = dataclasses.field(
        default_factory=dict
    )  # image_path that is missing -> file
    notes: tuple[str, ...] = ()  # assumptions, to be printed
    renamed_splits: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    salt: str = ""  # what else affected the rows; "" if earlier versions read the same rows
    problems: Problems = dataclasses.field(default_factory=Problems)  # of reading
    id_columns: tuple[str, ...] = ("case_id", "patient_id")  # checked for ids that were changed
    label_columns: tuple[str, ...] = ()  # of several labels a case; then there is no column `label`

    @property
    def image_root(self) -> ImageRoot:
        """Where the paths of images lead."""
        return self.images or ImageRoot(os.path.realpath(self.folder))

    @property
    def name(self) -> str:
        """The beginning of an error message about all rows."""
        return self.file or self.folder

    @property
    def metadata_columns(self) -> tuple[str, ...]:
        used = REQUIRED + OPTIONAL + self.label_columns
        return tuple(name for name in self.rows.columns if name not in used)

    def location(self, row: int) -> str:
        """Returns the beginning of an error message about one row."""
        return location(self.folder, self.file, row, "" if self.file else self._path(row))

    def file_and_row(self, row: int) -> tuple[str, int | None]:
        """Returns the file and the row, or the image and None where there is no table."""
        return (self.file, row) if self.file else (self.location(row), None)

    def mention(self, row: int) -> str:
        """Returns a row as an error message refers to it."""
        return f"row {row}" if self.file else repr(self._path(row))

    def _path(self, row: int) -> str:
        return self.rows["image_path"].iloc[row - 1]


def location(folder: str, file: str, row: int, path: str) -> str:
    """Returns the table and row of an image, or its path if there is no table.

    Args:
      folder: of the images.
      file: the table; "" without one.
      row: its row of the image.
      path: of the image, relative to `folder`.
    """
    return f"{file}, row {row}" if file else os.path.join(folder, path)
