"""Exact metrics of scores, and intervals that resample patients. NumPy; no thresholds, no bins.

Every metric takes `weights` [..., n], the times each case is drawn, so that one vectorised call
evaluates all resamples of a bootstrap. An undefined value (a class without positives or without
negatives) is NaN, never 0: averages leave it out.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


def roc_auc(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None):
    """Returns the area under the ROC curve, exact with ties (a tie counts one half).

    Args:
      positive: truth, bool [n].
      scores: higher is more positive, float [n].
      weights: times each case counts, [..., n]; None means once.

    Returns:
      float or [...]; NaN where there are no positives or no negatives.
    """
    order = np.argsort(scores, kind="stable")
    positive = np.asarray(positive, bool)[order]
    weights = _weights(weights, len(positive))[..., order]
    starts = _starts_of_ties(np.asarray(scores)[order])
    positives = np.add.reduceat(weights * positive, starts, axis=-1)  # [..., distinct scores]
    negatives = np.add.reduceat(weights * ~positive, starts, axis=-1)
    negatives_below = np.cumsum(negatives, axis=-1) - negatives
    wins = np.sum(positives * (negatives_below + 0.5 * negatives), axis=-1)
    with np.errstate(invalid="ignore"):
        return wins / (positives.sum(-1) * negatives.sum(-1))


def average_precision(positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None):
    """Returns the average precision, sum over thresholds of precision times the gain in recall.

    Arguments and result as in `roc_auc`; NaN where there are no positives.
    """
    order = np.argsort(-np.asarray(scores), kind="stable")
    positive = np.asarray(positive, bool)[order]
    weights = _weights(weights, len(positive))[..., order]
    starts = _starts_of_ties(np.asarray(scores)[order])
    positives = np.add.reduceat(weights * positive, starts, axis=-1)
    called = np.cumsum(np.add.reduceat(weights, starts, axis=-1), axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(called > 0, np.cumsum(positives, axis=-1) / called, 0.0)
        return np.sum(precision * positives, axis=-1) / positives.sum(-1)


def positives(truth: np.ndarray, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (positive, known), bool [n, classes] each, of one class or several labels a case.

    Args:
      truth: class numbers, int [n]: one against the rest, all known; or float [n, labels], each 1,
        0 or NaN (unknown).
      num_classes: classes or labels.
    """
    if truth.ndim == 1:
        positive = truth[:, None] == np.arange(num_classes)
        return positive, np.ones_like(positive)
    return truth == 1, ~np.isnan(truth)


def macro_roc_auc(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None):
    """Returns the mean AUC over the classes, or labels, for which it is defined.

    Args:
      truth: as in `positives`; an unknown label leaves its case out of that label's AUC.
      scores: float [n, classes].
      weights: as in `roc_auc`.
    """
    return _macro(roc_auc, truth, scores, weights)


def macro_average_precision(
    truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
):
    """Returns the mean average precision over classes or labels; arguments as `macro_roc_auc`."""
    return _macro(average_precision, truth, scores, weights)


def per_class(metric: Callable, truth: np.ndarray, scores: np.ndarray, weights=None) -> np.ndarray:
    """Returns `metric` of each class against the rest, or of each label, [classes, ...].

    NaN for a label that no case knows, or that has no scores (NaN).
    """
    positive, known = positives(truth, scores.shape[1])
    weights = _weights(weights, len(scores))
    return np.stack(
        [
            metric(positive[seen, c], scores[seen, c], weights[..., seen])
            if (seen := known[:, c]).any() and not np.isnan(scores[:, c]).any()
            else np.full(weights.shape[:-1], np.nan)
            for c in range(scores.shape[1])
        ]
    )


def _macro(metric, truth, scores, weights):
    values = per_class(metric, truth, scores, weights)
    defined = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        return np.where(defined, values, 0).sum(0) / defined.sum(0)


def top_1(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None):
    """Returns the accuracy of the highest score; arguments as in `macro_roc_auc`."""
    hits = np.argmax(scores, axis=1) == truth
    weights = _weights(weights, len(hits))
    return (weights * hits).sum(-1) / weights.sum(-1)


def bootstrap(
    metric: Callable[[np.ndarray], np.ndarray],
    patients: np.ndarray,
    *,
    resamples: int = 2000,
    seed: int = 0,
    chunk: int = 500,
) -> tuple[float, float]:
    """Returns the 95 % percentile interval of a metric under resampling of patients.

    A patient is drawn with all of their cases: cases of one patient are not independent.

    Args:
      metric: maps weights [r, n] to values [r], e.g. `lambda w: top_1(truth, scores, w)`.
      patients: patient of each case, [n].
      resamples: number of draws of as many patients as there are.
      seed: equal seeds draw equal patients, so that two models compare on the same resamples.
      chunk: resamples evaluated at once (memory: chunk * n * 8 bytes, a few times over).
    """
    _, patient_of_case = np.unique(patients, return_inverse=True)
    num_patients = patient_of_case.max() + 1
    rng = np.random.default_rng(seed)
    chunks = []
    for start in range(0, resamples, chunk):
        size = min(chunk, resamples - start)
        times = rng.multinomial(num_patients, np.full(num_patients, 1 / num_patients), size=size)
        chunks.append(metric(times[:, patient_of_case]))
    values = np.concatenate(chunks)
    values = values[np.isfinite(values)]
    if not len(values):
        return float("nan"), float("nan")
    return float(np.percentile(values, 2.5)), float(np.percentile(values, 97.5))


def _weights(weights: np.ndarray | None, n: int) -> np.ndarray:
    return np.ones(n) if weights is None else np.asarray(weights, float)


def _starts_of_ties(sorted_scores: np.ndarray) -> np.ndarray:
    return np.flatnonzero(np.r_[True, sorted_scores[1:] != sorted_scores[:-1]])
