"""A CSV file -> rows of str with columns by name: what every table of a folder has in common."""

import re
from collections.abc import Iterable

import pandas as pd

from tfds_builders.errors import DataError
from tfds_builders.tables import parse_rows, read_bytes


def read_table(file: str, separator: str = ",") -> tuple[bytes, pd.DataFrame]:
    """Returns the bytes of a CSV file, and `parse_table` of them."""
    raw = read_bytes(file)
    return raw, parse_table(file, raw, separator)


def parse_table(file: str, raw: bytes, separator: str = ",") -> pd.DataFrame:
    """Returns all rows as stripped str, columns by name, index = row number in a spreadsheet.

    Raises:
      DataError: no plain text, rows of different lengths, or a header that names columns badly.
    """
    table = _name_columns(file, *parse_rows(file, raw, separator))
    if table.empty:
        raise DataError(f"{file} has a header but no rows: it needs a row per image.")
    return table


def require_columns(file: str, table: pd.DataFrame, columns: Iterable[str], source: str) -> None:
    """Raises unless a published table has the `columns` that are its own; `source` is its name."""
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
      file: its path, for the sentence.
      table: as published.
      names: published name -> manifest's name.
      source: name of the dataset, for the sentence.

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


def _name_columns(file: str, header: list[str], table: pd.DataFrame) -> pd.DataFrame:
    """Returns `table` with its columns named, without the empty ones that spreadsheets append."""
    spare = [
        re.fullmatch(r"(Unnamed: \d+)?", name) is not None and not (table[i] != "").any()
        for i, name in enumerate(header)
    ]
    table = table.loc[:, [not s for s in spare]]
    table.columns = names = [name for name, s in zip(header, spare) if not s]
    if "" in names:
        raise DataError(
            f"{file}, row 1: column {header.index('') + 1} has values but no name: name it or "
            "remove it."
        )
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{file}, row 1: column {name!r} appears twice: rename or remove one.")
        if "/" in name:
            raise DataError(f"{file}, row 1: rename column {name!r}, '/' cannot be stored.")
    return table
