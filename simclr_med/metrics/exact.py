"""Exact metrics of scores. NumPy; no approximation by thresholds or bins but ECE's own.

Every metric takes `weights` [..., n], the times each case is drawn, so that one vectorised call
evaluates all resamples of a bootstrap. An undefined value (a class without positives or without
negatives) is NaN, never 0: averages leave it out.
"""

from __future__ import annotations

import numpy as np

from simclr_med.metrics.ranking import Ranking, as_weights, ratio

_BINS = 15  # Guo et al. 2017, "On calibration of modern neural networks"


def roc_auc(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Returns the area under the ROC curve, exact with ties (a tie counts one half).

    Args:
      positive: truth, bool [n].
      scores: higher is more positive, float [n].
      weights: times each case counts, [..., n]; None means once.

    Returns:
      float or [...]; NaN where there are no positives or no negatives.

    Examples:
        >>> truth, scores = np.array([True, True, False, False]), np.array([0.9, 0.4, 0.4, 0.1])
        >>> float(roc_auc(truth, scores))  # of four pairs three are in order, one is a tie
        0.875
    """
    return Ranking(positive, scores).areas(weights)[0]


def average_precision(
    positive: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Returns the average precision, sum over thresholds of precision times the gain in recall.

    Args:
      positive: bool [n].
      scores: as in `roc_auc`.
      weights: as in `roc_auc`.

    Returns:
      float or [...]; NaN where there are no positives.

    Examples:
        >>> float(average_precision(np.array([True, False, True]), np.array([0.9, 0.5, 0.1])))
        0.8333333333333333
    """
    return Ranking(positive, scores).areas(weights)[1]


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


def rankings(truth: np.ndarray, scores: np.ndarray) -> list[Ranking]:
    """Returns each class against the rest, or each label among the cases that know it.

    Args:
      truth: as in `positives`.
      scores: float [n, classes]; a label with a NaN among them has no areas.
    """
    positive, known = positives(truth, scores.shape[1])
    return [Ranking(positive[:, c], scores[:, c], known[:, c]) for c in range(scores.shape[1])]


def per_class_areas(ranked: list[Ranking], weights: np.ndarray | None = None):
    """Returns (AUC, average precision) of each class, [classes, ...] each.

    Args:
      ranked: from `rankings`.
      weights: as in `roc_auc`.
    """
    aucs, aps = zip(*(ranking.areas(weights) for ranking in ranked))
    return np.stack(aucs), np.stack(aps)


def macro_roc_auc(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None):
    """Returns the mean AUC over the classes, or labels, for which it is defined.

    Args:
      truth: as in `positives`; an unknown label leaves its case out of that label's AUC.
      scores: float [n, classes].
      weights: as in `roc_auc`.
    """
    return mean_of_defined(per_class_areas(rankings(truth, scores), weights)[0])


def macro_average_precision(
    truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None
):
    """Returns the mean average precision over the classes, or labels, for which it is defined.

    Args:
      truth, scores, weights: as in `macro_roc_auc`.
    """
    return mean_of_defined(per_class_areas(rankings(truth, scores), weights)[1])


def mean_of_defined(values: np.ndarray) -> np.ndarray:
    """Returns the mean over the first axis, of what is not NaN; NaN where nothing is."""
    defined = np.isfinite(values)
    return ratio(np.where(defined, values, 0).sum(0), defined.sum(0))


def in_top_k(truth: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Returns whether the true class is among the k highest scores, bool [n].

    Of equal scores the class with the lower number ranks higher, as in `argmax`.

    Args:
      truth: class numbers, int [n].
      scores: float [n, classes].
      k: number of highest scores that count.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return (best == truth[:, None]).any(axis=1)


def top_k(truth: np.ndarray, scores: np.ndarray, k: int, weights: np.ndarray | None = None):
    """Returns the top-k accuracy, float or [...].

    Args:
      truth, scores, k: as in `in_top_k`.
      weights: as in `roc_auc`.
    """
    return share(in_top_k(truth, scores, k), weights)


def share(hits: np.ndarray, weights: np.ndarray | None = None):
    """Returns the weighted mean of hits, float or [...]; NaN where all weights are 0.

    Args:
      hits: bool [n].
      weights: as in `roc_auc`.
    """
    weights = as_weights(weights, len(hits))
    return ratio(weights @ hits.astype(float), weights.sum(-1))


def recalls(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None):
    """Returns the share of each class that has its highest score there, [classes, ...].

    Args:
      truth: class numbers, int [n].
      scores, weights: as in `macro_roc_auc`.
    """
    weights = as_weights(weights, len(truth))
    is_class = positives(truth, scores.shape[1])[0].astype(float)
    hits = is_class * in_top_k(truth, scores, 1)[:, None]
    return np.moveaxis(ratio(weights @ hits, weights @ is_class), -1, 0)


def balanced_accuracy(truth: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None):
    """Returns the mean recall over the classes that have a case, float or [...].

    Args:
      truth, scores, weights: as in `recalls`.
    """
    return mean_of_defined(recalls(truth, scores, weights))


def quadratic_kappa(
    truth: np.ndarray, scores: np.ndarray, grades: np.ndarray, weights: np.ndarray | None = None
):
    """Returns Cohen's kappa with quadratic weights (Cohen 1968), of the grades with the highest scores.

    1 - sum_ij (i - j)^2 o_ij / sum_ij (i - j)^2 e_ij, with o_ij the share of cases of grade i predicted
    as j, and e_ij that share if truth and prediction were independent: as scikit-learn's
    `cohen_kappa_score(..., labels=all grades, weights="quadratic")`.

    Args:
      truth: class numbers, int [n].
      scores: float [n, classes]; of equal ones the lower number is predicted, as in `argmax`.
      grades: of each class, its position in the order, int [classes].
      weights: as in `roc_auc`.

    Returns:
      float or [...]; NaN where all cases that count have one grade: nothing can agree beyond chance.
    """
    true, predicted = grades[truth].astype(float), grades[scores.argmax(axis=1)].astype(float)
    weights = as_weights(weights, len(truth))

    def mean(values: np.ndarray) -> np.ndarray:
        return ratio(weights @ values, weights.sum(-1))

    spread = mean(true**2) - mean(true) ** 2
    by_chance = (
        spread + mean(predicted**2) - mean(predicted) ** 2 + (mean(true) - mean(predicted)) ** 2
    )
    one_grade = spread < 1e-9  # but for rounding, 0
    return 1 - mean((true - predicted) ** 2) / np.where(one_grade, np.nan, by_chance)


def confusion_matrix(truth: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Returns the number of cases, int [classes, classes]: row truth, column highest score.

    Args:
      truth: class numbers, int [n].
      scores: float [n, classes].
    """
    counts = np.zeros((scores.shape[1],) * 2, int)
    np.add.at(counts, (truth, scores.argmax(axis=1)), 1)
    return counts


def calibration_gaps(truth: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (gaps float [n, 15], counts [n]), of which `error_of_gaps` makes the ECE.

    A case's gap is the outcome minus the predicted probability, in the bin of that probability; bin
    b is (b/15, (b+1)/15], and 0 belongs to the first.

    Args:
      truth: as in `positives`. One class a case: the outcome is whether the highest score is right,
        and its probability is that score (Guo et al. 2017). Several labels: the binary form; every
        known label of every case counts, the outcome is the label, 1 or 0, and its probability is
        its score, high or low.
      scores: probabilities, float [n, classes]; a label with NaN does not count.
    """
    if truth.ndim == 1:
        probability = scores.max(axis=1, keepdims=True)  # [n, 1]
        happened, known = in_top_k(truth, scores, 1)[:, None], np.ones_like(probability, bool)
    else:
        probability, happened = scores, truth
        known = ~np.isnan(truth) & ~np.isnan(scores).any(axis=0)
    edges = np.arange(1, _BINS) / _BINS
    bins = np.asarray(np.searchsorted(edges, probability, side="left"))
    gaps = np.zeros((len(truth), _BINS))
    np.add.at(gaps, (np.nonzero(known)[0], bins[known]), happened[known] - probability[known])
    outside = known & ~((probability >= 0) & (probability <= 1 + 1e-6))  # rounding of a softmax
    return gaps if not outside.any() else np.full_like(gaps, np.nan), known.sum(axis=1)


def error_of_gaps(gaps: np.ndarray, counts: np.ndarray, weights: np.ndarray | None = None):
    """Returns the expected calibration error, float or [...]; NaN if the gaps are.

    Args:
      gaps, counts: from `calibration_gaps`.
      weights: as in `roc_auc`.
    """
    weights = as_weights(weights, len(counts))
    return ratio(np.abs(weights @ gaps).sum(-1), weights @ counts.astype(float))


def expected_calibration_error(truth, scores, weights: np.ndarray | None = None):
    """Returns the mean gap between probability and outcome; NaN where scores are no probabilities.

    Args:
      truth, scores: as in `calibration_gaps`.
      weights: as in `roc_auc`.
    """
    return error_of_gaps(*calibration_gaps(truth, scores), weights)


def sensitivity_specificity(
    truth: np.ndarray,
    scores: np.ndarray,
    thresholds: np.ndarray,
    weights: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (sensitivity, specificity), [labels, ...] each; a score at the threshold is a yes.

    Args:
      truth, scores, weights: as in `macro_roc_auc`.
      thresholds: float [labels]; NaN, as a score that is NaN, leaves both undefined.
    """
    positive, known = positives(truth, scores.shape[1])
    known = known & ~np.isnan(thresholds) & ~np.isnan(scores).any(axis=0)
    yes = scores >= thresholds
    weights = as_weights(weights, len(truth))

    def shares(right: np.ndarray, of: np.ndarray) -> np.ndarray:
        return np.moveaxis(ratio(weights @ (right & of).astype(float), weights @ of), -1, 0)

    return shares(yes, known & positive), shares(~yes, known & ~positive)


def in_differential(differential: np.ndarray, scores: np.ndarray, k: int) -> np.ndarray:
    """Returns whether one of the k highest scores is of a label in the differential, bool [n].

    False of a case without a label. Of equal scores the lower number ranks higher, as in `in_top_k`.

    Args:
      differential: shares or weights of the labels of each case, float [n, classes], 0 where a label
        is not in it.
      scores: float [n, classes].
      k: how many answers count.
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return (np.take_along_axis(differential, best, axis=1) > 0).any(axis=1)
