"""kNN on frozen features: cosine similarity, votes weighted by exp(similarity / 0.07).

The neighbours of a label are the nearest of the training cases that know it. All labels are served by
one pass over the similarities, piece by piece.
"""

from __future__ import annotations

import numpy as np

NEIGHBOURS = 20
TEMPERATURE = 0.07  # Wu et al. 2018, arXiv:1805.01978
_ROWS, _COLUMNS = 1024, 8192  # of similarities at once: 32 MB


def fit_predict_proba(
    train_x, train_y, train_patients, test_x, num_classes: int, seed: int, facts: dict | None = None
) -> np.ndarray:
    """Returns the shares of the weighted vote, float [m, num_classes].

    Args: as `linear_probe.fit_predict_proba`, with its NaN.
    """
    del train_patients, seed
    if facts is not None:
        facts |= {"neighbours": NEIGHBOURS}
    result = np.zeros((len(test_x), num_classes))
    if train_y.ndim == 1:
        nearest, weights = _neighbours(train_x, test_x, np.ones((1, len(train_y)), bool))[0]
        np.add.at(result, (np.arange(len(test_x))[:, np.newaxis], train_y[nearest]), weights)
        return result / result.sum(axis=1, keepdims=True)
    known = {mask.tobytes(): mask for mask in ~np.isnan(train_y.T)}  # often the same of all labels
    neighbours_of_mask = dict(
        zip(known, _neighbours(train_x, test_x, np.array([*known.values()])), strict=True)
    )
    for label, values in enumerate(train_y.T):
        nearest, weights = neighbours_of_mask[(~np.isnan(values)).tobytes()]
        total = weights.sum(axis=1) if nearest.shape[1] else np.nan  # no case knows the label
        result[:, label] = (weights * train_y[nearest, label]).sum(axis=1) / total
    return result


def _neighbours(train_x, test_x, known: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
    """Returns (neighbours int [m, k], their weights float [m, k]) for each group of training cases.

    Args:
      train_x: features, float [n, d].
      test_x: features, float [m, d].
      known: which cases are in each group, bool [g, n]; k is less than NEIGHBOURS in a smaller one.
    """
    train_x, test_x = np.asarray(train_x), np.asarray(test_x)  # of memory-mapped ones plain views
    best = [_Nearest(len(test_x), min(NEIGHBOURS, int(mask.sum()))) for mask in known]
    for first in range(0, len(train_x), _COLUMNS):
        columns = slice(first, first + _COLUMNS)
        train = train_x[columns] / _norms(train_x[columns])
        for start in range(0, len(test_x), _ROWS):
            similarity = test_x[start : start + _ROWS] @ train.T  # times the test case's norm
            _add(best, similarity, start, first, known[:, columns])
    norms = _norms(test_x)
    return [(b.index, np.exp((b.similarity / norms - 1.0) / TEMPERATURE)) for b in best]


def _add(
    groups: list[_Nearest], similarity: np.ndarray, start: int, first: int, known: np.ndarray
) -> None:
    """Merges into each group the similarities [r, c] of the rows from `start` to the cases from `first`.

    One comparison selects what may be new to any of the groups; `known` is bool [g, c].
    """
    limits = [group.limit(start, len(similarity)) for group in groups]
    lowest = np.min(limits, axis=0, initial=np.inf, where=np.isfinite(limits))
    near = similarity > lowest.astype(similarity.dtype)[:, np.newaxis]
    row, column = np.divmod(np.flatnonzero(near), similarity.shape[1])
    similarities = similarity[row, column]
    for group, mask, limit in zip(groups, known, limits, strict=True):
        if np.isfinite(limit).all():
            new = mask[column] & (similarities > limit[row])
            group.merge(start + row[new], first + column[new], similarities[new])
        elif mask.any():  # the beginning: the best of these cases
            columns = np.flatnonzero(mask)
            candidates = similarity if mask.all() else similarity[:, columns]
            k = min(NEIGHBOURS, len(columns))
            nearest = np.argpartition(candidates, len(columns) - k, axis=1)[:, len(columns) - k :]
            rows = np.repeat(np.arange(len(candidates)), k)
            best = np.take_along_axis(candidates, nearest, 1).ravel()
            group.merge(start + rows, first + columns[nearest.ravel()], best)


class _Nearest:
    """The k most similar cases of each row, of all that were merged; ties go to the first.

    Args:
      num_rows: m.
      k: how many.
    """

    def __init__(self, num_rows: int, k: int):
        self._k = k
        self.similarity = np.full((num_rows, k), -np.inf)
        self.index = np.zeros((num_rows, k), int)

    def limit(self, start: int, count: int) -> np.ndarray:
        """Returns the least similarity of some rows, float [count]; -inf of one that has fewer than k."""
        return self.similarity[start : start + count].min(axis=1, initial=np.inf)

    def merge(self, row: np.ndarray, index: np.ndarray, similarity: np.ndarray) -> None:
        """Keeps the k most similar of the cases so far and of new ones.

        Args:
          row: that each new case belongs to, int [j].
          index: of the new cases, int [j].
          similarity: of the new cases, float [j].
        """
        if not len(row):
            return
        touched, slot = np.unique(row, return_inverse=True)
        slots = np.arange(len(touched))
        slot = np.concatenate([np.repeat(slots, self._k), slot])
        index = np.concatenate([self.index[touched].ravel(), index])
        similarity = np.concatenate([self.similarity[touched].ravel(), similarity])
        order = np.lexsort((-similarity, slot))
        begins = np.array(np.searchsorted(slot[order], slots))
        best = order[begins[:, np.newaxis] + np.arange(self._k)]
        self.index[touched], self.similarity[touched] = index[best], similarity[best]


def _norms(x: np.ndarray) -> np.ndarray:
    """Returns the length of each row, [n, 1], at least 1e-12."""
    return np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
