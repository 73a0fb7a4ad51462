"""Pairs of cases of different patients that the encoder takes for one: copies, or two ids of one."""

from __future__ import annotations

import dataclasses

import numpy as np

LIMIT = 0.99
MOST_CASES = 10_000  # that are compared with each other
_CHUNK = 1024


@dataclasses.dataclass(frozen=True)
class NearDuplicates:
    """What was found.

    Attributes:
      count: pairs of cases of different patients whose features have a cosine above `limit`.
      num_cases: that are in such a pair.
      compared: cases that were compared, the first of the split.
      pairs: the most alike ones, int [p, 2], the most alike first.
      cosines: of those, float [p].
      limit: the cosine.
    """

    count: int
    num_cases: int
    compared: int
    pairs: np.ndarray
    cosines: np.ndarray
    limit: float = LIMIT


def find(
    features: np.ndarray, patients: np.ndarray, limit: float = LIMIT, num_shown: int = 12
) -> NearDuplicates:
    """Returns the pairs of cases of different patients that are more alike than `limit`.

    Equal cosines go by the cases' order. Never holds more than 1,024 rows of cosines.

    Args:
      features: of the encoder, float [n, d]; a row of zeros is like nothing.
      patients: of the cases, [n].
      limit: a cosine.
      num_shown: maximum number of pairs to name.
    """
    n = min(len(features), MOST_CASES)
    rows = np.asarray(features[:n], np.float32)
    rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
    _, patient = np.unique(patients[:n], return_inverse=True)
    count, is_in = 0, np.zeros(n, bool)
    pairs, best = np.zeros((0, 2), int), np.zeros(0)
    for start in range(0, n, _CHUNK):
        cosines = rows[start : start + _CHUNK] @ rows[start:].T  # [c, n - start]
        i, j = np.nonzero(np.triu(cosines > limit, k=1))
        other = patient[start + i] != patient[start + j]
        i, j = i[other], j[other]
        count += len(i)
        is_in[start + i] = is_in[start + j] = True
        pairs = np.concatenate([pairs, np.stack([i, j], axis=1) + start])
        best = np.concatenate([best, cosines[i, j]])
        order = np.argsort(-best, kind="stable")[:num_shown]
        pairs, best = pairs[order], best[order]
    return NearDuplicates(count, int(is_in.sum()), n, pairs, np.minimum(best, 1.0), limit)
