"""Bytes of a CSV file -> rows of str; what is wrong with the file as a table is a DataError.

Nothing is guessed from values: "311a", "007", "NA" and 64-bit integers stay what they are.
"""

import io
import re

import pandas as pd

from tfds_builders.errors import DataError


def read_bytes(file: str) -> bytes:
    """Returns the bytes of a CSV file; DataError where it cannot be read or is no plain text."""
    try:
        with open(file, "rb") as handle:
            raw = handle.read()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): check it by hand.") from error
    if b"\0" in raw:
        raise DataError(
            f"{file} is not plain text (a workbook, or UTF-16): save it as 'CSV UTF-8' and retry."
        )
    return raw


def parse_rows(file: str, raw: bytes, separator: str = ",") -> tuple[list[str], pd.DataFrame]:
    """Returns the header and all other rows as stripped str, blank rows left out.

    The columns have numbers, so that a header may be repaired before it names them; the index is
    the row number in a spreadsheet (the header is row 1).

    Args:
      file: its path, for the sentence.
      raw: its bytes, UTF-8 with or without a byte-order mark, else taken as latin-1.
      separator: between the values.

    Raises:
      DataError: empty, or rows of different lengths.
    """
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    try:
        # header=None: pandas would rename duplicates, and take a surplus first column as an index.
        table = pd.read_csv(
            io.StringIO(text),
            sep=separator,
            header=None,
            dtype=str,
            na_filter=False,
            skip_blank_lines=False,
        )
    except pd.errors.EmptyDataError:
        raise DataError(f"{file} is empty: it needs a header row and a row per image.") from None
    except pd.errors.ParserError as error:
        raise DataError(_parse_sentence(file, str(error).strip())) from error
    table = table.apply(lambda column: column.str.strip())
    table.index = table.index + 1
    header, table = list(table.iloc[0]), table.iloc[1:]
    table = table[(table != "").any(axis=1)]
    return header, table


def _parse_sentence(file: str, error: str) -> str:
    match = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", error)
    if not match:
        return f"{file} cannot be parsed as CSV ({error}): look for a double quote without partner."
    want, row, got = match.groups()
    return (
        f"{file}, row {row} has {got} values where the header has {want} columns: put a value that "
        "contains a comma in double quotes, or remove the surplus comma."
    )
