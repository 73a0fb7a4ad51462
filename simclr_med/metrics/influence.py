"""How much each case moves a metric: the derivative of the metric with respect to the case's weight.

With d[k] the derivative for case k, counted w[k] times instead of once, the metric changes by
sum((w - 1) * d) to first order. Summed over a patient's cases this is the patient's influence, whose
sum of squares over patients is the variance of the metric under another draw of patients
(infinitesimal jackknife, Efron 1982). For AUC it is DeLong's variance (1988), by patient Obuchowski's
(1997, "Nonparametric analysis of clustered ROC curve data").
"""

from __future__ import annotations

import numpy as np
import scipy.stats


def auc(positive: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns (AUC, derivatives [n]); there is at least one positive and one negative.

    A positive's derivative is (share of the negatives below it, ties one half, minus AUC) / m, m the
    number of positives; a negative's the same with the roles exchanged (DeLong's placements).

    Args:
      positive: truth, bool [n].
      scores: float [n].
    """
    m = int(positive.sum())
    n = len(scores) - m
    ranks = scipy.stats.rankdata(scores)
    below = ranks.copy()  # of a positive: negatives at or below it; of a negative: positives
    below[positive] -= scipy.stats.rankdata(scores[positive])
    below[~positive] -= scipy.stats.rankdata(scores[~positive])
    placement = np.where(positive, below / n, 1 - below / m)
    value = float(placement[positive].mean())
    return value, (placement - value) / np.where(positive, m, n)


def average_precision(positive: np.ndarray, scores: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns (average precision, derivatives [n]); there is at least one positive.

    AP = sum_i w_i P_i / sum_i w_i over positives i, with the precision P_i = T_i / C_i of all cases
    that score at least as high. So case k's derivative is [y_k (P_k - AP) + sum over positives i
    that score no higher than k of (y_k / C_i - T_i / C_i^2)] / m, y_k 1 for a positive, else 0.

    Args:
      positive: truth, bool [n].
      scores: float [n].
    """
    m = int(positive.sum())
    steps, step = np.unique(scores, return_inverse=True)  # ascending
    positives_at_step = np.bincount(step, positive, len(steps))
    called = np.cumsum(np.bincount(step, minlength=len(steps))[::-1])[::-1].astype(float)
    true_positives = np.cumsum(positives_at_step[::-1])[::-1]
    precision = true_positives / called
    value = float(positives_at_step @ precision / m)
    helped = np.cumsum(positives_at_step / called)  # of the positives at this step or below
    hurt = np.cumsum(positives_at_step * true_positives / called**2)
    own_effect = np.where(positive, precision[step] - value + helped[step], 0.0)
    return value, (own_effect - hurt[step]) / m


def quadratic_kappa(true: np.ndarray, predicted: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns (Cohen's kappa with quadratic weights, derivatives [n]); `true` has at least two grades.

    kappa = 1 - O / E, O the mean of (t_k - g_k)^2 over cases and E that over all pairs of a truth and an
    answer. Case k moves O by ((t_k - g_k)^2 - O) / n and E by (a_k + b_k - 2 E) / n, a_k the mean
    squared distance of t_k from all answers and b_k that of g_k from all truths. The sum of squares is
    the variance of Fleiss, Cohen and Everitt (1969).

    Args:
      true, predicted: grades, as positions in their order, [n].
    """
    t, g = np.asarray(true, float), np.asarray(predicted, float)
    squared_distance = (t - g) ** 2
    from_predicted = (t - g.mean()) ** 2 + g.var()
    from_true = (g - t.mean()) ** 2 + t.var()
    observed, chance = squared_distance.mean(), from_predicted.mean()
    derivative = -(squared_distance - observed) / chance
    derivative += observed * (from_predicted + from_true - 2 * chance) / chance**2
    return float(1 - observed / chance), derivative / len(t)


def share(hits: np.ndarray) -> tuple[float, np.ndarray]:
    """Returns (mean, derivatives [n]) of bool or float [n]."""
    value = float(hits.mean())
    return value, (hits - value) / len(hits)
