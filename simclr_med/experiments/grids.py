"""Lists of numbers in a flag: the values of a sweep, the label fractions of a curve."""

from __future__ import annotations

import math

from simclr_med.config import Config
from simclr_med.errors import UserError


def numbers(flag: str, text: str, field: str) -> list[float]:
    """Returns the numbers of a comma-separated list, in its order.

    Args:
      flag: the flag that holds the list, for the sentence.
      text: its value.
      field: the field of `Config` that each number is a value of; its bounds hold.

    Raises:
      UserError: nothing there, no number, out of bounds, or twice the same.
    """
    values: list[float] = []
    for word in text.split(","):
        try:
            value = float(word)
        except ValueError:
            what = f"'{word.strip()}' is no number" if word.strip() else "a number is missing"
            raise UserError(
                f"--{flag}={text}: {what}. Give numbers separated by commas, such as 0.01,0.1."
            ) from None
        try:
            if math.isinf(value):
                raise UserError(f"--{field}={value} must be finite.")
            Config().replace(**{field: value}).validate()
        except UserError as error:
            raise UserError(f"--{flag}={text}: {error}") from None
        if name(value) in map(name, values):
            raise UserError(f"--{flag}={text}: {name(value)} is there twice.")
        values.append(value)
    return values


def whole_numbers(flag: str, text: str, field: str) -> list[int]:
    """Returns the whole numbers, at least 1, of a comma-separated list; arguments as in `numbers`.

    Raises:
      UserError: as `numbers`, or a number that is none of these.
    """
    values = numbers(flag, text, field)
    for value in values:
        if value < 1 or value != int(value):
            raise UserError(f"--{flag}={text}: {name(value)} is not a whole number, at least 1.")
    return [int(value) for value in values]


def name(value: float) -> str:
    """Returns a number as it stands in folder names and tables: six digits at most."""
    return f"{value:g}"
