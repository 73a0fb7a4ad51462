"""Pairs of cases of different patients that the encoder takes for one: copies, or two ids of one.

Among the evaluated cases, and of these with training cases, where copies make all numbers too good.
Compared is the cosine of features less their mean over the cases, for features behind a ReLU have a large
part in common. On the demo, whose images all differ, 7,122 pairs of an evaluated and a training case have
a plain cosine above 0.99, and 2 of 263,488 a centred one above 0.98; copies saved as JPEG of quality 60,
or at 0.8 of the size, have 0.974 and more (one encoder; copies of 100 cases).
"""

from __future__ import annotations

import dataclasses

import numpy as np

LIMIT = 0.98
MOST_CASES = 10_000  # that are compared, on either side
_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class NearDuplicates:
    """Pairs of nearly identical cases of different patients.

    Attributes:
      count: pairs of cases of different patients whose features have a centred cosine above `limit`.
      num_cases: evaluated cases that are in such a pair.
      compared: evaluated cases that were compared, the first of the split.
      pairs: the most alike ones, int [p, 2], the most alike first; where `split` is given, an evaluated
        case and one of that split, else two evaluated ones.
      cosines: of those, float [p].
      limit: the cosine.
      split: that they were compared with; "": with each other.
      of_split: cases of that split that were compared, its first, and how many it has.
    """

    count: int
    num_cases: int
    compared: int
    pairs: np.ndarray
    cosines: np.ndarray
    limit: float = LIMIT
    split: str = ""
    of_split: tuple[int, int] = (0, 0)


def find(
    features: np.ndarray, patients: np.ndarray, limit: float = LIMIT, num_shown: int = 12
) -> NearDuplicates:
    """Returns the pairs of cases of different patients that are more alike than `limit`.

    Equal cosines go by the cases' order; the mean is that of the cases. Never holds more than 1,024
    rows of cosines.

    Args:
      features: of the encoder, float [n, d]; a row of zeros is like nothing.
      patients: of the cases, [n].
      limit: a cosine.
      num_shown: maximum number of pairs to name.
    """
    rows, patients = _unit(features, _mean(features)), np.asarray(patients)[:MOST_CASES]
    return _search(rows, patients, rows, patients, limit, num_shown, same_rows=True)


def find_in_training(
    features: np.ndarray,
    patients: np.ndarray,
    training,
    limit: float = LIMIT,
    num_shown: int = 12,
) -> NearDuplicates:
    """Returns such pairs of an evaluated case and a training case; the mean is the training cases'.

    Args:
      features, patients, limit, num_shown: as in `find`.
      training: `training_cases.TrainingCases`.
    """
    mean = _mean(training.features)
    rows, training_rows = _unit(features, mean), _unit(training.features, mean)
    duplicates = _search(
        *(rows, np.asarray(patients)[:MOST_CASES]),
        *(training_rows, training.patients[:MOST_CASES]),
        *(limit, num_shown),
    )
    of_split = (len(training_rows), training.bags.num_bags)
    return dataclasses.replace(duplicates, split=training.split, of_split=of_split)


def _mean(features: np.ndarray) -> np.ndarray:
    return np.asarray(features[:MOST_CASES], np.float64).mean(axis=0)


def _unit(features: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Returns rows less `mean`, of length 1; zeros of a row of zeros, and where nothing is left."""
    rows = np.asarray(features[:MOST_CASES], np.float32)
    centred = (rows - mean) * rows.any(axis=1, keepdims=True)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    least = 1e-6 * np.linalg.norm(rows, axis=1, keepdims=True)  # below it is rounding
    return (centred / np.where(length > least, length, np.inf)).astype(np.float32)


def _search(
    rows: np.ndarray,
    patients: np.ndarray,
    other_rows: np.ndarray,
    other_patients: np.ndarray,
    limit: float,
    num_shown: int,
    same_rows: bool = False,
) -> NearDuplicates:
    """Returns the pairs of one of `rows` [n, d] and one of `other_rows` [m, d], which may be the same."""
    _, patient = np.unique(np.concatenate([patients, other_patients]), return_inverse=True)
    patient, other_patient = patient[: len(rows)], patient[len(rows) :]
    count, is_in = 0, np.zeros(len(rows), bool)
    pairs, best = np.zeros((0, 2), int), np.zeros(0)
    for start in range(0, len(rows), _CHUNK):
        first = start if same_rows else 0  # of the others: each pair once
        cosines = rows[start : start + _CHUNK] @ other_rows[first:].T  # [c, m - first]
        above = cosines > limit
        i, j = np.nonzero(np.triu(above, k=1) if same_rows else above)
        differ = patient[start + i] != other_patient[first + j]
        i, j = i[differ], j[differ]
        count += len(i)
        is_in[start + i] = True
        if same_rows:
            is_in[start + j] = True
        pairs = np.concatenate([pairs, np.stack([start + i, first + j], axis=1)])
        best = np.concatenate([best, cosines[i, j]])
        order = np.argsort(-best, kind="stable")[:num_shown]
        pairs, best = pairs[order], best[order]
    return NearDuplicates(count, int(is_in.sum()), len(rows), pairs, np.minimum(best, 1.0), limit)
