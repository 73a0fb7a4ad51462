"""Bytes of a CSV file -> table of str; what is wrong with the file as a table is a DataError.

Nothing is guessed from values: "311a", "007", "NA" and 64-bit integers stay what they are.
"""

import difflib
import io
import re

import pandas as pd

from tfds_builders.errors import DataError

FILE_NAME = "manifest.csv"
REQUIRED = ("case_id", "image_path")
OPTIONAL = ("label", "patient_id", "split")
COLUMNS = "case_id,image_path and optionally label,patient_id,split"


def read_bytes(file: str) -> bytes:
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


def parse_table(file: str, raw: bytes) -> pd.DataFrame:
    """Returns all rows as stripped str, columns by name, index = row number in a spreadsheet."""
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("latin-1")
    try:
        # header=None: pandas would rename duplicates, and take a surplus first column as an index.
        table = pd.read_csv(
            io.StringIO(text), header=None, dtype=str, na_filter=False, skip_blank_lines=False
        )
    except pd.errors.EmptyDataError:
        raise DataError(f"{file} is empty: it needs a header row and a row per image.") from None
    except pd.errors.ParserError as error:
        raise DataError(_parse_sentence(file, str(error).strip())) from error
    table = table.apply(lambda column: column.str.strip())
    table.index = table.index + 1
    header, table = list(table.iloc[0]), table.iloc[1:]
    table = table[(table != "").any(axis=1)]
    table = _name_columns(file, header, table)
    if table.empty:
        raise DataError(f"{file} has a header but no rows: it needs a row per image.")
    return table


def _parse_sentence(file: str, error: str) -> str:
    match = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", error)
    if not match:
        return f"{file} cannot be parsed as CSV ({error}): look for a double quote without partner."
    want, row, got = match.groups()
    return (
        f"{file}, row {row} has {got} values where the header has {want} columns: put a value that "
        "contains a comma in double quotes, or remove the surplus comma."
    )


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
    _check_known(file, names)
    return table


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
            if len(names) == 1 and re.search(r"[;\t]", names[0]):
                hint = "save it with commas between the columns, not semicolons or tabs."
            raise DataError(f"{file}, row 1: column {column!r} is missing ({found}): {hint}")
