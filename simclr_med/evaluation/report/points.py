"""The points that the charts of report.html draw; their areas are the metrics of metrics.py."""

from __future__ import annotations

import dataclasses

import numpy as np


def roc_points(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (false positive rate, sensitivity), each float [k], from (0, 0) to (1, 1).

    One point for each distinct score, so that tied cases make a slope: the trapezoids' area is
    `metrics.roc_auc`.

    Args:
      positive: truth, bool [n], with both values.
      scores: float [n].
    """
    with_it, called = _called(positive, scores)
    sensitivity = with_it / with_it[-1]
    fall_out = (called - with_it) / (called - with_it)[-1]
    return np.r_[0.0, fall_out], np.r_[0.0, sensitivity]


def pr_points(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (recall, precision), each float [k], recall rising.

    Precision holds from the previous recall up to its own: the steps' area is
    `metrics.average_precision`.

    Args:
      positive: truth, bool [n], with a True.
      scores: float [n].
    """
    with_it, called = _called(positive, scores)
    return with_it / with_it[-1], with_it / called


def macro_roc(curves: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of ROC curves, sensitivity averaged at 501 false positive rates."""
    grid = np.linspace(0, 1, 501)
    mean = np.mean([np.interp(grid, *curve) for curve in curves], axis=0)
    return np.r_[0.0, grid], np.r_[0.0, mean]


def macro_pr(curves: list[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Returns the mean of precision-recall curves, precision averaged at 500 recalls."""
    grid = np.arange(1, 501) / 500
    precisions = [
        precision[np.minimum(np.searchsorted(recall, grid - 1e-9), len(recall) - 1)]
        for recall, precision in curves
    ]
    return grid, np.mean(precisions, axis=0)


@dataclasses.dataclass(frozen=True)
class Bins:
    """A reliability diagram: predictions grouped by their probability, in bins of equal width.

    Attributes:
      edges: float [bins + 1], from 0 to 1.
      counts: predictions in each bin, int [bins].
      stated: mean probability, float [bins], NaN where empty.
      observed: share that came true, float [bins], NaN where empty.
    """

    edges: np.ndarray
    counts: np.ndarray
    stated: np.ndarray
    observed: np.ndarray


def calibration_bins(probability: np.ndarray, true: np.ndarray, num_bins: int = 15) -> Bins:
    """Returns the bins of a reliability diagram: predicted probability against observed frequency.

    Bins are those of the calibration error, 15 as in Guo et al. 2017: bin i holds
    (i / bins, (i + 1) / bins], and the first holds 0 too.

    Args:
      probability: float [n], n >= 1, in [0, 1].
      true: bool [n].
      num_bins: number of bins.
    """
    edges = np.linspace(0, 1, num_bins + 1)
    index = np.clip(np.searchsorted(edges, probability, side="left") - 1, 0, num_bins - 1)
    counts = np.bincount(index, minlength=num_bins)
    with np.errstate(invalid="ignore"):
        stated = np.bincount(index, probability, num_bins) / counts
        observed = np.bincount(index, np.asarray(true, float), num_bins) / counts
    return Bins(edges, counts, stated, observed)


def _called(positive: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns, at each distinct score from high to low, how many positives and cases reach it."""
    order = np.argsort(-np.asarray(scores), kind="stable")
    sorted_scores = np.asarray(scores)[order]
    ends = np.flatnonzero(np.r_[sorted_scores[1:] != sorted_scores[:-1], True])
    with_it = np.cumsum(np.asarray(positive, bool)[order])[ends].astype(float)
    return with_it, ends + 1.0
