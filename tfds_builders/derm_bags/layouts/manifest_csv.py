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
SPLIT = "split"
COLUMNS = "case_id,image_path and optionally label,patient_id,split"


def find(names: list[str]) -> str | None:
    """Returns the name of the manifest among the names of a folder's files; None without one."""
    return next((name for name in FILE_NAMES if name in names), None)


def read(
    folder: str, images: ImageRoot, split_column: str = SPLIT, label_columns: tuple[str, ...] = ()
) -> Source:
    """Returns the rows of the manifest, unchanged except for the spelling of splits.

    Args:
      folder: of the manifest.
      images: where paths of images lead.
      split_column: the column that names the splits; a column "split" beside another is left out.
      label_columns: the columns of several labels a case, see `label_columns.parse_names`.

    Raises:
      DataError: no such column, one label and several, or a mistake in the header.
    """
    names = os.listdir(folder)
    name = find(names) or FILE_NAME
    file = os.path.join(folder, name)
    problems = Problems()
    read = read_table(file, (*REQUIRED, *OPTIONAL, split_column, *label_columns), problems)
    table, notes = read.rows, read.notes
    _check_label_columns(file, list(table.columns), label_columns, split_column)
    if split_column != SPLIT:
        _check_split_column(file, list(table.columns), split_column)
        if SPLIT in table.columns:
            notes += (f"{name}: splits are those of column {split_column!r}; 'split' is not read.",)
        table = table.drop(columns=SPLIT, errors="ignore").rename(columns={split_column: SPLIT})
    _check_known(file, list(table.columns))
    if unread := [
        candidate for candidate in FILE_NAMES if candidate in names and candidate != name
    ]:
        notes += (f"{name} is read; {' and '.join(unread)} beside it is not.",)
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
        published={SPLIT: split_column},
        raw=read.raw,
        notes=notes,
        problems=problems,
        images=images,
        renamed_splits=renamed,
        salt=_salt(split_column, label_columns),
        label_columns=label_columns,
    )


def _salt(split_column: str, label_columns: tuple[str, ...]) -> str:
    """Returns the options that affected the rows; "" if they are at their defaults."""
    parts = [f"split_column {split_column}"] if split_column != SPLIT else []
    parts += [f"label_columns {label_columns!r}"] if label_columns else []
    return " ".join(parts)


def _check_label_columns(
    file: str, names: list[str], columns: tuple[str, ...], split_column: str
) -> None:
    """Raises for label columns that do not exist, or beside a column of one label a case."""
    flag = f"--label_columns={','.join(columns)}"
    for column in columns:
        if column not in names:
            close = difflib.get_close_matches(column, names, n=1)
            hint = f"did you mean {close[0]!r}?" if close else "name some of them."
            raise DataError(
                f"{file}, row 1: {flag}: there is no column {column!r} (found: {', '.join(names)}): "
                f"{hint}"
            )
        if column == split_column:
            raise DataError(f"{file}: {flag}: column {column!r} names the splits: leave it out.")
    if columns and "label" in names:
        raise DataError(
            f"{file}, row 1: {flag} names several labels a case, and column 'label' holds one: rename "
            "or remove that column, or leave --label_columns out."
        )


def _check_split_column(file: str, names: list[str], column: str) -> None:
    """Raises for a column that does not exist, or that has another meaning."""
    if column not in names:
        raise DataError(
            f"{file}, row 1: --split_column={column}: there is no such column (found: "
            f"{', '.join(names)}): name one of them, or leave --split_column out."
        )
    if column in REQUIRED + OPTIONAL:
        raise DataError(
            f"{file}: --split_column={column}: that column holds no splits: name the one that does, or "
            "leave --split_column out."
        )


def _check_known(file: str, names: list[str]) -> None:
    """Raises for a missing column, and for one that is only misspelt (it would be ignored)."""
    listed = f"found: {', '.join(names) or 'none'}"
    plain = {re.sub(r"[^a-z]", "", name.lower()): name for name in names}
    for column in REQUIRED + OPTIONAL:
        if column in names:
            continue
        if near := plain.get(column.replace("_", "")):
            raise DataError(f"{file}, row 1: rename column {near!r} to {column!r} ({listed}).")
        if column in REQUIRED:
            close = difflib.get_close_matches(column, names, n=1)
            hint = f"rename {close[0]!r}?" if close else f"the columns are {COLUMNS}."
            raise DataError(f"{file}, row 1: column {column!r} is missing ({listed}): {hint}")
