"""Linear probe: logistic regression on frozen features, penalty chosen on held-out patients."""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # inverse strength C of the L2 penalty
_HELD_OUT = 0.25  # of the training patients


def scores(train_x, train_y, train_patients, test_x, num_classes: int, seed: int) -> np.ndarray:
    """Returns class probabilities, float [m, num_classes]; classes not seen in training get 0.

    C is the one of PENALTIES with the least log loss on a quarter of the *training* patients; the
    evaluated split takes no part in the choice.
    """
    if len(np.unique(train_patients)) < 2:  # nobody to hold out
        return _fit_predict(train_x, train_y, test_x, num_classes, PENALTIES[0])
    folds = GroupShuffleSplit(1, test_size=_HELD_OUT, random_state=seed)
    fit, held = next(folds.split(train_x, train_y, train_patients))
    losses = [
        _log_loss(
            train_y[held], _fit_predict(train_x[fit], train_y[fit], train_x[held], num_classes, c)
        )
        for c in PENALTIES
    ]
    best = PENALTIES[int(np.argmin(losses))]
    return _fit_predict(train_x, train_y, test_x, num_classes, best)


def _log_loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the mean -log p of the true class; a class unseen in fitting counts as p = 1e-9."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9)).mean())


def _fit_predict(train_x, train_y, test_x, num_classes: int, c: float) -> np.ndarray:
    result = np.zeros((len(test_x), num_classes))
    seen = np.unique(train_y)
    if len(seen) == 1:  # nothing to tell apart
        result[:, seen[0]] = 1.0
        return result
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_x, train_y)
    result[:, seen] = model.predict_proba(test_x)
    return result
