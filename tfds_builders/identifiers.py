"""Identifiers that a spreadsheet or a program has changed: 0017 as 17 or 17.0, 1.23457E+15.

Two rows of one patient with two spellings of the id are two patients to a computer: the patient may be
in two splits, and no count shows it. So a column that has both is refused.
"""

import re
from collections.abc import Callable, Iterable, Sequence

from tfds_builders.problems import Problems
from tfds_builders.spelling import fold

MEANINGLESS = frozenset(
    ["nan", "na", "n/a", "<na>", "#n/a", "nat", "none", "null", "unknown", "-", "?", "."]
)
_ERROR_CELL = re.compile(r"#+|#(ref!|value!|name\?|div/0!|num!|null!)")
# 1.23457E+15 as Excel writes it, 1e+16 as pandas does; 1e5 may be an id of hexadecimal digits.
_ROUNDED = re.compile(r"[+-]?(\d+([.,]\d+)?[eE]\+\d+|\d+[.,]\d+[eE]-?\d+)")
_FLOAT = re.compile(r"[+-]?\d+[.,]0*")
_FRACTION = re.compile(r"[+-]?\d+[.,]\d*[1-9]\d*")
_WHOLE = re.compile(r"([+-]?)0*(\d+)(?:[.,]0*)?")
_EXACT_DIGITS = 15  # of a number in Excel; the rest become zeros
_MANY_ZEROS = 6  # that ids end with by chance once in a million columns


def check(
    problems: Problems,
    ids: Iterable[str],
    name: str,
    locate: Callable[[int], tuple[str, int | None]],
    splits: Sequence[str] | None = None,
) -> None:
    """Adds a problem for each id that is meaningless, was rounded, or occurs in two spellings.

    Args:
      problems: receives them.
      ids: of all rows, in order; blank ones are ignored.
      name: of the column, as the file has it.
      locate: position in `ids` -> (file, row as a spreadsheet counts; None where there is no table).
      splits: the split of each row, where the ids are of patients: to name a leak.
    """
    positions: dict[str, int] = {}  # id -> position of its first row
    for position, value in enumerate(ids):
        positions.setdefault(value, position)
    positions.pop("", None)
    first_spelling: dict[str, str] = {}  # canonical id -> its first spelling
    floats_are_numbers = not any(_FRACTION.fullmatch(value) for value in positions)
    rounded_whole = _rounded_whole(positions)
    for value, position in positions.items():
        what, kind, advice = f"{name} {value!r}", "", ""
        folded = fold(value)
        first = first_spelling.setdefault(_canonical(folded), value)
        if folded in MEANINGLESS or _ERROR_CELL.fullmatch(folded):
            kind, what = "identifiers that name nobody", f"{what} names nobody"
            advice = "fill it in or remove the row"
        elif _is_rounded(value) or value in rounded_whole:
            kind = "identifiers that were rounded"
            what = f"{what} has been rounded, by a spreadsheet or as a floating-point number"
            advice = (
                "export the table again with this column as text: different ids may have become one"
            )
        elif first != value:
            kind = "identifiers written in several ways"
            file, row = locate(positions[first])
            where = f"row {row}" if row is not None else file
            what = f"{what} is {first!r} in {where}"
            if splits is not None and splits[position] != splits[positions[first]]:
                what += f" (in splits {splits[position]} and {splits[positions[first]]}: a leak)"
            advice = (
                "write each id in one way (one patient would be several, perhaps in several splits); "
                "ids that do mean different things need more than case, zeros or spaces to differ"
            )
        elif floats_are_numbers and _FLOAT.fullmatch(value):
            kind = "identifiers that became floating-point numbers"
            what = f"{what} is a whole number with a decimal point"
            advice = "export the table again with this column as text, or remove the '.0'"
        if kind:
            problems.add(kind, *locate(position), what, advice)


def _is_rounded(value: str) -> bool:
    digits = len(value.lstrip("+-0").rstrip("0").rstrip(".,"))
    return bool(_ROUNDED.fullmatch(value) or _FLOAT.fullmatch(value) and digits > _EXACT_DIGITS)


def _canonical(folded: str) -> str:
    """Returns an id without leading zeros and without ".0"; `folded` is the result of `fold`."""
    match = _WHOLE.fullmatch(folded)
    return f"{match[1].replace('+', '')}{match[2]}" if match else folded


def _rounded_whole(values: Iterable[str]) -> set[str]:
    """Returns the ids of 16 digits and more, if all of them end as Excel's 15 digits would."""
    long = [value for value in values if value.isdigit() and len(value) > _EXACT_DIGITS]
    surplus = [value[_EXACT_DIGITS:] for value in long]
    if any(part.strip("0") for part in surplus) or sum(map(len, surplus)) < _MANY_ZEROS:
        return set()
    return set(long)
