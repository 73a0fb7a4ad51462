"""The areas under the ROC and the precision-recall curve, exact, for many weightings at once."""

from __future__ import annotations

import numpy as np
import scipy.sparse


class Ranking:
    """Cases in the order of one score: sorted once, weighted often.

    Only the distinct scores of positives matter, the "steps": a case adds its weight to the step
    at or below it, and both areas are sums over steps. With few positives that is little work.
    """

    def __init__(self, positive: np.ndarray, scores: np.ndarray, known: np.ndarray | None = None):
        """Arguments: bool, float and bool [n]; cases not `known` (None: all are) play no part."""
        rows = np.arange(len(scores)) if known is None else np.flatnonzero(known)
        scores, positive = np.asarray(scores)[rows], np.asarray(positive, bool)[rows]
        self._num_cases = len(rows) if known is None else len(known)
        if np.isnan(scores).any():  # a label that could not be learnt: nothing is defined
            positive = np.zeros_like(positive)
        steps = np.unique(scores[positive])
        m = self._num_steps = len(steps)
        at_or_below = np.asarray(np.searchsorted(steps, scores, side="right"))
        step = m - at_or_below  # 0 the highest, m below them all
        tied = ~positive & np.isin(scores, steps)
        self._tied_steps, tie = np.unique(step[tied], return_inverse=True)
        sums = np.concatenate([step[positive], m + step[~positive], 2 * m + 1 + tie])
        cases = np.concatenate([rows[positive], rows[~positive], rows[tied]])
        shape = (2 * m + 1 + len(self._tied_steps), self._num_cases)
        self._sums = scipy.sparse.csr_matrix((np.ones(len(cases)), (sums, cases)), shape)

    def areas(self, weights: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns (area under the ROC curve, average precision), each [...], of weights [..., n]."""
        weights = as_weights(weights, self._num_cases)
        shape, m = weights.shape[:-1], self._num_steps
        if m == 0:
            return np.full(shape, np.nan)[()], np.full(shape, np.nan)[()]
        columns = weights.reshape(int(np.prod(shape)), self._num_cases).T
        sums = self._sums @ np.ascontiguousarray(columns)  # [m + m + 1 + tied steps, resamples]
        positives_at_step, ties = sums[:m], sums[2 * m + 1 :]
        true_positives, false_positives = (
            _cumulative(positives_at_step),
            _cumulative(sums[m : 2 * m + 1]),
        )
        num_positive, num_negative = true_positives[-1], false_positives[-1]
        losses = np.einsum("kr,kr->r", positives_at_step, false_positives[:m])
        losses -= 0.5 * np.einsum("kr,kr->r", positives_at_step[self._tied_steps], ties)
        auc = 1 - ratio(losses, num_positive * num_negative)
        called = true_positives + false_positives[:m]
        np.maximum(called, np.finfo(float).tiny, out=called)  # none called: no true positive either
        precision = np.divide(true_positives, called, out=called)
        ap = ratio(np.einsum("kr,kr->r", positives_at_step, precision), num_positive)
        return auc.reshape(shape)[()], ap.reshape(shape)[()]


def as_weights(weights: np.ndarray | None, n: int) -> np.ndarray:
    """Returns weights as float [..., n].

    Args:
      weights: of the cases, [..., n]; None means each case once.
      n: number of cases.
    """
    return np.ones(n) if weights is None else np.asarray(weights, float)


def ratio(above: np.ndarray, below: np.ndarray):
    """Returns above / below, NaN for 0 / 0 without a warning.

    Args:
      above: numerator; 0 wherever `below` is.
      below: denominator, >= 0.
    """
    with np.errstate(invalid="ignore"):
        return np.asarray(above, float) / below


def _cumulative(values: np.ndarray, block: int = 32) -> np.ndarray:
    """Returns the cumulative sums over the first axis of [k, r]: np.cumsum, several times faster.

    Whole rows are added, which the processor does side by side: first within blocks of rows, all
    blocks at once, then the blocks' totals.
    """
    k, r = values.shape
    num_blocks = -(-k // block)
    sums = np.zeros((num_blocks, block, r))
    sums.reshape(num_blocks * block, r)[:k] = values
    for i in range(1, block):
        sums[:, i] += sums[:, i - 1]
    for i in range(1, num_blocks):
        sums[i] += sums[i - 1, -1]
    return sums.reshape(num_blocks * block, r)[:k]
