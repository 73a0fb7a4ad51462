"""manifest.csv (or .tsv, .xlsx): a row per image, see README.md."""

import difflib
import os
import re

from tfds_builders.derm_bags.layouts.source import OPTIONAL, REQUIRED, Source
from tfds_builders.derm_bags.table import read_table
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.problems import Problems
from tfds_builders.splits import canonical_splits

FILE_NAME = "manifest.csv"
FILE_NAMES = (FILE_NAME, "manifest.tsv", "manifest.txt", "manifest.xlsx")  # the first found is read
COLUMNS = "case_id,image_path and optionally label,patient_id,split"


def find(names: list[str]) -> str | None:
    """Returns the name of the manifest among the names of a folder's files; None without one."""
    return next((name for name in FILE_NAMES if name in names), None)


def read(folder: str, images: ImageRoot) -> Source:
    """Returns the rows of the manifest as they are, but for the spelling of splits."""
    names = os.listdir(folder)
    name = find(names) or FILE_NAME
    file = os.path.join(folder, name)
    problems = Problems()
    read = read_table(file, REQUIRED + OPTIONAL, problems)
    table = read.rows
    _check_known(file, list(table.columns))
    notes = read.notes
    if others := [other for other in FILE_NAMES if other in names and other != name]:
        notes += (f"{name} is read; {' and '.join(others)} beside it is not.",)
    renamed: dict[str, tuple[str, int]] = {}
    if "split" in table.columns:
        splits, renamed = canonical_splits(table["split"])
        table = table.assign(split=splits)
    return Source(
        layout="manifest",
        folder=folder,
        rows=table,
        patient_id_from="patient_id" if "patient_id" in table.columns else "case_id",
        file=file,
        raw=read.raw,
        notes=notes,
        problems=problems,
        images=images,
        renamed_splits=renamed,
    )


def _check_known(file: str, names: list[str]) -> None:
    """Raises for a missing column, and for one that is only misspelt (it would be ignored)."""
    found = f"found: {', '.join(names) or 'none'}"
    plain = {re.sub(r"[^a-z]", "", name.lower()): name for name in names}
    for column in REQUIRED + OPTIONAL:
        if column in names:
            continue
        if near := plain.get(column.replace("_", "")):
            raise DataError(f"{file}, row 1: rename column {near!r} to {column!r} ({found}).")
        if column in REQUIRED:
            close = difflib.get_close_matches(column, names, n=1)
            hint = f"rename {close[0]!r}?" if close else f"the columns are {COLUMNS}."
            raise DataError(f"{file}, row 1: column {column!r} is missing ({found}): {hint}")
