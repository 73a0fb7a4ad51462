"""Columns of a published table by name, and the error for rows that are not as published."""

import os
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from tfds_builders import tables
from tfds_builders.errors import DataError
from tfds_builders.problems import Problems


def read_columns(
    file: str, wanted: Mapping[str, tuple[str, ...]], problems: Problems
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns the columns of `wanted` under its keys, the others left out, and notes on the file.

    Args:
      file: its path.
      wanted: our name -> the names the column goes by, the usual one first.
      problems: rows that are too short or too long are added to it, and left out.

    Raises:
      DataError: a column is missing or there twice, or there is no row.
    """
    known = [name for names in wanted.values() for name in names]
    table = tables.read(file, known, problems)
    return pick_columns(file, table, wanted, problems), table_notes(table)


def table_notes(table: tables.Table) -> tuple[str, ...]:
    """Returns one note on what was understood of a table file; none of a plain CSV."""
    name = os.path.basename(table.file)
    return (f"{name}: {'; '.join(table.notes)}.",) if table.notes else ()


def pick_columns(
    file: str, table: tables.Table, wanted: Mapping[str, tuple[str, ...]], problems: Problems
) -> pd.DataFrame:
    """Returns the columns of a table as `read_columns` does."""
    columns = {}
    for name, accepted in wanted.items():
        found = [i for i, title in enumerate(table.header) if title in accepted]
        if len(found) > 1:
            raise DataError(f"{file}, row 1: column {accepted[0]!r} appears twice: remove one.")
        if not found:
            raise DataError(
                f"{file}, row 1: column {accepted[0]!r} is missing (found: "
                f"{', '.join(table.header)[:500]}): use the table as published."
            )
        columns[name] = table.rows[found[0]]
    if table.rows.empty:
        problems.raise_if_any()
        raise DataError(f"{file} has a header but no rows: use the table as published.")
    return pd.DataFrame(columns)


def refuse(
    file: str,
    bad: pd.Series,
    problem: Callable[[Any], str],
    advice: str,
    problems: Problems | None = None,
    kind: str = "values that are not as published",
) -> pd.Series:
    """Adds each row of `bad` (bool, indexed by row number) that is True to `problems`.

    Args:
      file: path of the table.
      bad: which rows are wrong.
      problem: row -> what is wrong with it.
      advice: what to do.
      problems: what is added to; without it an error is raised for all of them.
      kind: of the problem, in the plural.

    Returns:
      `bad`.
    """
    collected = Problems() if problems is None else problems
    for row in bad.index[bad.to_numpy(bool)]:
        collected.add(kind, file, row, problem(row), advice)
    if problems is None:
        collected.raise_if_any()
    return bad
