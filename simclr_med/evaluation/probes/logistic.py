"""Logistic regressions on shared features: several labels, or a softmax over classes, fitted at once.

Minimises, for each label or softmax, scikit-learn's objective, divided by C n:

    sum of -log p / n + |w|^2 / (2 C n),    features standardised over the n cases that are used

with SciPy's L-BFGS-B. Two things make it fit for hundreds of thousands of cases: all regressions
share each pass over the features (`lock_step`), which are standardised piece by piece and never
copied whole; and the coordinates are scaled by the Hessian that equal probabilities would have, so that
correlated features need some ten to thirty passes (scikit-learn's L-BFGS runs out of 300).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.linalg
import scipy.special

from simclr_med.evaluation.probes import lock_step

MAX_ITERATIONS = 300
# A fit has converged where a Newton step would move the log-odds of a training case by less than this,
# as the root mean square over the cases.
TOLERANCE = 1e-4
# Largest gradient in the scaled coordinates where the optimiser stops: of a fit whose scores count, and
# of one that only helps to choose the penalty, which takes a third fewer passes.
_GRADIENT, _ROUGH_GRADIENT = 3e-8, 3e-7
_ROWS = 256  # of a piece: 4 MB of 2,048 features in float64; 1,024 rows take 1.6 times the time
_ROWS_PER_FEATURE = 16  # of the cases that the Hessian is estimated on


class Features:
    """Features of cases, read in pieces.

    Args:
      x: float [n, d]; an array in memory or a memory-mapped one, which is not changed.
    """

    def __init__(self, x: np.ndarray):
        self.x = x = np.asarray(x)  # of a memory-mapped one a plain view
        self.mean, self.scale = (column[:, 0] for column in self.moments(np.ones((len(x), 1))))
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
        """Yields (rows, their features less the mean over all cases, float64 [rows, d]).

        The array is overwritten by the next piece.
        """
        buffer = np.empty((_ROWS, self.x.shape[1]))
        for rows in _pieces(len(self.x)):
            z = buffer[: len(self.x[rows])]
            np.subtract(self.x[rows], self.mean, out=z)
            yield rows, z

    def _spectrum(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns eigenvalues [r] and eigenvectors [d, r] of the features' correlations."""
        n, d = self.x.shape
        if n >= d:
            sample = self.x[:: max(1, n // (_ROWS_PER_FEATURE * d))]
            products = np.zeros((d, d))
            for start in range(0, len(sample), d):
                z = (sample[start : start + d] - self.mean) / self.scale
                products += z.T @ z
            return scipy.linalg.eigh(products / len(sample))
        sample = (self.x - self.mean) / self.scale
        values, vectors = scipy.linalg.eigh(sample @ sample.T / len(sample))
        positive = values > values[-1] * 1e-10
        values, vectors = values[positive], vectors[:, positive]
        return values, sample.T @ (vectors / np.sqrt(values * len(sample)))


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
        # These regressions standardise z, in which the features come, as z * factor + shift.
        self._factor = 1 / self._scale
        self._shift = (features.mean[:, np.newaxis] - self._mean) / self._scale
        rate = (truth * used).sum(0) / self._count
        self._curvature = rate * (1 - rate)
        self.num_fits = used.shape[1]

    def fit(self, c: np.ndarray, start: np.ndarray | None = None, *, rough: bool = False) -> Fit:
        """Returns the fit with the given penalties.

        Args:
          c: inverse penalty of each regression, float [g].
          start: weights of another fit to begin at, float [d + 1, k]; None: zeros.
          rough: stop at a larger gradient, still within TOLERANCE: enough to choose the penalty.
        """
        d, k = self._features.x.shape[1], self._truth.shape[1]
        penalty = np.broadcast_to(1 / (c * self._count), k)
        scaling = _Scaling(self._features, self._curvature, penalty)
        begin = np.zeros((d + 1, k)) if start is None else scaling.undo(start)
        groups = np.split(np.arange(k), self.num_fits)  # columns that are minimised together

        def evaluate(points: dict[int, np.ndarray]) -> lock_step.Values:
            columns = np.concatenate([groups[number] for number in points])
            scaled = np.hstack([point.reshape(d + 1, -1) for point in points.values()])
            column_scaling = scaling.of(columns)
            values, gradient = self._objective(column_scaling(scaled), penalty[columns], columns)
            parts = np.split(column_scaling(gradient), len(points), axis=1)
            sums = values.reshape(len(points), -1).sum(axis=1)
            return {i: (float(v), g.ravel()) for i, v, g in zip(points, sums, parts, strict=True)}

        results = lock_step.minimise(
            [begin[:, columns].ravel() for columns in groups],
            evaluate,
            {
                "maxiter": MAX_ITERATIONS,
                "ftol": 0,
                "gtol": _ROUGH_GRADIENT if rough else _GRADIENT,
                "maxcor": 20,
            },
        )
        # Rounding can end a line search early: convergence is judged by the remaining gradient.
        weights = scaling(np.hstack([one.x.reshape(d + 1, -1) for one in results]))
        gradients = np.hstack([one.jac.reshape(d + 1, -1) for one in results])
        group_shape = (self.num_fits, -1)
        step = (np.square(gradients).sum(axis=0) / self._curvature).reshape(group_shape).sum(axis=1)
        largest = np.abs(scaling.undo(gradients)).max(axis=0).reshape(group_shape).max(axis=1)
        kernel = weights[:-1] / self._scale
        bias = weights[-1] - (kernel * self._mean).sum(axis=0)
        return Fit(weights, kernel, bias, largest, np.sqrt(step) <= TOLERANCE)

    def logits(self, weights: np.ndarray) -> np.ndarray:
        """Returns the logits of all n cases, float64 [n, k], of the weights of a fit."""
        kernel, bias = self._on_pieces(weights, slice(None))
        return np.concatenate([z @ kernel + bias for _, z in self._features.pieces()])

    def _objective(
        self, weights: np.ndarray, penalty: np.ndarray, columns: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns the objectives' shares of some columns, float [c], and gradients [d + 1, c]."""
        used_columns = columns if self.num_fits > 1 else slice(None)  # of what each group has
        kernel, bias = self._on_pieces(weights, used_columns)
        kernel_gradient, bias_gradient = np.zeros_like(kernel), np.zeros_like(bias)
        values = penalty * np.square(weights[:-1]).sum(axis=0) / 2
        share = 1 / self._count[used_columns]
        for rows, z in self._features.pieces():
            losses, residual = self._loss(z @ kernel + bias, self._truth[rows, columns])
            weight = self._used[rows, used_columns] * share
            values += (losses * weight).sum(axis=0)
            residual *= weight
            kernel_gradient += z.T @ residual
            bias_gradient += residual.sum(axis=0)
        weight_gradient = (
            self._factor[:, used_columns] * kernel_gradient
            + self._shift[:, used_columns] * bias_gradient
        )
        return values, np.vstack([weight_gradient + penalty * weights[:-1], bias_gradient])

    def _on_pieces(self, weights: np.ndarray, used_columns) -> tuple[np.ndarray, np.ndarray]:
        """Returns kernel [d, c] and bias [c] for the features as `Features.pieces` has them."""
        shift = (self._shift[:, used_columns] * weights[:-1]).sum(axis=0)
        return self._factor[:, used_columns] * weights[:-1], weights[-1] + shift


class _Scaling:
    """The inverse root of the Hessian where all cases are equally probable; symmetric.

    Args:
      features: whose correlations it is made of.
      curvature: variance of each column's outcome, float [k].
      penalty: of each column, float [k].
    """

    def __init__(self, features: Features, curvature: np.ndarray, penalty: np.ndarray):
        self._arguments = features, curvature, penalty
        self._vectors = features.eigenvectors
        self._along = 1 / np.sqrt(
            np.maximum(features.eigenvalues, 0)[:, None] * curvature + penalty
        )
        self._across = 1 / np.sqrt(penalty)  # directions that no case takes
        self._bias = 1 / np.sqrt(curvature)

    def of(self, columns: np.ndarray) -> _Scaling:
        """Returns the scaling of some columns."""
        features, curvature, penalty = self._arguments
        return _Scaling(features, curvature[columns], penalty[columns])

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
    """Returns the loss, in the columns of the true classes, and its derivatives, float [m, k] both."""
    logs = scipy.special.log_softmax(logits, axis=1)
    return -logs * truth, np.exp(logs) - truth


def _pieces(n: int) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, n, _ROWS)]
