"""Columns of a published table by name, and the sentence for a row that is not as published."""

from collections.abc import Callable, Mapping

import pandas as pd

from tfds_builders.errors import DataError


def pick_columns(
    file: str, header: list[str], table: pd.DataFrame, wanted: Mapping[str, tuple[str, ...]]
) -> pd.DataFrame:
    """Returns the columns of `wanted` under its keys; the others are left out.

    Args:
      file: its path, for the sentence.
      header: the names that the file has.
      table: its rows, columns numbered as in `header`.
      wanted: our name -> the names the column goes by, the usual one first.

    Raises:
      DataError: a column is missing or there twice, or there is no row.
    """
    columns = {}
    for name, accepted in wanted.items():
        found = [i for i, title in enumerate(header) if title in accepted]
        if len(found) > 1:
            raise DataError(f"{file}, row 1: column {accepted[0]!r} appears twice: remove one.")
        if not found:
            hint = "use the table as published."
            if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
                hint = "save it with commas between the columns, not semicolons or tabs."
            raise DataError(
                f"{file}, row 1: column {accepted[0]!r} is missing (found: {', '.join(header)}): "
                + hint
            )
        columns[name] = table[found[0]]
    if table.empty:
        raise DataError(f"{file} has a header but no rows: use the table as published.")
    return pd.DataFrame(columns)


def refuse(file: str, bad: pd.Series, problem: Callable[[int], str], advice: str) -> None:
    """Raises DataError for the first row of `bad` (bool, indexed by row number) that is True.

    `problem(row)` says what is wrong with it.
    """
    if bad.any():
        row = int(bad.idxmax())
        raise DataError(f"{file}, row {row}: {problem(row)}: {advice}.")
