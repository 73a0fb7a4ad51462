"""Reads a table file into rows of str with columns by name, for every layout with a table."""

import dataclasses
import os
import re
from collections.abc import Iterable

import pandas as pd

from tfds_builders import tables
from tfds_builders.errors import DataError
from tfds_builders.problems import Problems
from tfds_builders.tables import decimal_points


@dataclasses.dataclass(frozen=True, eq=False)
class NamedTable:
    """A table file with columns by name; `rows` is indexed by the row as a spreadsheet counts."""

    raw: bytes
    rows: pd.DataFrame
    notes: tuple[str, ...]


def read_table(file: str, known: Iterable[str], problems: Problems) -> NamedTable:
    """Returns all rows of a table file as stripped str.

    Args:
      file: its path.
      known: the columns that the layout reads; decimal commas in the others become points.
      problems: rows that are too short or too long are added to it, and left out.

    Raises:
      DataError: no table, no rows, or a header with unusable column names.
    """
    known = tuple(known)
    table = tables.read(file, known, problems)
    rows, notes = _name_columns(file, table.header, table.rows)
    if rows.empty:
        problems.raise_if_any()
        raise DataError(f"{file} has a header but no rows: it needs a row per image.")
    unread = [name for name in rows.columns if name not in known]
    rows, converted = decimal_points(rows, unread)
    if converted:
        notes += (f"decimal commas read as points in {', '.join(map(repr, converted))}"[:200],)
    notes = table.notes + notes
    name = os.path.basename(file)
    return NamedTable(table.raw, rows, (f"{name}: {'; '.join(notes)}.",) if notes else ())


def require_columns(file: str, table: pd.DataFrame, columns: Iterable[str], source: str) -> None:
    """Raises DataError unless a published table has all `columns`.

    Args:
      file: its path, for the error message.
      table: as published.
      columns: that the layout needs.
      source: name of the dataset, for the error message.
    """
    for column in columns:
        if column not in table.columns:
            raise DataError(
                f"{file}, row 1: column {column!r} is missing (found: {', '.join(table.columns)}): "
                f"{source} has it; get the file again, or write a manifest.csv."
            )


def rename_columns(
    file: str, table: pd.DataFrame, names: dict[str, str], source: str
) -> pd.DataFrame:
    """Returns a published table with its columns renamed as a manifest has them.

    Args:
      file: its path, for the error message.
      table: as published.
      names: published name -> manifest's name.
      source: name of the dataset, for the error message.

    Raises:
      DataError: a column that is not the publisher's would be mistaken for one of a manifest.
    """
    for column in ("case_id", "image_path", "label", "patient_id", "split"):
        if column in table.columns and column not in names:
            raise DataError(
                f"{file}, row 1: {source} has no column {column!r}: rename it, or write a "
                "manifest.csv to say more than the publisher does."
            )
    return table.rename(columns=names)


def _name_columns(
    file: str, header: list[str], table: pd.DataFrame
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns `table` with its columns named, and a note if row numbers were left out.

    Left out are the empty columns that spreadsheets append, and the numbers of rows that pandas and R
    write first, without a name.
    """
    notes: tuple[str, ...] = ()
    spare = [
        re.fullmatch(r"(Unnamed: \d+)?", name) is not None and not (table[i] != "").any()
        for i, name in enumerate(header)
    ]
    if re.fullmatch(r"(Unnamed: 0)?", header[0]) and not spare[0] and _are_row_numbers(table[0]):
        spare[0] = True
        notes = ("a first column of row numbers left out",)
    table = table.loc[:, [not s for s in spare]]
    table.columns = pd.Index(names := [name for name, s in zip(header, spare) if not s])
    if "" in names:
        number = next(i for i, (name, s) in enumerate(zip(header, spare)) if not name and not s)
        raise DataError(
            f"{file}, row 1: column {number + 1} has values but no name: name it or remove it."
        )
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{file}, row 1: column {name!r} appears twice: rename or remove one.")
        if "/" in name:
            raise DataError(f"{file}, row 1: rename column {name!r}, '/' cannot be stored.")
    return table, notes


def _are_row_numbers(values: pd.Series) -> bool:
    """Returns whether all values are whole numbers from 0 up, each once."""
    return values.is_unique and bool(values.str.fullmatch(r"0|[1-9]\d{0,8}").all())
