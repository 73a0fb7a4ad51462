"""The columns of manifest.csv: which must be there, which may, and the names they are mistaken for."""

import difflib
import re

import pandas as pd

from tfds_builders.errors import DataError
from tfds_builders.tables import parse_rows

FILE_NAME = "manifest.csv"
REQUIRED = ("case_id", "image_path")
OPTIONAL = ("label", "patient_id", "split")
COLUMNS = "case_id,image_path and optionally label,patient_id,split"


def parse_table(file: str, raw: bytes) -> pd.DataFrame:
    """Returns all rows as stripped str, columns by name, index = row number in a spreadsheet."""
    table = _name_columns(file, *parse_rows(file, raw))
    if table.empty:
        raise DataError(f"{file} has a header but no rows: it needs a row per image.")
    return table


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
