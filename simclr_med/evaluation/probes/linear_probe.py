"""Linear probe: logistic regression on frozen features, penalty chosen on held-out patients."""

from __future__ import annotations

import contextlib
import math
import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # inverse strength C of the L2 penalty
_HELD_OUT = 0.25  # of the training patients
# Features below which BLAS gets one thread: its others wait by spinning, and a fit of 716 x 512 takes
# 0.09 s in place of 0.02 (two cores); from 20,000 x 512 on both take the same.
_ONE_THREAD = 10_000_000


def scores(train_x, train_y, train_patients, test_x, num_classes: int, seed: int) -> np.ndarray:
    """Returns class probabilities, float [m, num_classes]; classes not seen in training get 0.

    C is the one of PENALTIES with the least log loss on a quarter of the *training* patients; the
    evaluated split takes no part in the choice.
    """
    best = _choose_penalty(train_x, train_y, train_patients, num_classes, seed)
    return _fit_predict(train_x, train_y, test_x, num_classes, best)


def head(
    train_x, train_y, train_patients, num_classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Returns (kernel float [d, num_classes], bias float [num_classes], C) of the probe of `scores`.

    softmax(x @ kernel + bias) are the probabilities of the classes seen in training: the
    standardisation of the features is part of both. The logits of those classes have mean 0 at every
    x, so one of them is at least 0; the logit of a class not seen is -log(n + 1), and its probability
    at most 1 / (n + 2), Laplace's rule of succession for what did not happen in n cases.

    Args:
      train_x: features, float [n, d].
      train_y: int [n], >= 0.
      train_patients: [n].
      num_classes: classes, seen or not.
      seed: decides which patients are held out.
    """
    best = _choose_penalty(train_x, train_y, train_patients, num_classes, seed)
    kernel = np.zeros((train_x.shape[1], num_classes))
    bias = np.full(num_classes, -math.log(len(train_y) + 1))
    seen = np.unique(train_y)
    if len(seen) == 1:
        bias[seen] = 0.0
        return kernel, bias, best
    scaler, regression = (step for _, step in _fit(train_x, train_y, best).steps)
    weights, offset = regression.coef_, regression.intercept_
    if len(weights) == 1:  # of two classes: the log-odds of the second
        weights, offset = np.concatenate([-weights, weights]) / 2, np.append(-offset, offset) / 2
    weights, offset = weights - weights.mean(axis=0), offset - offset.mean()
    kernel[:, seen] = (weights / scaler.scale_).T
    bias[seen] = offset - (weights / scaler.scale_) @ scaler.mean_
    return kernel, bias, best


def _choose_penalty(train_x, train_y, train_patients, num_classes: int, seed: int) -> float:
    """Returns C, chosen on held-out patients; the strongest penalty where nobody can be held out."""
    if len(np.unique(train_patients)) < 2:
        return PENALTIES[0]
    folds = GroupShuffleSplit(1, test_size=_HELD_OUT, random_state=seed)
    fit, held = next(folds.split(train_x, train_y, train_patients))
    losses = [
        _log_loss(
            train_y[held], _fit_predict(train_x[fit], train_y[fit], train_x[held], num_classes, c)
        )
        for c in PENALTIES
    ]
    return PENALTIES[int(np.argmin(losses))]


def _log_loss(truth: np.ndarray, probabilities: np.ndarray) -> float:
    """Returns the mean -log p of the true class; a class unseen in fitting counts as p = 1e-9."""
    return float(-np.log(np.maximum(probabilities[np.arange(len(truth)), truth], 1e-9)).mean())


def _fit_predict(train_x, train_y, test_x, num_classes: int, c: float) -> np.ndarray:
    result = np.zeros((len(test_x), num_classes))
    seen = np.unique(train_y)
    if len(seen) == 1:  # nothing to tell apart
        result[:, seen[0]] = 1.0
        return result
    result[:, seen] = _fit(train_x, train_y, c).predict_proba(test_x)
    return result


def _fit(train_x, train_y, c: float) -> Pipeline:
    """Returns the fitted standardisation and regression; there are at least two classes."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=c, max_iter=300))
    few = train_x.size < _ONE_THREAD
    with warnings.catch_warnings(), threadpool_limits(1) if few else contextlib.nullcontext():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(train_x, train_y)
    return model
