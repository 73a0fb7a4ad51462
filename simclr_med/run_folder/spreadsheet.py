"""Text in tables that people open in a spreadsheet, which takes "=1+1" or "@SUM(A1)" for a formula.

An id or a file name from elsewhere can hold one that reads other cells and sends them away ("CSV
injection", https://owasp.org/www-community/attacks/CSV_Injection). As advised there, such a cell gets a
single quote in front. So does one that begins with a quote, so that `original` is exact.
"""

from __future__ import annotations

import re
from typing import Any

# Also the full-width forms, which some spreadsheets read alike, and blanks, which some remove first.
_UNSAFE = re.compile(r"[\t\r\n']|\s*[=+\-@＝＋－＠]")


def cell(value: Any) -> Any:
    """Returns text that no spreadsheet executes; numbers, and any other value, as they are."""
    return f"'{value}" if isinstance(value, str) and _UNSAFE.match(value) else value


def cells(values) -> list:
    """Returns a row of them."""
    return [cell(value) for value in values]


def original(text: str) -> str:
    """Returns what `cell` was given.

    Text that `cell` did not make (a table of an older version) comes back as it is, but for a quote
    followed by one of these characters.
    """
    return text[1:] if text.startswith("'") and _UNSAFE.match(text[1:]) else text
