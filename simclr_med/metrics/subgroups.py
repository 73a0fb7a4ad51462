"""The metrics again, for the cases that share a value of a metadata column: sex, age band, view, ..."""

from __future__ import annotations

import dataclasses

import numpy as np

from simclr_med.data import Bags
from simclr_med.data.cases import Cases
from simclr_med.errors import UserError
from simclr_med.metrics.scoring import classification

_MOST_VALUES = 20  # a column with more is no grouping (free text, an identifier)
_YEARS = 20  # of an age band
_SHOWN = ("top_1", "balanced_accuracy", "macro_auc", "macro_ap", "chexpert5_auc")


def subgroups(cases: Cases, scores: np.ndarray, class_names, columns: str) -> list[dict]:
    """Returns {"column", "value", "cases", "patients", metrics with intervals} of every group.

    Smallest number of cases first. "unknown" is a group too. Numbers (age, follow-up) are grouped:
    ages by 20 years, others by quartiles; what is no number among numbers is unknown. With `columns`
    "all", columns of more than 20 values that are no numbers are left out; a column that the data
    does not have is left out too (see `check_columns`).

    Args:
      cases: of a split.
      scores: float [n, classes].
      class_names: their names.
      columns: "all", "none", or names with commas.
    """
    found = []
    for column in _asked(columns, sorted(cases.metadata)):
        if column not in cases.metadata:
            print(f"No subgroups by {column}: the data does not have that column.")
            continue
        values = _groups(column, cases.metadata[column])
        if columns == "all" and len(np.unique(values)) > _MOST_VALUES:
            continue
        for value in np.unique(values[cases.labelled]):
            chosen = values == value
            row = classification(_only(cases, chosen), scores[chosen], class_names)
            kept = {
                k: v for k, v in row.items() if k.removesuffix("_95") in (*_SHOWN, "no_interval")
            }
            size = {"cases": row["cases"], "patients": row["patients"]}
            found.append({"column": column, "value": str(value), **size, **kept})
    return sorted(found, key=lambda group: (group["cases"], group["column"], group["value"]))


def check_columns(columns: str, bags: Bags) -> None:
    """Raises UserError for a column of `--subgroups` that bags, opened with metadata, do not have."""
    there = sorted(bags.dataset.element_spec.get("metadata", {}))
    for name in _asked(columns, there):
        if name not in there:
            has = ", ".join(there) or "none"
            raise UserError(
                f"--subgroups={columns}: no metadata column {name!r}; there are: {has}."
            )


def _asked(columns: str, there: list[str]) -> list[str]:
    if columns in ("all", "none"):
        return there if columns == "all" else []
    return [name.strip() for name in columns.split(",")]


def _groups(column: str, values: np.ndarray) -> np.ndarray:
    """Returns the group of each value, text [n]."""
    told = (values != "") & (values != "several")
    numbers = np.array([_number(value) for value in values])
    numeric = ~np.isnan(numbers)
    is_age = column.lower().split("_")[0] == "age"
    few = len(np.unique(values[told])) <= _MOST_VALUES
    if numeric.sum() <= told.sum() / 2 or (few and not is_age):
        return np.where(values == "", "unknown", values)
    result = np.full(len(values), "unknown", dtype=object)
    if is_age:
        lower = (numbers[numeric] // _YEARS * _YEARS).astype(int)
        result[numeric] = [f"{low:02d}-{low + _YEARS - 1}" for low in lower]
    else:
        edges = np.unique(np.quantile(numbers[numeric], [0, 0.25, 0.5, 0.75, 1]))
        place = np.searchsorted(edges, numbers[numeric], side="right") - 1
        place = np.clip(place, 0, len(edges) - 2)
        result[numeric] = [f"{edges[i]:g} to {edges[i + 1]:g}" for i in place]
    return result.astype(str)


def _number(text: str) -> float:
    """Returns a finite number, NaN for anything else."""
    try:
        value = float(text)
    except ValueError:
        return np.nan
    return value if np.isfinite(value) else np.nan


def _only(cases: Cases, chosen: np.ndarray) -> Cases:
    return dataclasses.replace(
        cases,
        ids=cases.ids[chosen],
        patients=cases.patients[chosen],
        labels=cases.labels[chosen],
        num_images=cases.num_images[chosen],
        metadata={},
    )
