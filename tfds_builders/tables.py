"""Reads a table file (CSV of any dialect, or a workbook) into rows of str.

No types are guessed: "311a", "007", "NA" and 64-bit integers stay text.
"""

import csv
import dataclasses
import re
from collections.abc import Iterable, Iterator

import pandas as pd

from tfds_builders import workbooks
from tfds_builders.dialects import decode, find_dialect, lines_of
from tfds_builders.errors import DataError
from tfds_builders.problems import Problems

WRONG_LENGTH = "rows of another length"
_R_TABLE = re.compile(r'"[^\r\n]*(\r\n|\r|\n)"1"')  # header and first row begin in quotes
_OLD_EXCEL = b"\xd0\xcf\x11\xe0"


@dataclasses.dataclass(frozen=True, eq=False)
class Table:
    """The rows of a file.

    `rows` has str values without blanks around them, blank rows left out. Its columns are numbered, so
    that a header may be repaired before it names them; its index is the row as a spreadsheet counts.
    """

    file: str
    raw: bytes
    header: list[str]
    rows: pd.DataFrame
    notes: tuple[str, ...]  # how a file that is no plain CSV was interpreted
    problems: Problems  # rows that are too short or too long; they are not in `rows`


def read_bytes(file: str) -> bytes:
    """Returns the bytes of a file; DataError where it cannot be read."""
    try:
        with open(file, "rb") as handle:
            return handle.read()
    except OSError as error:
        raise DataError(f"{file} cannot be read ({error.strerror}): check it by hand.") from error


def read(file: str, known: Iterable[str], problems: Problems | None = None) -> Table:
    """Returns the table in a file.

    Args:
      file: its path. Its content decides how it is read, not its extension.
      known: column names that the reader looks for: they identify header and separator.
      problems: receives rows of the wrong length.

    Raises:
      DataError: no table, empty, or a double quote without its partner.
    """
    raw = read_bytes(file)
    problems = Problems() if problems is None else problems
    if raw.startswith(_OLD_EXCEL):
        raise DataError(f"{file} is an old-style workbook (.xls). Save it as .xlsx or CSV.")
    if workbooks.is_workbook(raw):
        sheet = workbooks.read(file, raw, known)
        return _collect(file, raw, iter(sheet.records), sheet.notes, "cell", problems)
    text, encoding = decode(file, raw)
    dialect = find_dialect(text, known)
    notes = ((encoding,) if encoding else ()) + dialect.notes
    records = _records(file, dialect.text, dialect.separator, dialect.lines_before)
    is_from_r = bool(_R_TABLE.match(dialect.text))
    return _collect(file, raw, records, notes, dialect.separator_name, problems, is_from_r)


def _records(
    file: str, text: str, separator: str, lines_before: int
) -> Iterator[tuple[int, list[str]]]:
    """Yields (row as a spreadsheet counts, stripped values) of each row that is not blank.

    pandas is not used: it silently fills up short rows.
    """
    # strict: a quote that is closed in the middle of a value would swallow lines.
    lines = lines_of(text)
    rows = csv.reader(lines, delimiter=separator, strict=True, skipinitialspace=True)
    unwrap = '="' in text  # ="0017" is how zeros are kept from Excel
    number = lines_before
    try:
        for number, row in enumerate(rows, lines_before + 1):
            values = [value.strip() for value in row]
            if unwrap:
                values = [re.sub(r'^="(.*)"$', r"\1", value).strip() for value in values]
            if any(values):
                yield number, values
    except csv.Error as error:
        raise DataError(
            f"{file}, row {number + 1} or after cannot be parsed as CSV ({error}): look for a double "
            "quote without partner, or one inside a value (it is written twice)."
        ) from error


def _collect(
    file: str,
    raw: bytes,
    records: Iterator[tuple[int, list[str]]],
    notes: tuple[str, ...],
    separator: str,
    problems: Problems,
    is_from_r: bool = False,
) -> Table:
    """Returns the table of `records`, the first of which is the header.

    `is_from_r`: it looks like the output of R's write.table, whose row numbers have no column name.
    """
    _, header = next(records, (0, []))
    if not header:
        raise DataError(f"{file} is empty: it needs a header row and a row per image.")
    header = [header[0].removeprefix("#").lstrip(), *header[1:]]  # as numpy.savetxt writes it
    min_length = max((i + 1 for i, name in enumerate(header) if name), default=0)
    numbers: list[int] = []
    values: list[list[str]] = []
    cache: dict[str, str] = {}  # each text once: most columns have few
    row_names = False
    for number, record in records:
        if is_from_r and not numbers and len(record) == len(header) + 1:
            row_names = True
        if row_names and len(record) == len(header) + 1:
            record = record[1:]
        if not min_length <= len(record) <= len(header):
            _add_wrong_length(problems, file, number, record, header, separator)
            continue
        record += [""] * (len(header) - len(record))  # without a name: Excel's spare columns
        numbers.append(number)
        values.append([cache.setdefault(value, value) for value in record])
    rows = pd.DataFrame(values, index=numbers, columns=range(len(header)), dtype=str)
    if row_names:
        notes += ("a first column of row numbers left out",)
    return Table(file, raw, header, rows, notes, problems)


def _add_wrong_length(
    problems: Problems, file: str, row: int, values: list[str], header: list[str], separator: str
) -> None:
    what = f"{len(values)} values where the header has {len(header)} columns"
    if len(values) > len(header):
        advice = (
            f"put a value that contains a {separator} in double quotes, or remove the surplus "
            f"{separator}"
        )
    else:
        advice = f"add what is missing (a blank value has its {separator} too), or remove the row"
    start = ", ".join(values)[:40]
    problems.add(WRONG_LENGTH, file, row, f"{what} ({start!r})", advice)


def decimal_points(table: pd.DataFrame, columns: Iterable[str]) -> tuple[pd.DataFrame, list[str]]:
    """Returns `table` with decimal points for decimal commas in columns that hold only numbers.

    A column whose commas may all stand for thousands (1,234) stays as it is.

    Args:
      table: of str.
      columns: to convert.

    Returns:
      The table, and the names of the columns that were changed.
    """
    changed = {}
    for name in columns:
        texts = table[name].drop_duplicates()
        if not texts.str.contains(",", regex=False).any():
            continue
        texts = texts[~texts.str.lower().isin(["", "na", "nan", "null"])]
        numbers = texts.str.fullmatch(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?")
        thousands = texts[texts.str.contains(",", regex=False)].str.fullmatch(r"[+-]?\d{1,3},\d{3}")
        if numbers.all() and not thousands.all():
            changed[name] = table[name].str.replace(",", ".", regex=False)
    names = list(changed)
    if names:
        table = table.copy()
        for name, texts in changed.items():
            table[name] = texts
    return table, names
