"""Linear probe: logistic regression on frozen features, penalty chosen on held-out patients."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np
import scipy.special
from sklearn.model_selection import GroupShuffleSplit
from threadpoolctl import threadpool_limits

from simclr_med.evaluation.probes.logistic import MAX_ITERATIONS, Features, Fit, Regressions
from simclr_med.evaluation.probes.small import SmallRegressions

_Regressions = Regressions | SmallRegressions
Make = Callable[..., _Regressions]

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0)  # inverse strength C of the L2 penalty
_HELD_OUT = 0.25  # of the training patients
_LEAST = 1e-9  # probability that the log loss counts for an outcome thought impossible
_SMALL = 10_000_000  # features of all cases below which scikit-learn fits
_ROWS = 4096  # of cases scored at once


@dataclasses.dataclass(frozen=True)
class Probe:
    """A fitted probe of the classes of a case, or of several labels a case.

    Attributes:
      kernel: float [d, classes].
      bias: float [classes]; x @ kernel + bias are the logits of the classes, or the log-odds of the
        labels. Infinite where all training cases agree, NaN where none knows the label.
      penalties: C of each fit: of the classes one; of the labels each, NaN of one without a fit.
      facts: for result.json: {"fits": how many, "not_converged": how many of them,
        "largest_gradient": of all, "penalties"}.
      multilabel: whether the columns are labels.
    """

    kernel: np.ndarray
    bias: np.ndarray
    penalties: np.ndarray
    facts: dict
    multilabel: bool

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Returns the probabilities of features, float [m, d], as float [m, classes]."""
        scores = np.zeros((len(x), len(self.bias)))
        for start in range(0, len(x), _ROWS):
            rows = slice(start, start + _ROWS)
            logits = x[rows].astype(float) @ self.kernel + self.bias
            scores[rows] = _probabilities(logits, self.multilabel)
        return scores


def fit_predict_proba(
    train_x, train_y, train_patients, test_x, num_classes: int, seed: int, facts: dict | None = None
) -> np.ndarray:
    """Returns probabilities, float [m, num_classes]; classes not seen in training get 0.

    C is the one of PENALTIES with the least log loss on a quarter of the *training* patients; the
    evaluated split takes no part in the choice. Of several labels each is a regression of its own,
    with its own C; one that no training case knows reads NaN. A fit that does not converge is printed.

    Args:
      train_x: features, float [n, d].
      train_y: int [n], >= 0; or 1, 0 or NaN (that case does not train that label), float [n, L].
      train_patients: [n].
      test_x: features, float [m, d].
      num_classes: classes, seen or not, or labels.
      seed: decides which patients are held out.
      facts: receives the `Probe.facts`.
    """
    probe = fit(train_x, train_y, train_patients, num_classes, seed)
    if facts is not None:
        facts |= probe.facts
    return probe.scores(test_x)


def head(
    train_x, train_y, train_patients, num_classes: int, seed: int
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Returns (kernel float [d, num_classes], bias float [num_classes], C of each fit) of the probe.

    softmax(x @ kernel + bias) are the probabilities of the classes seen in training: the
    standardisation of the features is part of both. The logits of those classes have mean 0 at every
    x, so one of them is at least 0; the logit of a class not seen is -log(n + 1), and its probability
    at most 1 / (n + 2), Laplace's rule of succession for what did not happen in n cases. Of several
    labels sigmoid(x @ kernel + bias) are the probabilities; a label that all n cases that know it have,
    or lack, has that rule's log-odds, and one that no case knows has 0.

    Args: as `fit_predict_proba`.
    """
    probe = fit(train_x, train_y, train_patients, num_classes, seed)
    known = (~np.isnan(train_y)).sum(0) if probe.multilabel else len(train_y)
    doubt = np.log(known + 1.0) * np.sign(probe.bias)
    bias = np.nan_to_num(np.where(np.isinf(probe.bias), doubt, probe.bias), nan=0.0)
    return probe.kernel, bias, probe.penalties[~np.isnan(probe.penalties)].tolist()


def fit(train_x, train_y, train_patients, num_classes: int, seed: int) -> Probe:
    """Returns the probe of `fit_predict_proba`, fitted; prints a line if a fit has not converged.

    BLAS gets one thread: the products of a piece are so small that its other threads only spin, and a
    fit of 716 x 512 takes 0.09 s instead of 0.02 (two cores).

    Args:
      train_x: features, float [n, d].
      train_y: int [n], >= 0; or 1, 0 or NaN (that case does not train that label), float [n, L].
      train_patients: [n].
      num_classes: classes, seen or not, or labels.
      seed: decides which patients are held out.
    """
    patients = np.unique(train_patients, return_inverse=True)[1]
    with threadpool_limits(1):
        make: Make = functools.partial(SmallRegressions, train_x)
        if train_x.size >= _SMALL:
            make = functools.partial(Regressions, Features(train_x))
        width = train_x.shape[1]
        if train_y.ndim == 2:
            probe = _fit_labels(make, width, train_y, patients, seed)
        else:
            probe = _fit_classes(make, width, train_y, patients, num_classes, seed)
    facts = probe.facts
    if facts["not_converged"]:
        print(
            f"Linear probe: {facts['not_converged']:,} of {facts['fits']:,} fits did not converge in "
            f"{MAX_ITERATIONS:,} iterations; the largest gradient left is "
            f"{facts['largest_gradient']:.2g}.",
            flush=True,
        )
    return probe


def _fit_labels(
    make: Make, width: int, train_y: np.ndarray, patients: np.ndarray, seed: int
) -> Probe:
    known, truth = ~np.isnan(train_y), np.nan_to_num(train_y)
    fitted, parts = np.zeros_like(known), {}
    for label, known_cases in enumerate(known.T):
        if (key := known_cases.tobytes()) not in parts:
            parts[key] = _part_to_fit(known_cases, patients, seed)
        fitted[:, label] = parts[key]
    best = np.where(known.any(0), PENALTIES[0], np.nan)
    fits: list[Fit] = []
    start = np.zeros((width + 1, len(best)))
    chosen = np.flatnonzero(_both_kinds(truth, fitted) & (known & ~fitted).any(0))
    if len(chosen):
        path, losses = _path(
            make(truth[:, chosen], fitted[:, chosen], softmax=False),
            lambda logits: _losses_of_labels(logits, truth, known & ~fitted, chosen),
        )
        least, fits = np.argmin(losses, axis=0), path
        best[chosen] = np.array(PENALTIES)[least]
        for column, (label, i) in enumerate(zip(chosen, least, strict=True)):
            start[:, label] = path[i].weights[:, column]
    kernel = np.zeros((len(start) - 1, len(best)))
    bias = np.where(known.any(0), np.where((truth * known).any(0), np.inf, -np.inf), np.nan)
    both = np.flatnonzero(_both_kinds(truth, known))
    if len(both):
        last = make(truth[:, both], known[:, both], softmax=False)
        final_fit = last.fit(best[both], start[:, both])
        kernel[:, both], bias[both] = final_fit.kernel, final_fit.bias
        fits = [*fits, final_fit]
    return Probe(kernel, bias, best, _facts(fits, best), multilabel=True)


def _fit_classes(
    make: Make, width: int, train_y: np.ndarray, patients: np.ndarray, num_classes: int, seed: int
) -> Probe:
    everyone = np.ones(len(train_y), bool)
    fitted = _part_to_fit(everyone, patients, seed)
    path: list[Fit] = []
    best, start = PENALTIES[0], None
    seen_in_part = np.unique(train_y[fitted])
    if len(seen_in_part) > 1 and not fitted.all():
        truth = train_y[~fitted]
        path, losses = _path(
            _of_classes(make, train_y, seen_in_part, fitted),
            lambda logits: _loss_of_classes(logits[~fitted], truth, seen_in_part),
        )
        best, start = PENALTIES[int(np.argmin(losses))], path[int(np.argmin(losses))].weights
    seen = np.unique(train_y)
    kernel, bias = np.zeros((width, num_classes)), np.full(num_classes, -np.inf)
    if len(seen) == 1:  # nothing to tell apart
        bias[seen] = 0.0
    else:
        same = np.array_equal(seen, seen_in_part)
        final_fit = _of_classes(make, train_y, seen, everyone).fit(
            np.array([best]), start if same else None
        )
        path = [*path, final_fit]
        kernel[:, seen], bias[seen] = _centred(final_fit.kernel), _centred(final_fit.bias)
    penalties = np.array([best])
    return Probe(kernel, bias, penalties, _facts(path, penalties), multilabel=False)


def _of_classes(make: Make, y: np.ndarray, seen: np.ndarray, used: np.ndarray) -> _Regressions:
    """Returns the softmax over the classes seen; of two classes the regression of the second."""
    columns = seen[1:] if len(seen) == 2 else seen
    truth = y[:, np.newaxis] == columns
    return make(truth, used[:, np.newaxis], softmax=len(seen) > 2)


def _centred(columns: np.ndarray) -> np.ndarray:
    """Returns [..., classes] with mean 0; a single column is the log-odds of the second of two."""
    if columns.shape[-1] == 1:
        return np.concatenate([-columns, columns], axis=-1) / 2
    return columns - columns.mean(axis=-1, keepdims=True)


def _path(regressions: _Regressions, loss_of) -> tuple[list[Fit], np.ndarray]:
    """Returns the fits at PENALTIES, each begun at the one before, and loss_of(logits [n, k]) of each."""
    fits: list[Fit] = []
    losses = []
    for c in PENALTIES:
        start = fits[-1].weights if fits else None
        fits.append(regressions.fit(np.full(regressions.num_fits, c), start, rough=True))
        losses.append(loss_of(regressions.logits(fits[-1].weights)))
    return fits, np.array(losses)


def _part_to_fit(known: np.ndarray, patients: np.ndarray, seed: int) -> np.ndarray:
    """Returns which of the known cases fit, bool [n]: all but those of the patients held out.

    All of them where no patient can be held out: then the strongest penalty is used.
    """
    rows = np.flatnonzero(known)
    if len(np.unique(patients[rows])) < 2:
        return known
    folds = GroupShuffleSplit(1, test_size=_HELD_OUT, random_state=seed)
    fitted = np.zeros_like(known)
    fitted[rows[next(folds.split(rows, groups=patients[rows]))[0]]] = True
    return fitted


def _both_kinds(truth: np.ndarray, used: np.ndarray) -> np.ndarray:
    """Returns which labels have both a 1 and a 0 among the cases used, bool [L]."""
    return ((truth == 1) & used).any(0) & ((truth == 0) & used).any(0)


def _losses_of_labels(logits, truth, held_out, chosen) -> np.ndarray:
    """Returns the mean -log p of what each chosen label is in the cases held out, float [k]."""
    right = scipy.special.expit(np.where(truth[:, chosen] == 1, logits, -logits))
    losses = -np.log(np.maximum(right, _LEAST))
    return (losses * held_out[:, chosen]).sum(0) / held_out[:, chosen].sum(0)


def _loss_of_classes(logits: np.ndarray, truth: np.ndarray, seen: np.ndarray) -> float:
    """Returns the mean -log p of the true class; one unseen in fitting counts as p = 1e-9."""
    probabilities = _probabilities(_centred(logits), multilabel=False)
    right = (probabilities * (truth[:, np.newaxis] == seen)).sum(axis=1)
    return float(-np.log(np.maximum(right, _LEAST)).mean())


def _probabilities(logits: np.ndarray, multilabel: bool) -> np.ndarray:
    return scipy.special.expit(logits) if multilabel else scipy.special.softmax(logits, axis=1)


def _facts(fits: list[Fit], penalties: np.ndarray) -> dict:
    converged = np.concatenate([f.converged for f in fits]) if fits else np.ones(0, bool)
    return {
        "fits": len(converged),
        "not_converged": int((~converged).sum()),
        "largest_gradient": max((float(f.gradient.max()) for f in fits), default=0.0),
        "penalties": [None if math.isnan(c) else c for c in penalties.tolist()],
    }
