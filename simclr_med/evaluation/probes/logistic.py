"""Logistic regressions on shared features: several labels, or a softmax over classes, fitted at once.

Minimises, for each label or softmax, scikit-learn's objective, divided by C n:

    sum of -log p / n + |w|^2 / (2 C n),    features standardised over the n cases that are used

with SciPy's L-BFGS-B. Two things make it fit for hundreds of thousands of cases: all regressions
share each pass over the features, which are standardised piece by piece and never copied whole; and
the coordinates are scaled by the Hessian that equal probabilities would have, so that correlated
features need some ten passes (L-BFGS as scikit-learn calls it runs out of 300).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.special

MAX_ITERATIONS = 300
# A fit has converged where a Newton step would move the log-odds of a training case by less than this,
# as the root mean square over the cases.
TOLERANCE = 1e-4
_GRADIENT = 1e-8  # in the scaled coordinates, where the optimiser stops
_SMALL = 10_000_000  # features below which they are kept standardised, 80 MB
_ROWS = 256  # of a piece: 4 MB of 2,048 features in float64; 1,024 rows take 1.6 times the time
_ROWS_PER_FEATURE = 16  # of the cases that the Hessian is estimated on


class Features:
    """Features of cases, read in standardised pieces.

    Args:
      x: float [n, d]; an array in memory or a memory-mapped one, which is not changed.
    """

    def __init__(self, x: np.ndarray):
        self.x = x
        self.mean, self.scale = (column[:, 0] for column in self.moments(np.ones((len(x), 1))))
        self._whole = (x - self.mean) / self.scale if x.size < _SMALL else None
        self.eigenvalues, self.eigenvectors = self._spectrum()

    def moments(self, used: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns the means and standard deviations over groups of cases, each float64 [d, g].

        A deviation of 0 reads 1, as in scikit-learn's StandardScaler.

        Args:
          used: which cases are in each group, [n, g], none empty.
        """
        first = self.x[0].astype(float)  # so a constant feature has variance 0 exactly
        sums = np.zeros((2, self.x.shape[1], used.shape[1]))
        for rows in _pieces(len(self.x)):
            z, inside = self.x[rows] - first, used[rows].astype(float)
            sums += z.T @ inside, np.square(z).T @ inside
        mean, square = sums / used.sum(0)
        variance = np.maximum(square - np.square(mean), 0)
        variance[variance < 1e-13 * square] = 0  # what rounding leaves
        return first[:, np.newaxis] + mean, np.where(variance > 0, np.sqrt(variance), 1.0)

    def pieces(self) -> Iterator[tuple[slice, np.ndarray]]:
        """Yields (rows, their features, standardised over all cases, float64 [rows, d]).

        The array is overwritten by the next piece.
        """
        if self._whole is not None:
            yield slice(0, len(self.x)), self._whole
            return
        buffer = np.empty((_ROWS, self.x.shape[1]))
        for rows in _pieces(len(self.x)):
            z = buffer[: len(self.x[rows])]
            np.subtract(self.x[rows], self.mean, out=z)
            z /= self.scale
            yield rows, z

    def _spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns eigenvalues [r] and eigenvectors [d, r] of the features' correlations."""
        n, d = self.x.shape
        step = max(1, n // (_ROWS_PER_FEATURE * d))
        some = (self.x[::step] - self.mean) / self.scale
        if len(some) >= d:
            return scipy.linalg.eigh(some.T @ some / len(some))
        values, vectors = scipy.linalg.eigh(some @ some.T / len(some))
        kept = values > values[-1] * 1e-10
        values, vectors = values[kept], vectors[:, kept]
        return values, some.T @ (vectors / np.sqrt(values * len(some)))


@dataclasses.dataclass(frozen=True)
class Fit:
    """Fitted regressions.

    Attributes:
      weights: of the features as these regressions standardise them, and the intercepts below: the
        start of another fit, float [d + 1, k].
      kernel: of the features themselves, float [d, k].
      bias: float [k]; x @ kernel + bias are the logits.
      gradient: the largest derivative of each regression's objective, float [g].
      converged: whether each is within TOLERANCE, bool [g].
    """

    weights: np.ndarray
    kernel: np.ndarray
    bias: np.ndarray
    gradient: np.ndarray
    converged: np.ndarray


class Regressions:
    """Yes-or-no regressions of labels on the cases that each uses, or one softmax over classes.

    Args:
      features: of n cases.
      truth: of each column, 1 or 0, [n, k].
      used: cases that each label's regression uses, bool [n, k]; or that the softmax uses, [n, 1].
        Every column has a 1 and a 0 among them.
      softmax: whether the columns are classes, of which every case has one.
    """

    def __init__(self, features: Features, truth, used: np.ndarray, *, softmax: bool):
        self._features, self._truth, self._used = features, truth, used
        self._loss = _of_classes if softmax else _of_labels
        self._count = used.sum(0)
        self._mean, self._scale = features.moments(used)
        # These regressions standardise z, in which the features come, as z * slope + shift.
        self._slope = features.scale[:, np.newaxis] / self._scale
        self._shift = (features.mean[:, np.newaxis] - self._mean) / self._scale
        rate = (truth * used).sum(0) / self._count
        self._curvature = rate * (1 - rate)
        self.num_fits = used.shape[1]

    def fit(self, c: np.ndarray, start: np.ndarray | None = None) -> Fit:
        """Returns the fit with inverse penalties c, float [g], begun at the weights of another."""
        d, k = self._features.x.shape[1], self._truth.shape[1]
        penalty = 1 / (c * self._count)
        scaling = _Scaling(self._features, self._curvature, penalty)
        begin = np.zeros((d + 1, k)) if start is None else scaling.undo(start)

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            value, gradient = self._objective(scaling(flat.reshape(d + 1, k)), penalty)
            return value, scaling(gradient).ravel()

        found = scipy.optimize.minimize(
            objective,
            begin.ravel(),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": MAX_ITERATIONS, "ftol": 0, "gtol": _GRADIENT, "maxcor": 20},
        )
        # Rounding can end the line search first: what counts is the gradient that is left.
        left = found.jac.reshape(d + 1, k)
        weights = scaling(found.x.reshape(d + 1, k))
        step = np.sqrt(self._of_groups(np.square(left).sum(0) / self._curvature, np.add))
        return Fit(
            weights,
            *self._on_features(weights),
            gradient=self._of_groups(np.abs(scaling.undo(left)).max(0), np.maximum),
            converged=step <= TOLERANCE,
        )

    def logits(self, weights: np.ndarray) -> np.ndarray:
        """Returns the logits of all n cases, float64 [n, k], of the weights of a fit."""
        kernel, bias = self._on_pieces(weights)
        return np.concatenate([z @ kernel + bias for _, z in self._features.pieces()])

    def _objective(self, weights: np.ndarray, penalty: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns the sum of the objectives at weights, float [d + 1, k], and its gradient."""
        kernel, bias = self._on_pieces(weights)
        of_kernel, of_bias, value = np.zeros_like(kernel), np.zeros_like(bias), 0.0
        share = 1 / self._count
        for rows, z in self._features.pieces():
            logits = z @ kernel + bias
            losses, residual = self._loss(logits, self._truth[rows])
            weight = self._used[rows] * share
            value += float((losses * weight).sum())
            residual *= weight
            of_kernel += z.T @ residual
            of_bias += residual.sum(0)
        value += float((penalty * np.square(weights[:-1])).sum() / 2)
        of_weights = self._slope * of_kernel + self._shift * of_bias + penalty * weights[:-1]
        return value, np.vstack([of_weights, of_bias])

    def _on_pieces(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns kernel [d, k] and bias [k] for the features as `Features.pieces` has them."""
        return self._slope * weights[:-1], weights[-1] + (self._shift * weights[:-1]).sum(0)

    def _on_features(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns kernel [d, k] and bias [k] for the features as they are."""
        kernel = weights[:-1] / self._scale
        return kernel, weights[-1] - (kernel * self._mean).sum(0)

    def _of_groups(self, of_columns: np.ndarray, reduce: np.ufunc) -> np.ndarray:
        """Returns a value for each label, or one for the softmax, of values [k]."""
        alone = len(self._count) == len(of_columns)
        return of_columns if alone else reduce.reduce(of_columns, keepdims=True)


class _Scaling:
    """The inverse root of the Hessian where all cases are equally probable; symmetric.

    Args:
      features: whose correlations it is made of.
      curvature: variance of a column's outcome, float [k].
      penalty: of each column, or one for all, float [k] or [1].
    """

    def __init__(self, features: Features, curvature: np.ndarray, penalty: np.ndarray):
        self._vectors = features.eigenvectors
        self._along = 1 / np.sqrt(
            np.maximum(features.eigenvalues, 0)[:, None] * curvature + penalty
        )
        self._across = 1 / np.sqrt(penalty)  # directions that no case takes
        self._bias = 1 / np.sqrt(curvature)

    def __call__(self, values: np.ndarray) -> np.ndarray:
        """Returns weights, float [d + 1, k], of scaled ones; or scaled gradients of gradients."""
        return self._apply(values, self._along, self._across, self._bias)

    def undo(self, values: np.ndarray) -> np.ndarray:
        """Returns scaled weights of weights, or gradients of scaled ones, float [d + 1, k]."""
        return self._apply(values, 1 / self._along, 1 / self._across, 1 / self._bias)

    def _apply(self, values, along, across, bias) -> np.ndarray:
        inside = self._vectors.T @ values[:-1]
        weights = across * values[:-1] + self._vectors @ ((along - across) * inside)
        return np.vstack([weights, bias * values[-1]])


def _of_labels(logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns each label's loss and its derivative by the logit, both float [m, k]."""
    return np.logaddexp(0, logits) - truth * logits, scipy.special.expit(logits) - truth


def _of_classes(logits: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the loss, float [m, 1], and its derivatives by the logits, float [m, k]."""
    logits = logits - logits.max(axis=1, keepdims=True)
    odds = np.exp(logits)
    total = odds.sum(axis=1, keepdims=True)
    return np.log(total) - (truth * logits).sum(axis=1, keepdims=True), odds / total - truth


def _pieces(n: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]
