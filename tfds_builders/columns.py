"""Columns of a published table by name, and the error for rows that are not as published."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from tfds_builders import tables
from tfds_builders.errors import DataError
from tfds_builders.problems import Problems


def read_columns(
    file: str, accepted_names: Mapping[str, tuple[str, ...]], problems: Problems
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns the columns of `accepted_names` under its keys, and notes on the file.

    Args:
      file: its path.
      accepted_names: name in the result -> names of the column in the file, the usual one first.
      problems: rows that are too short or too long are added to it, and left out.

    Raises:
      DataError: a column is missing or there twice, or there is no row.
    """
    known = [name for names in accepted_names.values() for name in names]
    table = tables.read(file, known, problems)
    return pick_columns(file, table, accepted_names, problems), table_notes(table)


def table_notes(table: tables.Table) -> tuple[str, ...]:
    """Returns one note on how a table file was interpreted; none for a plain CSV."""
    name = os.path.basename(table.file)
    return (f"{name}: {'; '.join(table.notes)}.",) if table.notes else ()


def pick_columns(
    file: str,
    table: tables.Table,
    accepted_names: Mapping[str, tuple[str, ...]],
    problems: Problems,
) -> pd.DataFrame:
    """Returns the columns of a table as `read_columns` does.

    Args:
      file: path, for messages.
      table: as read.
      accepted_names: see `read_columns`.
      problems: raised first if the table has no valid row.

    Raises:
      DataError: as in `read_columns`.
    """
    columns = {}
    for name, titles in accepted_names.items():
        positions = [i for i, title in enumerate(table.header) if title in titles]
        if len(positions) > 1:
            raise DataError(f"{file}, row 1: column {titles[0]!r} appears twice: remove one.")
        if not positions:
            raise DataError(
                f"{file}, row 1: column {titles[0]!r} is missing (found: "
                f"{', '.join(table.header)[:500]}): use the table as published."
            )
        columns[name] = table.rows[positions[0]]
    if table.rows.empty:
        problems.raise_if_any()
        raise DataError(f"{file} has a header but no rows: use the table as published.")
    return pd.DataFrame(columns)


def report_invalid(
    file: str,
    is_invalid: pd.Series,
    describe: Callable[[Any], str],
    advice: str,
    problems: Problems | None = None,
    kind: str = "values that are not as published",
) -> pd.Series:
    """Adds a problem for each row of which `is_invalid` is True.

    Args:
      file: path of the table.
      is_invalid: bool, indexed by row number.
      describe: row -> what is wrong with it.
      advice: what to do.
      problems: receives them; None: an error is raised for all of them.
      kind: of the problem, in the plural.

    Returns:
      `is_invalid`.
    """
    collected = Problems() if problems is None else problems
    for row in is_invalid.index[is_invalid.to_numpy(bool)]:
        collected.add(kind, file, row, describe(row), advice)
    if problems is None:
        collected.raise_if_any()
    return is_invalid
