"""Schemas of the JSON files of a run, as far as the code relies on them; checked when they are read.

A file that a run wrote is right; what is found here was edited, merged or cut by someone or something.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from simclr_med.config import FIELDS


def find_problem(path: str, value: Any) -> str | None:
    """Returns an error message about the content of a run's JSON file; None: it is valid.

    Args:
      path: of the file, whose name says which it is; of other names it only has to be an object.
      value: as json.loads gives it.
    """
    if not isinstance(value, dict):
        return "it holds no JSON object"
    name = os.path.basename(path)
    needed, kinds = _SCHEMAS.get(name, ((), {}))
    if missing := [key for key in needed if key not in value]:
        return f"{missing[0]} is missing in it"
    for key, is_right in kinds.items():
        if key in value and not is_right(value[key]):
            return f"{key} cannot be {str(value[key])[:80]!r}"
    return None


def find_problem_of_metrics(row: Any) -> str | None:
    """Returns an error message about a line of metrics.jsonl; None: it is valid."""
    if not isinstance(row, dict) or not _is_whole(row.get("step")):
        return "no step"
    wrong = [key for key, value in row.items() if not (_is_number(value) or value is None)]
    return f"{wrong[0]} is no number" if wrong else None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_names(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_object(value: Any) -> bool:
    return isinstance(value, dict)


def _or_null(is_right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or is_right(value)


def _is_checkpoint(value: Any) -> bool:
    """A checkpoint of the same folder, by its name."""
    return isinstance(value, str) and value.startswith("ckpt-") and value[5:].isdecimal()


def _are_counts(value: Any) -> bool:
    return isinstance(value, dict) and all(map(_is_whole, value.values()))


def _are_numbers(value: Any) -> bool:
    return isinstance(value, dict) and all(v is None or _is_number(v) for v in value.values())


def _are_rows(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(row, list) for row in value)


_OF_TYPES = {
    "int": _is_whole,
    "float": _is_number,
    "bool": lambda value: isinstance(value, bool),
    "str": _is_text,
}


def _of_field(kind: str) -> Callable[[Any], bool]:
    first, *alternatives = str(kind).split(" | ")
    return _or_null(_OF_TYPES[first]) if alternatives else _OF_TYPES[first]


_SCHEMAS: dict[str, tuple[tuple[str, ...], dict[str, Callable[[Any], bool]]]] = {
    "config.json": (
        (),
        {
            **{name: _of_field(str(field.type)) for name, field in FIELDS.items()},
            "class_names": _is_names,
            "prepared_dataset": _is_text,
            "data_order": _is_whole,
            "num_streams": _is_whole,
            "adopted_weights": _or_null(_is_text),
        },
    ),
    "data.json": (
        ("class_names", "several_labels"),
        {
            "class_names": _is_names,
            "several_labels": lambda value: isinstance(value, bool),
            "dataset": _is_text,
            "split": _is_text,
            "fingerprint": _or_null(_is_text),
            "bags": _is_whole,
            "images": _is_whole,
            "bags_of_splits": _are_counts,
            "skipped_images": _are_rows,
            "missing_images": _or_null(_is_whole),
            "reading": _is_object,
            "classes_without_training_cases": _is_names,
            "classes_without_selection_cases": _is_names,
            "constant_guess": _are_numbers,
        },
    ),
    "selection.json": (
        ("checkpoint",),
        {
            "checkpoint": _is_checkpoint,
            "thresholds": _or_null(_are_numbers),
            "split": _is_text,
            "metric": _is_text,
            "candidates": _or_null(_is_names),
            "checkpoints": _is_object,
            "made_of": _is_object,
            "value_of_step": _are_numbers,
        },
    ),
    "initial_weights.json": (("encoder_sha256",), {"encoder_sha256": _is_text}),
    "experiment.json": (
        (),
        {
            "evaluations": lambda value: (
                isinstance(value, dict) and all(map(_is_object, value.values()))
            ),
            "initial_weights": _or_null(_is_text),
            "failed": _or_null(_is_text),
            "trained": lambda value: isinstance(value, bool),
        },
    ),
}
