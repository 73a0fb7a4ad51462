"""Ordinal labels (--ordinal): which order the grades have."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simclr_med.config import Config
from simclr_med.errors import UserError


def order_of(class_names: Sequence[str], class_order: str = "") -> tuple[str, ...]:
    """Returns the grades, lowest first.

    Args:
      class_names: of the data or of a run.
      class_order: all of them, lowest first, with commas; a grade that no case has may be among them, and
        keeps its place. "": class names that are numbers are sorted as numbers.

    Raises:
      UserError: the order is not known, or does not name each class once.
    """
    if not class_names:
        raise UserError("--ordinal needs labels, and the dataset has none.")
    if class_order:
        return _as_given(class_names, class_order)
    numbers = [_number(name) for name in class_names]
    if np.isfinite(numbers).all() and len(set(numbers)) == len(numbers):
        return tuple(class_names[i] for i in np.argsort(numbers))
    raise UserError(
        f"--ordinal: the labels {', '.join(class_names)} are not all different numbers, so their order "
        f"is not known: say it, lowest first, as in --class_order={','.join(class_names)}."
    )


def _as_given(class_names: Sequence[str], class_order: str) -> tuple[str, ...]:
    """Returns the grades that --class_order names."""
    names = tuple(name.strip() for name in class_order.split(","))
    twice = [name for name in names if names.count(name) > 1]
    missing = [name for name in class_names if name not in names]
    if twice or missing or "" in names:
        what = f"{missing[0]!r} is missing" if missing else f"{(twice or [''])[0]!r} is there twice"
        if "" in names:
            what = "there is an empty name"
        raise UserError(
            f"--class_order={class_order}: {what}: name each of {', '.join(class_names)} once, lowest "
            "first."
        )
    return names


def grades_of(config: Config, class_names: Sequence[str], multilabel: bool) -> np.ndarray | None:
    """Returns the position of each class in the order of grades, int [classes]; None without --ordinal.

    Args:
      config: with --ordinal and --class_order.
      class_names: of the data or of a run.
      multilabel: whether a case can have several labels.

    Raises:
      UserError: several labels a case, or as `order_of`.
    """
    if not config.eval.ordinal:
        return None
    if multilabel:
        raise UserError(
            "--ordinal is for one grade a case; this data has several labels a case "
            f"({', '.join(class_names)}): leave it out."
        )
    order = order_of(class_names, config.eval.class_order)
    return np.array([order.index(name) for name in class_names])


def in_words(order: Sequence[str], class_names: Sequence[str]) -> str:
    """Returns the line that says which order grades have.

    Args:
      order: the grades, from `order_of`.
      class_names: that the data has; the line names grades of the order that are not among them.
    """
    line = f"Grades, lowest first: {' < '.join(order)}"
    if absent := [name for name in order if name not in class_names]:
        line += f" (no class here: {', '.join(absent)})"
    if apart := _apart(order):
        line += (
            f". Without a class between them {', '.join(apart)} count as neighbours; --class_order that "
            "names the grades between keeps their distance"
        )
    return f"{line}. The grade given to a case is that of its highest score."


def _apart(order: Sequence[str]) -> list[str]:
    """Returns the neighbours, "1 and 3", that are whole numbers with others between them."""
    numbers = [_number(name) for name in order]
    if not all(number.is_integer() for number in numbers):
        return []
    pairs = zip(order, order[1:], numbers, numbers[1:])
    return [f"{one} and {other}" for one, other, n, m in pairs if abs(m - n) > 1]


def _number(text: str) -> float:
    """Returns the number that a class is called, with a decimal point or comma; NaN for other names."""
    try:
        return float(text.replace(",", "."))
    except ValueError:
        return float("nan")
