"""Reads a workbook (.xlsx) into rows of text, as its cells are displayed; uses openpyxl."""

import dataclasses
import datetime
import io
import re
import warnings
import zipfile
from collections.abc import Iterable

from tfds_builders.dialects import column_key, rows_before
from tfds_builders.errors import DataError

MAX_BYTES = 400 * 2**20  # of all that is packed in one file: some 5 million cells
_HEADER_WITHIN = 40  # rows
_LAST_ROW = 2**20  # of a sheet
_EXACT = 10**15  # from here on a number of Excel has lost digits


@dataclasses.dataclass(frozen=True)
class Sheet:
    """The sheet that holds the table: (row, values) of each row that is not blank, from the header."""

    records: list[tuple[int, list[str]]]
    notes: tuple[str, ...]


def is_workbook(raw: bytes) -> bool:
    """Returns whether a file is a zip archive, as every .xlsx is."""
    return raw.startswith(b"PK\x03\x04")


def read(file: str, raw: bytes, known: Iterable[str]) -> Sheet:
    """Returns the rows of the sheet that has the columns a reader knows.

    Args:
      file: its path, for error messages.
      raw: its bytes.
      known: names of columns.

    Raises:
      DataError: openpyxl is not installed, no workbook, several sheets that fit, merged cells,
        formulas without a stored value.
    """
    try:
        import openpyxl
    except ImportError as error:
        raise DataError(
            f"{file} is a workbook: pip install 'openpyxl>=3.1' (the extra: pip install -e "
            "\".[excel]\"), or save it as 'CSV UTF-8'."
        ) from error
    _check_archive(file, raw)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of styles and validations that it does not know
            book = openpyxl.load_workbook(io.BytesIO(raw), read_only=True, data_only=True)
            sheets = {sheet.title: _rows(sheet) for sheet in book.worksheets}
        hidden = {sheet.title for sheet in book.worksheets if sheet.sheet_state != "visible"}
    except Exception as error:  # what it raises for a damaged file is of many types
        raise DataError(
            f"{file} cannot be read as a workbook ({type(error).__name__}: {error}): save it again as "
            ".xlsx or as 'CSV UTF-8'."
        ) from error
    title, header, notes = _choose(file, sheets, hidden, known)
    records = sheets[title][header:]
    _check_formulas(file, raw, title, records)
    before = [" ".join(filter(None, values)) for _, values in sheets[title][:header]]
    if before:
        shown = "; ".join(repr(text[:60]) for text in before)
        notes += (f"{rows_before(header)}: {shown[:200]}",)
    return Sheet(records, notes)


def _check_archive(file: str, raw: bytes) -> None:
    """Raises for an archive that is damaged, or that would unpack to far more than a table."""
    try:
        size = sum(info.file_size for info in zipfile.ZipFile(io.BytesIO(raw)).infolist())
    except Exception as error:  # zipfile's own, struct.error, NotImplementedError, ...
        raise DataError(f"{file} is a damaged zip archive ({error}): get it again.") from error
    if size > MAX_BYTES:
        raise DataError(
            f"{file} is {size / 1e6:,.0f} MB unpacked, too much for a workbook: save it as 'CSV UTF-8'."
        )


def _rows(sheet) -> list[tuple[int, list[str]]]:
    """Returns (row, values) of each row of a sheet that is not blank."""
    sheet.reset_dimensions()  # some programs write that there is one cell
    rows = []
    for number, cells in enumerate(sheet.iter_rows(max_row=_LAST_ROW), 1):
        values = [_text(cell) for cell in cells]
        while values and not values[-1]:
            values.pop()
        if values:
            rows.append((number, values))
    width = max((len(values) for _, values in rows), default=0)
    return [(number, values + [""] * (width - len(values))) for number, values in rows]


def _text(cell) -> str:
    """Returns a cell as it is displayed: 17 for 17.0, 0017 where the number format is 0000."""
    value = cell.value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).upper()
    if isinstance(value, (datetime.datetime, datetime.date, datetime.time)):
        return value.isoformat().removesuffix("T00:00:00")
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        value = int(value)
    if isinstance(value, int) and re.fullmatch("0+", cell.number_format or ""):
        return str(value).zfill(len(cell.number_format))
    if isinstance(value, float):
        return f"{value:.15G}"  # 1.23456789012346E+15, as Excel
    return str(value).strip()


def _choose(
    file: str,
    sheets: dict[str, list[tuple[int, list[str]]]],
    hidden: set[str],
    known: Iterable[str],
) -> tuple[str, int, tuple[str, ...]]:
    """Returns the sheet with the most known columns, the position of its header, and notes."""
    known_keys = {column_key(name) for name in known} - {""}
    best: dict[str, tuple[int, int]] = {}  # sheet -> (columns found, position of the header)
    for title, rows in sheets.items():
        for i, (_, values) in enumerate(rows[:_HEADER_WITHIN]):
            num_known = len(known_keys & set(map(column_key, values)))
            if num_known > best.get(title, (-1 if rows else 0, 0))[0]:
                best[title] = (num_known, i)
    if not best:
        raise DataError(f"{file} is empty: it needs a header row and a row per image.")
    most = max(num_known for num_known, _ in best.values())
    titles = [title for title, (num_known, _) in best.items() if num_known == most]
    shown = [title for title in titles if title not in hidden]
    titles = shown or titles
    if len(titles) > 1:
        raise DataError(
            f"{file}: sheets {' and '.join(map(repr, titles))} have the same columns, or none of those "
            "that are needed: leave one sheet in the workbook."
        )
    unread = [title for title in sheets if title != titles[0]]
    note = f"sheet {titles[0]!r}" + (" (hidden)" if titles[0] in hidden else "")
    if unread:
        note += f"; not read: {', '.join(map(repr, unread))}"[:200]
    return titles[0], best[titles[0]][1], (note,)


def _check_formulas(
    file: str, raw: bytes, title: str, records: list[tuple[int, list[str]]]
) -> None:
    """Raises for merged cells and for formulas whose result is not stored: both read as blank."""
    with zipfile.ZipFile(io.BytesIO(raw)) as archive:
        parts = [archive.read(n) for n in archive.namelist() if n.startswith("xl/worksheets/")]
    if not any(re.search(rb"<(\w+:)?(f|mergeCell)[ >/]", part) for part in parts):
        return
    import openpyxl

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        sheet = openpyxl.load_workbook(io.BytesIO(raw))[title]
    first = records[0][0] if records else 0
    merged = [str(area) for area in sheet.merged_cells.ranges if area.max_row >= first]
    if merged:
        raise DataError(
            f"{file}, sheet {title!r}: cells {', '.join(merged[:5])} are merged: unmerge them and fill "
            "in each row."
        )
    for number, values in records:
        for column, value in enumerate(values, 1):
            if not value and sheet.cell(number, column).data_type == "f":
                raise DataError(
                    f"{file}, sheet {title!r}, row {number}: the result of a formula is not stored: "
                    "open the workbook in a spreadsheet and save it, or save it as 'CSV UTF-8'."
                )
