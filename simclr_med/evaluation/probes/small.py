"""Logistic regressions by scikit-learn: for few cases what `logistic.Regressions` is for many.

With few features scikit-learn reaches its own tolerance in a fraction of the time.
"""

from __future__ import annotations

import warnings

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from simclr_med.evaluation.probes.logistic import MAX_ITERATIONS, Fit


class SmallRegressions:
    """The same regressions as `logistic.Regressions`, whose arguments these are but for `x`.

    Args:
      x: features, float [n, d].
      truth, used, softmax: see there.
    """

    def __init__(self, x: np.ndarray, truth: np.ndarray, used: np.ndarray, *, softmax: bool):
        self._x, self.num_fits = x, used.shape[1]
        self._parts = []
        for index, rows in enumerate(used.T):
            scaler = StandardScaler().fit(x[rows])
            y = truth[rows].argmax(axis=1) if softmax else truth[rows, index]
            self._parts.append((scaler, scaler.transform(x[rows]), y))

    def fit(self, c: np.ndarray, start: np.ndarray | None = None, *, rough: bool = False) -> Fit:
        """Returns the fit with the given penalties.

        Args:
          c: inverse penalty of each regression, float [g].
          start, rough: have no effect; they are there for `logistic.Regressions`.
        """
        del start, rough
        fits = [
            self._fit(*part, float(c_of_part))
            for part, c_of_part in zip(self._parts, c, strict=True)
        ]
        kernels, biases, gradients, converged = zip(*fits, strict=True)
        kernel, bias = np.hstack(kernels), np.concatenate(biases)
        weights = np.vstack([kernel, bias])
        return Fit(weights, kernel, bias, np.array(gradients), np.array(converged))

    def logits(self, weights: np.ndarray) -> np.ndarray:
        """Returns the logits of all n cases, float64 [n, k], of the weights of a fit."""
        return self._x.astype(float) @ weights[:-1] + weights[-1]

    def _fit(self, scaler: StandardScaler, z: np.ndarray, y: np.ndarray, c: float) -> tuple:
        """Returns (kernel [d, k], bias [k], largest gradient, whether it converged)."""
        model = LogisticRegression(C=c, max_iter=MAX_ITERATIONS)
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", ConvergenceWarning
            )  # the probe says so, once for all fits
            model.fit(z, y)
        weights = np.asarray(model.coef_, float)
        residual = model.predict_proba(z) - (y[:, np.newaxis] == model.classes_)
        residual = residual[:, -len(weights) :]  # of two classes the second
        gradient = residual.T @ z / len(z) + weights / (c * len(z))
        largest = max(np.abs(gradient).max(), np.abs(residual.mean(axis=0)).max())
        kernel = (weights / scaler.scale_).T
        bias = np.asarray(model.intercept_, float) - scaler.mean_ @ kernel
        return kernel, bias, float(largest), bool(model.n_iter_.max() < MAX_ITERATIONS)
