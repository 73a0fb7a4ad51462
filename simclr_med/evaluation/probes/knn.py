"""kNN on frozen features: cosine similarity, votes weighted by exp(similarity / 0.07).

The neighbours of a label are the nearest of the training cases that know it. All labels are served by
one pass over the similarities, piece by piece.

A large search on a CPU that multiplies in bfloat16 is made in that first and keeps more cases than are
needed; those are ordered by their float32 similarities, and a row where rounding could have hidden a
neighbour is searched again in float32. So the neighbours are those of float32.
"""

from __future__ import annotations

import contextlib
import functools

import numpy as np

NEIGHBOURS = 20
TEMPERATURE = 0.07  # Wu et al. 2018, arXiv:1805.01978
_ROWS, _COLUMNS = 1024, 8192  # of similarities at once: 32 MB
_FIRST_COLUMNS = 1024  # then twice as many, up to _COLUMNS: the best of the first are sorted out
_CANDIDATES = 48  # kept by a search in bfloat16
_LARGE = 1e11  # multiplications: from here on bfloat16 pays, about a second of one core


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
    if float(len(train_x)) * len(test_x) * train_x.shape[1] < _LARGE or not _multiplies_bfloat16():
        groups = _search(train_x, test_x, known, NEIGHBOURS, _Exact())
    else:
        groups = _search_rounded(train_x, test_x, known)
    return [(g.index, np.exp((g.similarity - 1.0) / TEMPERATURE)) for g in groups]


def _search_rounded(train_x, test_x, known: np.ndarray) -> list[_Nearest]:
    """Returns the NEIGHBOURS most similar training cases as `_search` does, found in bfloat16 first.

    Args: as `_search`.
    """
    rounded = _Rounded(_unit(train_x[:_COLUMNS]).mean(axis=0))
    candidates = _search(train_x, test_x, known, _CANDIDATES, rounded)
    groups = [_Nearest(len(test_x), min(NEIGHBOURS, its.k)) for its in candidates]
    missed = np.zeros(len(test_x), bool)
    for start in range(0, len(test_x), _ROWS):
        rows = slice(start, start + _ROWS)
        test = _unit(test_x[rows])
        for row, vector in enumerate(test, start):
            index = np.unique(np.concatenate([its.index[row] for its in candidates]))
            similarity = _unit(train_x[index]) @ vector
            for group, members in zip(groups, known, strict=True):
                best = np.flatnonzero(members[index])
                best = best[np.argsort(-similarity[best], kind="stable")[: group.k]]
                group.index[row], group.similarity[row] = index[best], similarity[best]
        for group, its, members in zip(groups, candidates, known, strict=True):
            if its.k < members.sum():  # some were dropped
                dropped = rounded.upper_bound(test, its.similarity[rows].min(axis=1))
                missed[rows] |= group.similarity[rows].min(axis=1) < dropped
    if missed.any():
        again = _search(train_x, test_x[missed], known, NEIGHBOURS, _Exact())
        for group, its in zip(groups, again, strict=True):
            group.index[missed], group.similarity[missed] = its.index, its.similarity
    return groups


def _search(train_x, test_x, known: np.ndarray, k: int, product: _Exact) -> list[_Nearest]:
    """Returns the k most similar training cases in each group, or all of a smaller one.

    Args:
      train_x: features, float [n, d].
      test_x: features, float [m, d].
      known: which cases are in each group, bool [g, n].
      k: how many neighbours.
      product: how similarities are computed.
    """
    groups = [_Nearest(len(test_x), min(k, int(mask.sum()))) for mask in known]
    starts = range(0, len(test_x), _ROWS)
    tests = [product.of_test(_unit(test_x[start : start + _ROWS])) for start in starts]
    first, size = 0, min(_FIRST_COLUMNS, _COLUMNS)
    while first < len(train_x):
        columns = slice(first, first + size)
        train = product.of_train(_unit(train_x[columns]))
        for start, test in zip(starts, tests, strict=True):
            _add(groups, product(test, train), start, first, known[:, columns])
        first, size = first + size, min(2 * size, _COLUMNS)
    return groups


class _Exact:
    """Similarities of unit vectors, float32."""

    def of_test(self, unit: np.ndarray):
        """Returns what `__call__` takes of scored cases, [r, d]."""
        return unit

    def of_train(self, unit: np.ndarray):
        """Returns what `__call__` takes of training cases, [c, d]."""
        return unit.T

    def __call__(self, test, train) -> np.ndarray:
        return test @ train


class _Rounded(_Exact):
    """x (y - z) in bfloat16 of unit vectors x, y: ranks the training cases y of each x as x y does.

    The more alike the cases, the shorter y - z, and the less is lost by rounding.

    Args:
      centre: z, float [d]; any is right, the mean of the unit vectors is best.
    """

    def __init__(self, centre: np.ndarray):
        self._centre = centre
        self._length = self._lost = 0.0  # of y - z, and of what rounding takes of it: the most

    def of_test(self, unit: np.ndarray):
        """Returns them in bfloat16."""
        import tensorflow as tf

        with tf.device("CPU"):
            return tf.cast(unit, tf.bfloat16)

    def of_train(self, unit: np.ndarray):
        """Returns them without the centre, in bfloat16."""
        moved = unit - self._centre
        rounded = self.of_test(moved)
        self._length = max(self._length, np.linalg.norm(moved, axis=1).max())
        self._lost = max(self._lost, _lost(moved, rounded).max())
        return rounded

    def __call__(self, test, train) -> np.ndarray:
        import tensorflow as tf

        with tf.device("CPU"):
            return tf.cast(tf.matmul(test, train, transpose_b=True), tf.float32).numpy()

    def upper_bound(self, unit: np.ndarray, value: np.ndarray) -> np.ndarray:
        """Returns the most that x y can be where x (y - z) was rounded to at most `value`, [r].

        |x y - x' y'| <= |x - x'| |y| + |x'| |y - y'| for rounded x', y' (Cauchy-Schwarz); 2^-8 is the
        relative error of a bfloat16, and 1e-5 is for sums in another order.
        """
        lost = _lost(unit, self.of_test(unit))
        error = lost * self._length + (1 + lost) * self._lost + 1e-5
        return value + 2.0**-8 * np.abs(value) + unit @ self._centre + error


def _lost(vectors: np.ndarray, rounded) -> np.ndarray:
    """Returns the length of what rounding took of each vector, float [r]."""
    return np.linalg.norm(vectors - rounded.numpy().astype(np.float32), axis=1)


@functools.cache
def _multiplies_bfloat16() -> bool:
    """Returns whether this machine's CPU has instructions for products in bfloat16."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        flags = next((line.split() for line in file if line.startswith("flags")), [])
        return not {"avx512_bf16", "amx_bf16"}.isdisjoint(flags)
    return False


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
            k = min(group.k, len(columns))
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
        self.k = k
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
        slot = np.concatenate([np.repeat(slots, self.k), slot])
        index = np.concatenate([self.index[touched].ravel(), index])
        similarity = np.concatenate([self.similarity[touched].ravel(), similarity])
        order = np.lexsort((-similarity, slot))
        begins = np.array(np.searchsorted(slot[order], slots))
        best = order[begins[:, np.newaxis] + np.arange(self.k)]
        self.index[touched], self.similarity[touched] = index[best], similarity[best]


def _unit(x: np.ndarray) -> np.ndarray:
    """Returns each row divided by its length, float32 [n, d]; rows of zeros stay."""
    x = np.asarray(x, np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.float32(1e-12))
