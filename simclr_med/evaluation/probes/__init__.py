"""Evaluators of frozen features: one file each, listed in EVALUATORS.

Each is a function (train_x float [n, d], train_y int [n], train_patients [n], test_x [m, d],
num_classes, seed) to scores float [m, num_classes], rows of which sum to 1. All labels are >= 0.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simclr_med.evaluation.probes import knn, linear_probe

EVALUATORS = {"linear probe": linear_probe.scores, "kNN": knn.scores}


def label_scores(evaluator: Callable, train_x, train_y, train_patients, test_x, seed: int):
    """Returns the probability of each of several labels, float [m, L]: a yes-or-no task for each.

    NaN for a label that no training case knows: there is nothing to learn it from.

    Args:
      evaluator: of EVALUATORS.
      train_x: features, float [n, d].
      train_y: 1, 0 or NaN (unknown: that case does not train that label), float [n, L].
      train_patients: [n].
      test_x: features, float [m, d].
      seed: of the evaluator.
    """
    result = np.full((len(test_x), train_y.shape[1]), np.nan)
    for label in range(train_y.shape[1]):
        known = ~np.isnan(train_y[:, label])
        if known.any():
            truth = train_y[known, label].astype(int)
            x, patients = train_x[known], train_patients[known]
            result[:, label] = evaluator(x, truth, patients, test_x, 2, seed)[:, 1]
    return result


def all_scores(
    train_x: dict[str, np.ndarray],
    train_y: np.ndarray,
    train_patients: np.ndarray,
    test_x: dict[str, np.ndarray],
    *,
    multilabel: bool,
    num_classes: int,
    seed: int,
) -> dict[tuple[str, str], np.ndarray]:
    """Returns {(evaluator, encoder): scores [m, classes]} of every evaluator on every encoder's features.

    Args:
      train_x: {encoder: features of the training cases, float [n, d]}.
      train_y: their labels, int [n], or float [n, L] of several labels a case.
      train_patients: [n].
      test_x: {encoder: features to score, float [m, d]}.
      multilabel: whether a case can have several labels.
      num_classes: of one label a case.
      seed: of the evaluators.
    """
    return {
        (name, which): label_scores(evaluator, x, train_y, train_patients, test_x[which], seed)
        if multilabel
        else evaluator(x, train_y, train_patients, test_x[which], num_classes, seed)
        for name, evaluator in EVALUATORS.items()
        for which, x in train_x.items()
    }
