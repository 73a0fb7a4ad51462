"""What every layout of a folder is turned into: the rows a manifest.csv would have had."""

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
    raw: bytes = b""  # the bytes of all tables: what decides the rows, besides names of files
    images: ImageRoot | None = None  # where paths lead; None: `folder`, links not followed
    near: dict[str, str] = dataclasses.field(
        default_factory=dict
    )  # image_path that is missing -> file
    notes: tuple[str, ...] = ()  # what was assumed or understood, to be printed
    renamed_splits: dict[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    salt: str = ""  # what else decided the rows; "" for what earlier versions read, and as they did
    problems: Problems = dataclasses.field(default_factory=Problems)  # found while reading
    id_columns: tuple[str, ...] = ("case_id", "patient_id")  # checked for ids that were changed
    label_columns: tuple[str, ...] = ()  # of several labels a case; then there is no column `label`

    @property
    def image_root(self) -> ImageRoot:
        """Where the paths of images lead."""
        return self.images or ImageRoot(os.path.realpath(self.folder))

    @property
    def name(self) -> str:
        """What a message about all rows begins with."""
        return self.file or self.folder

    @property
    def metadata_columns(self) -> tuple[str, ...]:
        others = REQUIRED + OPTIONAL + self.label_columns
        return tuple(name for name in self.rows.columns if name not in others)

    def place(self, row: int) -> str:
        """Returns what a message about one row begins with."""
        return place(self.folder, self.file, row, "" if self.file else self._path(row))

    def where(self, row: int) -> tuple[str, int | None]:
        """Returns the file and the row, or the image and None where there is no table."""
        return (self.file, row) if self.file else (self.place(row), None)

    def mention(self, row: int) -> str:
        """Returns a row as an error message refers to it."""
        return f"row {row}" if self.file else repr(self._path(row))

    def _path(self, row: int) -> str:
        return self.rows["image_path"].iloc[row - 1]


def place(folder: str, file: str, row: int, path: str) -> str:
    """Returns the file and row of an image, or its path where there is no file."""
    return f"{file}, row {row}" if file else os.path.join(folder, path)
