"""Lists of numbers in a flag: the values of a sweep, the label fractions of a curve."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

from simclr_med.config import FIELDS, GROUPS, Config
from simclr_med.errors import UserError

_OWN_GRIDS = ("learning_rate", "weight_decay", "train_steps")
_OF_A_RUN = {"seed"} | {
    field.name
    for group in ("augment", "model", "train", "optim")
    for field in dataclasses.fields(GROUPS[group])
}


def numbers(flag: str, text: str, field: str) -> list[float]:
    """Returns the numbers of a comma-separated list, in its order.

    Args:
      flag: the flag that holds the list, for the error message.
      text: its value.
      field: the field of `Config` that each number is a value of; its bounds hold.

    Raises:
      UserError: the list is empty, or a value is not a number, out of bounds, or there twice.
    """
    values: list[float] = []
    for word in text.split(","):
        try:
            value = float(word)
        except ValueError:
            what = f"'{word.strip()}' is not a number" if word.strip() else "a number is missing"
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
            raise UserError(f"--{flag}={text}: {name(value)} is given twice.")
        values.append(value)
    return values


def whole_numbers(flag: str, text: str, field: str) -> list[int]:
    """Returns the whole numbers, at least 1, of a comma-separated list.

    Args:
      flag, text, field: as in `numbers`.

    Raises:
      UserError: as `numbers`, or a number that is none of these.
    """
    values = numbers(flag, text, field)
    for value in values:
        if value < 1 or value != int(value):
            raise UserError(f"--{flag}={text}: {name(value)} is not a whole number, at least 1.")
    return [int(value) for value in values]


def of_flags(text: str) -> dict[str, list]:
    """Returns {field: its values} of --sweep_flags, "temperature=0.1,0.5 train_batch_size=512,1024".

    Raises:
      UserError: an unknown flag, one that has a grid of its own, or a value that it cannot have.
    """
    values: dict[str, list] = {}
    for part in text.split():
        field, equals, words = part.lstrip("-").partition("=")
        if not equals or field not in FIELDS or field in values:
            what = f"'{field}' is given twice" if field in values else f"'{part}' is not a flag"
            raise UserError(
                f"--sweep_flags={text}: {what}. Give FLAG=VALUE,VALUE, several separated by spaces."
            )
        if field in _OWN_GRIDS:
            raise UserError(f"--sweep_flags={text}: for {field} there is --sweep_{field}s.")
        if field not in _OF_A_RUN:
            raise UserError(f"--sweep_flags={text}: --{field} is the same for all runs of a sweep.")
        values[field] = [_value(text, field, word) for word in words.split(",")]
    return values


def _value(text: str, field: str, word: str) -> Any:
    """Returns a value of a field from its text."""
    kind = FIELDS[field].type.split(" | ")[0]
    try:
        if kind == "bool":
            value: Any = {"true": True, "false": False}[word.lower()]
        else:
            value = {"int": int, "float": float}.get(kind, str)(word)
        Config().replace(**{field: value}).validate()
    except (KeyError, ValueError) as error:  # UserError is one
        why = error if isinstance(error, UserError) else f"'{word}' is not a value of --{field}."
        raise UserError(f"--sweep_flags={text}: {why}") from None
    return value


def name(value: float) -> str:
    """Returns a number as written in folder names and tables, with at most six digits."""
    return f"{value:g}"
