"""Evaluators of frozen features: one file each, listed in EVALUATORS.

Each is a function (train_x float [n, d], train_y, train_patients [n], test_x [m, d], num_classes, seed,
facts=None) to scores float [m, num_classes]. With one label a case train_y is int [n], all >= 0, and
rows of scores sum to 1. With several it is float [n, L], each 1, 0 or NaN: unknown, so that case does not
train that label; scores are the probabilities of the labels, NaN for one that no training case knows.
`facts` is a dict that receives result.json's entries on the fit.
"""

from __future__ import annotations

import numpy as np

from simclr_med.evaluation.probes import knn, linear_probe

EVALUATORS = {"linear probe": linear_probe.fit_predict_proba, "kNN": knn.fit_predict_proba}


def all_scores(
    train_x: dict[str, np.ndarray],
    train_y: np.ndarray,
    train_patients: np.ndarray,
    test_x: dict[str, np.ndarray],
    *,
    num_classes: int,
    seed: int,
) -> tuple[dict[tuple[str, str], np.ndarray], dict[str, dict[str, dict]]]:
    """Returns scores of every evaluator on every encoder's features, and facts about the fits.

    The first is {(evaluator, encoder): scores [m, classes]}, the second {evaluator: {encoder: facts}}.

    Args:
      train_x: {encoder: features of the training cases, float [n, d]}.
      train_y: their labels, int [n], or float [n, L] of several labels a case.
      train_patients: [n].
      test_x: {encoder: features to score, float [m, d]}.
      num_classes: classes, or labels.
      seed: of the evaluators.
    """
    scores: dict = {}
    facts: dict = {}
    for name, evaluator in EVALUATORS.items():
        for encoder, x in train_x.items():
            fit_facts = facts.setdefault(name, {}).setdefault(encoder, {})
            scores[name, encoder] = evaluator(
                x, train_y, train_patients, test_x[encoder], num_classes, seed, fit_facts
            )
    return scores, facts
