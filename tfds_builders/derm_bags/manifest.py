"""Reads and checks `manifest.csv`; everything wrong with it is a DataError naming file and row.

Images are looked up (path, size, time of change) but not opened: that is `images.py`, at build.
"""

import dataclasses
import hashlib
import os
import re

import pandas as pd

from tfds_builders.derm_bags.table import COLUMNS, FILE_NAME, OPTIONAL, REQUIRED, parse_table
from tfds_builders.errors import DataError
from tfds_builders.folders import PathError, check_folder, look_up
from tfds_builders.splits import hash_split
from tfds_builders.tables import read_bytes


@dataclasses.dataclass(frozen=True)
class ImageRow:
    """One row: `row` counts as a spreadsheet does (header = 1); `path` as written, no blanks."""

    row: int
    path: str
    metadata: tuple[str, ...]  # in the order of Manifest.metadata_columns


@dataclasses.dataclass(frozen=True)
class Case:
    """The images of one case, in the order of the manifest; `label` is "" where there is none."""

    case_id: str
    patient_id: str
    split: str
    label: str
    images: tuple[ImageRow, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A checked manifest: no case in two patients, no patient (and no image) in two splits."""

    folder: str  # absolute
    cases: tuple[Case, ...]
    classes: tuple[str, ...]  # sorted; empty if no row has a label
    metadata_columns: tuple[str, ...]
    patient_id_from: str  # the column that named the patients
    fingerprint: str  # sha256, hex


def read_manifest(manual_dir: str | os.PathLike, salt: str = "") -> Manifest:
    """Returns the checked manifest of the folder `manual_dir`.

    Args:
      manual_dir: folder with manifest.csv; image paths in it are relative to this folder.
      salt: whatever else decides what is built; goes into the fingerprint.

    Raises:
      DataError: for anything the user has to mend, see the module docstring.
    """
    folder = check_folder(manual_dir, FILE_NAME, COLUMNS)
    file = os.path.join(folder, FILE_NAME)
    raw = read_bytes(file)
    table = parse_table(file, raw)
    digest = hashlib.sha256(salt.encode() + b"\0" + raw)
    cases = _Checker(folder, file, table, digest).cases()
    _check_train(file, cases, has_split="split" in table.columns)
    return Manifest(
        folder=folder,
        cases=cases,
        classes=tuple(sorted({case.label for case in cases} - {""})),
        metadata_columns=_metadata_columns(table),
        patient_id_from="patient_id" if "patient_id" in table.columns else "case_id",
        fingerprint=digest.hexdigest(),
    )


def _metadata_columns(table: pd.DataFrame) -> tuple[str, ...]:
    return tuple(name for name in table.columns if name not in REQUIRED + OPTIONAL)


def _check_train(file: str, cases: tuple[Case, ...], has_split: bool) -> None:
    splits = sorted({case.split for case in cases})
    if "train" in splits:
        return
    if has_split:
        raise DataError(
            f"{file}: no row has split 'train' (found: {', '.join(splits)}): name one so."
        )
    patients = len({case.patient_id for case in cases})
    raise DataError(
        f"{file}: none of the {patients} patients fell into 'train' when split 75/10/15 by a hash "
        "of their id: add patients, or a 'split' column."
    )


class _Checker:
    """Goes through the rows once; remembers where each case, patient and image was first seen."""

    def __init__(self, folder, file, table, digest):
        self._folder = os.path.realpath(folder)
        self._file = file
        self._table = table
        self._digest = digest  # updated with path, size and time of change of every image
        self._first = {}  # (what, its id) -> (value, row) of the first row that said so

    def cases(self) -> tuple[Case, ...]:
        """Returns the cases in the order of their first rows."""
        rows: dict = {}  # case_id -> [(row, record), ...]
        for row, record in zip(self._table.index, self._table.to_dict("records")):
            self._check_row(row, record)
            rows.setdefault(record["case_id"], []).append((int(row), record))
        return tuple(self._case(case_id, records) for case_id, records in rows.items())

    def _case(self, case_id, records):
        extra = _metadata_columns(self._table)
        first = records[0][1]
        return Case(
            case_id=case_id,
            patient_id=first["patient_id"],
            split=first["split"],
            label=next((record["label"] for _, record in records if record["label"]), ""),
            images=tuple(
                ImageRow(row, record["image_path"], tuple(record[name] for name in extra))
                for row, record in records
            ),
        )

    def _check_row(self, row, record):
        """Completes `record` (column -> value of one row) in place, or raises."""
        for column in REQUIRED + ("patient_id", "split"):
            if record.get(column) == "":
                self._fail(row, f"{column} is blank", "fill it in or remove the row")
        case = record["case_id"]
        patient = record.setdefault("patient_id", case)
        split = record.setdefault("split", hash_split(patient))
        record["label"] = " ".join(record.get("label", "").split())
        if not re.fullmatch(r"[A-Za-z0-9_]+", split) or split.lower() == "all":
            self._fail(row, f"split {split!r}", "use letters, digits and _ (and not 'all')")
        image = self._look_up(row, record["image_path"])

        self._same(row, "patient_id", f"case {case!r}", patient, "a case belongs to one patient")
        if record["label"]:
            self._same(row, "label", f"case {case!r}", record["label"], "a case has one label")
        self._same(row, "split", f"patient {patient!r}", split, "keep a patient in one split")
        self._same(
            row,
            "split",
            f"image {record['image_path']!r}",
            split,
            "an image in two splits leaks; give its cases one patient_id or one split",
            key=image,
        )
        _, first = self._first.setdefault((case, image), (None, row))
        if first != row:
            self._fail(
                row,
                f"image {record['image_path']!r} is in case {case!r} already (row {first})",
                "remove one of the two rows",
            )

    def _same(self, row, column, owner, value, advice, key=None):
        """Raises unless every row of `owner` had this `value` in `column`."""
        key = (column, owner if key is None else key)
        known, first = self._first.setdefault(key, (value, row))
        if known != value:
            problem = f"{owner} has {column} {value!r}, but {known!r} in row {first}"
            self._fail(row, problem, advice)

    def _look_up(self, row, path):
        """Returns the real path of an image file inside the folder; adds it to the fingerprint."""
        try:
            real, info = look_up(self._folder, path)
        except PathError as error:
            self._fail(row, error.problem, error.advice)
        self._digest.update(f"{path}\0{info.st_size}\0{info.st_mtime_ns}\n".encode())
        return real

    def _fail(self, row, problem, advice):
        raise DataError(f"{self._file}, row {row}: {problem}: {advice}.")
