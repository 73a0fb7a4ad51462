"""Detects the encoding, separator and header row of a text table.

Python's csv.Sniffer is not used: its guess also counts commas inside values. Here a reader knows some
column names, and the separator is the one with which a row has most of them. Nor is the encoding
guessed from letter frequencies: a table is too short for that.
"""

import codecs
import csv
import dataclasses
import itertools
import re
import unicodedata
from collections.abc import Iterable, Iterator

from tfds_builders.errors import DataError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "vertical bar"}
_HEADER_WITHIN = 40  # lines: an export may begin with a title and comments
_BOMS = (  # the longer ones first: UTF-32 little-endian begins as UTF-16 does
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
# What Excel writes, and hides, as a first line; LibreOffice reads it too.
_SEP_LINE = re.compile(r'"?sep=(.)"?[,;\t|]*\r?(\n|$)', re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class Dialect:
    """How to read a text."""

    separator: str
    text: str  # from the header on
    lines_before: int  # of the header, as a spreadsheet counts
    notes: tuple[str, ...]  # differences from a plain CSV file, for the user

    @property
    def separator_name(self) -> str:
        return SEPARATORS.get(self.separator, repr(self.separator))


def decode(file: str, raw: bytes) -> tuple[str, str]:
    """Returns the text of a file, and a note on its encoding, "" if that is UTF-8.

    Args:
      file: path, for messages.
      raw: its bytes.

    Raises:
      DataError: not text, or not in the encoding that its byte order mark states.
    """
    encoding = next((name for bom, name in _BOMS if raw.startswith(bom)), "")
    if not encoding and b"\0" in raw:
        encoding = _utf16_without_mark(raw)
    note = ""
    if encoding:
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError as error:
            name = encoding.upper().removesuffix("-SIG")
            raise DataError(
                f"{file} begins as {name} text and is not ({error.reason} at byte {error.start}): save "
                "it as 'CSV UTF-8' and retry."
            ) from error
        if encoding != "utf-8-sig":
            note = f"encoding {encoding.upper()}"
    else:
        text, note = _without_mark(raw)
    if "\0" in text:
        raise DataError(f"{file} is not plain text: save it as 'CSV UTF-8' and retry.")
    return text.removeprefix("\ufeff"), note


def _utf16_without_mark(raw: bytes) -> str:
    """Returns utf-16-le or utf-16-be where every other byte is mostly zero, as in Latin text."""
    zeros = [raw[start::2].count(0) for start in (0, 1)]
    if max(zeros) < 0.3 * len(raw) / 2 or min(zeros) > 0.05 * len(raw) / 2:
        return ""
    return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"


def _without_mark(raw: bytes) -> tuple[str, str]:
    try:
        return raw.decode("utf-8"), ""
    except UnicodeDecodeError:
        pass
    try:
        text, name = raw.decode("cp1252"), "Windows-1252"
    except UnicodeDecodeError:  # five of its bytes mean nothing
        text, name = raw.decode("latin-1"), "ISO 8859-1"
    letters = "".join(dict.fromkeys(re.findall(r"[^\x00-\x7f]", text)))[:10]
    return text, f"not UTF-8, taken for {name}; are its letters right ({letters})?"


def find_dialect(text: str, known: Iterable[str]) -> Dialect:
    """Returns how to read a text table.

    The header is the one of the first 40 rows with the most known names; the first in a tie. If no row
    has any, it is the first row that is neither blank nor a comment (#).

    Args:
      text: of the file.
      known: column names that the reader knows.
    """
    notes = []
    preferred = ""
    if match := _SEP_LINE.match(text):
        preferred = match[1]
        text = text[match.end() :]
        notes.append(f"first line sep={preferred}")
    known_keys = {column_key(name) for name in known} - {""}
    order = [preferred] if preferred else []
    order += [separator for separator in SEPARATORS if separator != preferred]
    lines = list(itertools.islice(lines_of(text), _HEADER_WITHIN))
    best = (-1, 0, order[0])  # names found, line, separator
    for number, line in enumerate(lines):
        for separator in order:
            num_known = len(
                known_keys & {column_key(field) for field in split_line(line, separator)}
            )
            if num_known > max(best[0], 0):
                best = (num_known, number, separator)
    _, header, separator = best
    if best[0] < 0:
        header = next((i for i, line in enumerate(lines) if line.strip() and line[0] != "#"), 0)
        fields = {sep: len(split_line(lines[header], sep)) for sep in order} if lines else {}
        separator = preferred or max(fields, key=lambda sep: fields[sep], default=",")
    if separator not in (",", preferred):
        notes.append(f"separated by {SEPARATORS[separator]}s")
    before = [line.strip() for line in lines[:header]]
    if any(before):
        shown = "; ".join(repr(line[:60]) for line in before if line)
        notes.append(f"{rows_before(header)}: {shown[:200]}")
    rest = text[sum(len(line) for line in lines[:header]) :]
    return Dialect(separator, rest, header, tuple(notes))


def lines_of(text: str) -> Iterator[str]:
    """Yields the lines with their ends, which are \\n, \\r\\n or \\r as csv has them.

    (io.StringIO would need four bytes per character.)
    """
    start = 0
    for match in re.finditer(r"\r\n|\n|\r", text):
        yield text[start : match.end()]
        start = match.end()
    if start < len(text):
        yield text[start:]


def split_line(line: str, separator: str) -> list[str]:
    """Returns the stripped fields of one line; if it is not valid CSV, the line as one field.

    Args:
      line: of a table.
      separator: one character.
    """
    try:
        fields = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:
        return [line]
    return [field.strip() for field in fields]


def rows_before(number: int) -> str:
    """Returns the start of a note on `number` rows before the header."""
    return f"{number} row{'s' if number > 1 else ''} before the header left out"


def column_key(name: str) -> str:
    """Returns a column name without case, blanks and punctuation."""
    text = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in text if letter.isalnum())
