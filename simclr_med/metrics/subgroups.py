"""The metrics again, for the cases that share a value of a metadata column: sex, age band, view, ...

Numbers on a few patients reveal each of them, so groups below a minimum number of patients are pooled.
Pooling a single group hides nothing: its numbers are those of all less those of the groups that are
shown. So a pool takes in the smallest of the groups that are large enough until it is that large too
(complementary suppression: Hundepool et al. 2012, Statistical Disclosure Control, chapter 4).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from simclr_med.data import Bags
from simclr_med.data.cases import Cases
from simclr_med.errors import UserError
from simclr_med.metrics.scoring import classification
from simclr_med.metrics.usual_columns import is_age, is_usual

_MOST_VALUES = 20  # a column with more is no grouping (free text, an identifier)
_YEARS = 20  # of an age band
_SHOWN = (
    *("top_1", "balanced_accuracy", "quadratic_kappa", "macro_auc", "macro_ap"),
    "chexpert5_auc",
)


def subgroups(
    cases: Cases,
    scores: np.ndarray,
    class_names,
    columns: str,
    *,
    min_patients: int = 10,
    grades: np.ndarray | None = None,
) -> list[dict]:
    """Returns {"column", "value", "cases", "patients", metrics with intervals} of every group.

    Smallest number of cases first. "unknown" is a group too. Numbers (age, follow-up) are grouped:
    ages by 20 years, others by quartiles; text among numbers is unknown. With `columns`
    "all", only the usual columns (`usual_columns.is_usual`) of at most 20 values are grouped by, and
    which are not is printed. A column that the data does not have is left out (see `check_columns`).

    Groups of fewer than `min_patients` labelled patients are pooled, column by column: see
    `pool_small`. A pool's row also has "pooled", the number of small groups in it, and "pooled_with",
    the values of the larger groups that it had to take in.

    Args:
      cases: of a split.
      scores: float [n, classes].
      class_names: their names.
      columns: "all", "none", or names with commas.
      min_patients: of a group that is shown by itself; 1 shows all.
      grades: of ordinal classes, see `scoring.estimates`.
    """
    groups, labelled = [], cases.labelled
    for column in _named(columns, sorted(cases.metadata), say=True):
        if column not in cases.metadata:
            print(f"No subgroups by {column}: the data does not have that column.")
            continue
        values = _groups(column, cases.metadata[column])
        if columns == "all" and len(np.unique(values)) > _MOST_VALUES:
            print(f"No subgroups by {column}: it has more than {_MOST_VALUES} values.")
            continue
        labelled_values, pool = pool_small(values[labelled], cases.patients[labelled], min_patients)
        values = values.astype(object)
        values[labelled] = labelled_values
        for value in np.unique(labelled_values):
            chosen = labelled & (values == value)
            row = classification(_only(cases, chosen), scores[chosen], class_names, grades=grades)
            shown = {k: v for k, v in row.items() if k.removesuffix("_95") in _SHOWN}
            # Without the class and the number: that few patients of it are in this group.
            shown["no_interval"] = {k: "too few patients" for k in row["no_interval"] if k in shown}
            size = {"cases": row["cases"], "patients": row["patients"]}
            pool_fields = pool if pool and value == pool["value"] else {}
            groups.append({"column": column, "value": str(value), **pool_fields, **size, **shown})
    return sorted(groups, key=lambda group: (group["cases"], group["column"], group["value"]))


def pool_small(
    values: np.ndarray, patients: np.ndarray, min_patients: int
) -> tuple[np.ndarray, dict]:
    """Returns the groups with the small ones pooled, and what the pool is; {} without one.

    The groups of fewer than `min_patients` patients become one. While that one has fewer too, it takes
    in the smallest of the larger groups: else its numbers would follow from theirs and those of all.

    Args:
      values: the group of each case, text [n].
      patients: of the cases, [n].
      min_patients: at least 1.

    Returns:
      The group of each case, text [n], and {"value": the pool's name, "pooled": number of small
      groups, "pooled_with": the larger ones in it}.
    """
    num_patients = {v: len(np.unique(patients[values == v])) for v in np.unique(values)}
    small = [v for v, n in num_patients.items() if n < min_patients]
    if not small:
        return values, {}
    larger = sorted((v for v in num_patients if v not in small), key=lambda v: (num_patients[v], v))
    added: list = []
    in_pool = np.isin(values, small)
    while len(np.unique(patients[in_pool])) < min_patients and larger:
        added.append(larger.pop(0))
        in_pool = np.isin(values, small + added)
    pool = _pool(min_patients, len(small), added)
    return np.where(in_pool, pool["value"], values.astype(object)), pool


def publishable(groups: list[dict], columns: str, min_patients: int) -> list[dict]:
    """Returns those rows of `subgroups` that may be published.

    A result may be older than the pooling of small groups, or made with a smaller `min_patients`.
    Rows cannot be pooled afterwards: the small ones, and as many of the others as would reveal them,
    become one row without numbers.

    Args:
      groups: rows as `subgroups` returns them.
      columns: "all" (the usual ones), "none", or names with commas.
      min_patients: of a group that is shown by itself.
    """
    shown_columns = _named(columns, sorted({group["column"] for group in groups}))
    shown = []
    for column in shown_columns:
        rows = sorted((g for g in groups if g["column"] == column), key=lambda g: g["patients"])
        small = [row for row in rows if row["patients"] < min_patients]
        # The patients of two rows may be the same ones: at least as many as the larger row has.
        num_hidden = len(small) + 1 if small else 0
        if small:
            with_it = [str(row["value"]) for row in rows[len(small) : num_hidden]]
            pool = _pool(min_patients, len(small), with_it)
            shown.append({"column": column, **pool, "cases": None, "patients": None})
        shown += rows[num_hidden:]
    return sorted(shown, key=lambda g: (g["cases"] or 0, g["column"], str(g["value"])))


def _pool(min_patients: int, num_small: int, added: list) -> dict:
    name = f"fewer than {min_patients}" + (f", with {', '.join(map(str, added))}" if added else "")
    return {"value": name, "pooled": num_small, "pooled_with": [str(value) for value in added]}


def check_columns(columns: str, bags: Bags) -> None:
    """Raises UserError for a column of `--subgroups` that the data does not have.

    Args:
      columns: the flag.
      bags: opened with metadata.
    """
    available = sorted(bags.dataset.element_spec.get("metadata", {}))
    for name in _named(columns, available):
        if name not in available:
            has = ", ".join(available) or "none"
            raise UserError(
                f"--subgroups={columns}: no metadata column {name!r}; there are: {has}. "
                "(--keep_metadata says which columns of a table the prepared copy stores.)"
            )


def _named(columns: str, available: list[str], say: bool = False) -> list[str]:
    """Returns the columns that are named, or the usual ones of those available; may print the others."""
    if columns == "none":
        return []
    if columns != "all":
        return [name.strip() for name in columns.split(",")]
    unusual = [name for name in available if not is_usual(name)]
    if unusual and say:
        print(
            f"No subgroups by {', '.join(unusual)}: --subgroups=all takes the usual columns (age, "
            "sex, site, skin type, view) alone; others have to be named."
        )
    return [name for name in available if is_usual(name)]


def _groups(column: str, values: np.ndarray) -> np.ndarray:
    """Returns the group of each value, text [n]."""
    is_stated = (values != "") & (values != "several")
    numbers = np.array([_number(value) for value in values])
    numeric = ~np.isnan(numbers)
    ages = is_age(column)
    few = len(np.unique(values[is_stated])) <= _MOST_VALUES
    if numeric.sum() <= is_stated.sum() / 2 or (few and not ages):
        return np.where(values == "", "unknown", values)
    result = np.full(len(values), "unknown", dtype=object)
    if ages:
        lower = (numbers[numeric] // _YEARS * _YEARS).astype(int)
        result[numeric] = [f"{low:02d}-{low + _YEARS - 1}" for low in lower]
    else:
        edges = np.unique(np.quantile(numbers[numeric], [0, 0.25, 0.5, 0.75, 1]))
        bin_index = np.searchsorted(edges, numbers[numeric], side="right") - 1
        bin_index = np.clip(bin_index, 0, len(edges) - 2)
        names = [f"{low:g} to {high:g}" for low, high in zip(edges, edges[1:])]
        if len(names) > 1:  # the least and the greatest value are those of single patients
            names[0], names[-1] = f"up to {edges[1]:g}", f"{edges[-2]:g} and above"
        result[numeric] = [names[i] for i in bin_index]
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
        differential=None,
    )
