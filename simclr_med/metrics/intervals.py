"""95 % intervals over patients: which method for which metric, and when there is none.

No interval here resamples. A percentile bootstrap has width 0 where all cases are right, and from a
few patients covers 50 to 90 % instead of 95 %. These intervals keep to 93 to 98 % in the simulations of
benchmarks/bootstrap_coverage.py (docs/statistics.md: where not); where none would, there is none but a
reason.

* A share (top-1, sensitivity): Wilson's (1927), on the effective number of cases.
* AUC: Newcombe's method 5 (2006, "Confidence intervals for an effect size measure based on the
  Mann-Whitney statistic, part 2"), on the effective number of cases. The variance that it assumes
  is moved towards the one observed (Obuchowski 1997) as patients allow, with a t quantile.
* Average precision, for the share of positives that there is: t interval of its logit (Boyd et al.
  2013), with the variance of the infinitesimal jackknife within positives and within negatives.
* Balanced accuracy: a score interval as Wilson's, see `balanced_accuracy`.
* Quadratic kappa: t interval of its inverse hyperbolic tangent (Fisher 1921), with the variance of the
  infinitesimal jackknife over patients.
* Averages of areas over classes, and differences: "square and add" of the parts' limits, with their
  correlation (Zou and Donner 2008; Newcombe 1998).

Effective number: cases / (1 + (cases per patient - 1) * r), with r the correlation of the cases of
one patient (Kish 1965).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
import scipy.special
import scipy.stats

from simclr_med.metrics import influence

Z = float(scipy.stats.norm.ppf(0.975))
FEWEST = 10  # patients for an interval; of an AUC with it, and without it
FEWEST_FOR_AP = 20  # patients with it
FEWEST_FOR_KAPPA = 40  # patients
_PRIOR_PATIENTS = 4.0  # weight of r = 1 in the correlation of a patient's cases
_PRIOR_FREEDOM = 5.0  # weight of the assumed variance of an AUC, in degrees of freedom
_ROUNDS = 60  # of bisection: 2**-60


@dataclasses.dataclass(frozen=True)
class Estimate:
    """A metric with its interval.

    Attributes:
      value: NaN where undefined.
      low, high: 95 % limits, NaN where there is no interval.
      influence: of each patient, float [P] (see `influence`), for correlations; zeros where undefined.
      why: why there is no interval, "" if there is one.
    """

    value: float
    low: float
    high: float
    influence: np.ndarray
    why: str = ""

    @property
    def interval(self) -> list[float]:
        """Returns [low, high]."""
        return [self.low, self.high]

    def without_interval(self, why: str) -> Estimate:
        """Returns the same value, without limits."""
        return dataclasses.replace(self, low=np.nan, high=np.nan, why=why)


class Patients:
    """Who each case belongs to.

    Args:
      names: patient of each case, [n].
    """

    def __init__(self, names: np.ndarray):
        self.names, self.of_case = np.unique(names, return_inverse=True)

    def __len__(self) -> int:
        return len(self.names)

    def sums(self, values: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Returns the sum for each patient, float [P], of the values of some cases.

        Args:
          values: float [m].
          rows: the cases that they belong to, int [m].
        """
        return np.bincount(self.of_case[rows], values, len(self))

    def count(self, rows: np.ndarray) -> int:
        """Returns how many patients have a case among these rows."""
        return len(np.unique(self.of_case[rows]))


def undefined(patients: Patients, why: str) -> Estimate:
    """Returns the estimate of an undefined metric, NaN throughout.

    Args:
      patients: of the cases.
      why: why it is undefined.
    """
    return Estimate(np.nan, np.nan, np.nan, np.zeros(len(patients)), why)


def share(hits: np.ndarray, patients: Patients, among: np.ndarray | None = None) -> Estimate:
    """Returns the share of hits among some of the cases.

    Args:
      hits: bool [n].
      patients: of the n cases.
      among: which cases count, bool [n]; None: all.
    """
    rows = np.arange(len(hits)) if among is None else np.flatnonzero(among)
    if not len(rows):
        return undefined(patients, "no such case")
    value, derivative = influence.share(np.asarray(hits, float)[rows])
    effect = _design_effect([np.asarray(hits, float)[rows]], [patients.of_case[rows]])
    low, high = wilson(value, len(rows) / effect)
    estimate = Estimate(value, low, high, patients.sums(derivative, rows))
    count = patients.count(rows)
    return estimate if count >= FEWEST else estimate.without_interval(_too_few(count, "patient"))


def wilson(value: float, n: float) -> tuple[float, float]:
    """Returns the Wilson interval (low, high) of a share.

    Args:
      value: the share, in [0, 1].
      n: effective number of cases, which need not be whole.
    """
    centre = (value + Z**2 / (2 * n)) / (1 + Z**2 / n)
    half = Z / (1 + Z**2 / n) * np.sqrt(value * (1 - value) / n + Z**2 / (4 * n**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def roc_auc(
    positive: np.ndarray,
    scores: np.ndarray,
    patients: Patients,
    known: np.ndarray | None = None,
) -> Estimate:
    """Returns the AUC of the known cases.

    Args:
      positive: truth, bool [n].
      scores: higher is more positive, float [n]; a NaN among them leaves the AUC undefined.
      patients: of the n cases.
      known: which cases count, bool [n]; None: all.
    """
    rows = _known(positive, scores, known)
    y = positive[rows]
    if (why := _nothing_to_rank(y)) or np.isnan(scores[rows]).any():
        return undefined(patients, why or "no scores")
    value, derivative = influence.auc(y, scores[rows])
    sides = [rows[y], rows[~y]]  # positives, negatives
    counts = [patients.count(side) for side in sides]
    influences = [patients.sums(derivative[side_mask], rows[side_mask]) for side_mask in (y, ~y)]
    total = influences[0] + influences[1]
    if why := _few_on_a_side(counts, FEWEST):
        return Estimate(value, np.nan, np.nan, total, why)
    sizes = np.array([len(side) for side in sides]) / _design_effect(
        [derivative[y] * len(sides[0]), derivative[~y] * len(sides[1])],
        [patients.of_case[side] for side in sides],
    )
    variance, freedom = _observed(influences, counts)
    assumed = _newcombe(sizes)
    factor = _moved_towards(variance, assumed(value), freedom)
    quantile = float(scipy.stats.t.ppf(0.975, freedom + _PRIOR_FREEDOM))
    low, high = _score(value, assumed, factor * quantile**2)
    return Estimate(value, low, high, total)


def average_precision(
    positive: np.ndarray,
    scores: np.ndarray,
    patients: Patients,
    known: np.ndarray | None = None,
) -> Estimate:
    """Returns the average precision of the known cases.

    Args:
      positive, scores, patients, known: as in `roc_auc`.
    """
    rows = _known(positive, scores, known)
    y = positive[rows]
    if not y.any() or np.isnan(scores[rows]).any():
        return undefined(patients, "no scores" if y.any() else "no case with it")
    value, derivative = influence.average_precision(y, scores[rows])
    for side in (y, ~y):  # what is left is the ranking, without how many positives were drawn
        derivative[side] -= derivative[side].sum() / max(side.sum(), 1)
    influences = [patients.sums(derivative[side_mask], rows[side_mask]) for side_mask in (y, ~y)]
    total = influences[0] + influences[1]
    counts = [patients.count(rows[y]), patients.count(rows[~y])]
    if why := _few_on_a_side(counts, FEWEST_FOR_AP):
        return Estimate(value, np.nan, np.nan, total, why)
    variance, freedom = _observed(influences, counts)
    if value > 1 - 1e-12:  # all positives come first: each is a hit
        return Estimate(value, *wilson(value, counts[0]), total)
    spread = scipy.stats.t.ppf(0.975, freedom) * np.sqrt(variance) / (value * (1 - value))
    low, high = scipy.special.expit(scipy.special.logit(value) + np.array([-spread, spread]))
    return Estimate(value, float(low), float(high), total)


def balanced_accuracy(
    hits: np.ndarray, cases_of: dict[str, np.ndarray], patients: Patients
) -> Estimate:
    """Returns the mean over classes of the share of hits, bool [n], among the cases of a class.

    A score interval as Wilson's, of the variance t (1 - t) sum_c w^2 / n_c of equal shares t in all
    classes, times its ratio at the observed shares. To these two hits and two misses are added
    (Agresti and Coull 1998): a class of which all are right is not known to be without error.

    Args:
      hits: bool [n].
      cases_of: {class: which are its cases, bool [n]}.
      patients: of the cases.
    """
    if not cases_of:
        return undefined(patients, "no class can be scored")
    parts = {name: share(hits, patients, among) for name, among in cases_of.items()}
    weight = 1 / len(parts)
    value = weight * sum(part.value for part in parts.values())
    patient_influence = weight * np.sum([part.influence for part in parts.values()], axis=0)
    estimate = Estimate(value, np.nan, np.nan, patient_influence)
    if why := _why_none(parts):
        return estimate.without_interval(why)
    groups = list(cases_of.values())
    effect = _design_effect([hits[g] for g in groups], [patients.of_case[g] for g in groups])
    sizes = np.array([g.sum() for g in groups]) / effect
    shares = (np.array([part.value for part in parts.values()]) * sizes + 2) / (sizes + 4)
    observed = (shares * (1 - shares) / sizes).sum()
    equal = shares.mean() * (1 - shares.mean()) * (1 / sizes).sum()
    variance_factor = weight**2 * (1 / sizes).sum() * observed / equal
    low, high = _score(value, lambda t: t * (1 - t) * variance_factor, Z**2)
    return dataclasses.replace(estimate, low=low, high=high)


def quadratic_kappa(true: np.ndarray, predicted: np.ndarray, patients: Patients) -> Estimate:
    """Returns Cohen's kappa with quadratic weights; see `grades.quadratic_kappa`.

    Args:
      true, predicted: grades, as positions in their order, int [n].
      patients: of the cases.
    """
    if len(np.unique(true)) < 2:
        return undefined(patients, "all cases have one grade" if len(true) else "no such case")
    value, derivative = influence.quadratic_kappa(true, predicted)
    patient_influence = patients.sums(derivative, np.arange(len(true)))
    estimate = Estimate(value, np.nan, np.nan, patient_influence)
    count = len(patients)
    if count < FEWEST_FOR_KAPPA:
        return estimate.without_interval(_too_few(count, "patient"))
    if np.array_equal(true, predicted):  # no spread to see
        return estimate.without_interval("too few: 0 cases with a wrong grade")
    variance = float(patient_influence @ patient_influence) * count / (count - 1)
    spread = scipy.stats.t.ppf(0.975, count - 1) * np.sqrt(variance) / (1 - value**2)
    low, high = np.tanh(np.arctanh(value) + np.array([-spread, spread]))
    return dataclasses.replace(estimate, low=float(low), high=float(high))


def combine(parts: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """Returns the sum of weights * parts, with the parts' limits squared and added.

    The distance to the lower limit is the root of sum_ij w_i w_j r_ij d_i d_j, with d_i the distance
    of part i to its lower limit (upper where w_i is negative) and r_ij the correlation of influences.
    There is no interval if a part has none; `why` is the reason of the first such part.

    Args:
      parts: on the same patients.
      weights: one for each part.
    """
    w = np.asarray(weights, float)
    value = float(w @ [part.value for part in parts])
    influences = np.stack([part.influence for part in parts])
    total = w @ influences
    if why := next((part.why for part in parts if part.why), ""):
        return Estimate(value, np.nan, np.nan, total, why)
    size = np.sqrt((influences**2).sum(axis=1))
    outer = np.outer(size, size)
    r = np.divide(influences @ influences.T, outer, out=np.zeros_like(outer), where=outer > 0)
    np.fill_diagonal(r, 1.0)
    below = np.array([p.value - p.low if x > 0 else p.high - p.value for p, x in zip(parts, w)])
    above = np.array([p.high - p.value if x > 0 else p.value - p.low for p, x in zip(parts, w)])
    down, up = (np.sqrt(max(0.0, float((w * d) @ r @ (w * d)))) for d in (below, above))
    return Estimate(value, value - down, value + up, total)


def mean(parts: dict[str, Estimate], patients: Patients) -> Estimate:
    """Returns the mean over classes, its interval cut to [0, 1].

    Args:
      parts: {class: estimate}.
      patients: on whom all of them are.
    """
    if not parts:
        return undefined(patients, "no class can be scored")
    estimate = combine(list(parts.values()), [1 / len(parts)] * len(parts))
    if why := _why_none(parts):
        return estimate.without_interval(why)
    low, high = (float(np.clip(limit, 0, 1)) for limit in (estimate.low, estimate.high))
    return dataclasses.replace(estimate, low=low, high=high)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """Returns the estimate of b - a, on the same patients."""
    return combine([b, a], [1.0, -1.0])


def difference_of_independent(a: Estimate, b: Estimate) -> Estimate:
    """Returns the estimate of b - a, on different patients."""
    zeros = np.zeros(len(b.influence)), np.zeros(len(a.influence))
    return difference(
        dataclasses.replace(a, influence=np.concatenate([a.influence, zeros[0]])),
        dataclasses.replace(b, influence=np.concatenate([zeros[1], b.influence])),
    )


def _why_none(parts: dict[str, Estimate]) -> str:
    """Returns which class has no interval, and why; "" if all have one."""
    return next((f"{part.why} ({name})" for name, part in parts.items() if part.why), "")


def _known(positive, scores, known) -> np.ndarray:
    """Returns the row numbers of the known cases."""
    return np.arange(len(scores)) if known is None else np.flatnonzero(known)


def _nothing_to_rank(positive: np.ndarray) -> str:
    if not positive.any():
        return "no case with it"
    return "no case without it" if positive.all() else ""


def _few_on_a_side(counts: Sequence[int], fewest_positive: int) -> str:
    if counts[0] < fewest_positive:
        return _too_few(counts[0], "positive patient")
    return _too_few(counts[1], "negative patient") if counts[1] < FEWEST else ""


def _too_few(count: int, what: str) -> str:
    return f"too few: {count} {what}{'s' * (count != 1)}"


def _observed(influences: Sequence[np.ndarray], counts: Sequence[int]) -> tuple[float, float]:
    """Returns (variance, degrees of freedom) of what the sides, or classes, contribute.

    Each side's sum of squares has the factor P / (P - 1) of its P patients; patients with cases on
    several sides add twice their product. Degrees of freedom after Satterthwaite (1946).
    """
    sides = [float((m**2).sum()) * p / max(p - 1, 1) for m, p in zip(influences, counts)]
    total = np.sum(influences, axis=0)
    products = float(total @ total) - sum(float(m @ m) for m in influences)
    below = sum(v**2 / max(p - 1, 1) for v, p in zip(sides, counts))
    freedom = sum(sides) ** 2 / below if below > 0 else float(max(min(counts) - 1, 1))
    return max(sum(sides) + products, 0.0), freedom


def _newcombe(sizes: np.ndarray) -> Callable[[float], float]:
    """Returns the variance of an AUC of t for these positives and negatives (Newcombe 2006)."""
    m, n = sizes
    factor = max((m + n) / 2 - 1, 0.0)
    return lambda t: t * (1 - t) * (1 + factor * ((1 - t) / (2 - t) + t / (1 + t))) / (m * n)


def _moved_towards(observed: float, assumed: float, freedom: float) -> float:
    """Returns the factor on an assumed variance, given the observed one with its freedom."""
    if observed <= 0 or assumed <= 0:
        return 1.0
    ratio = float(np.clip(observed / assumed, 0.1, 10.0))
    return (freedom * ratio + _PRIOR_FREEDOM) / (freedom + _PRIOR_FREEDOM)


def _score(value: float, variance: Callable[[float], float], scale: float) -> tuple[float, float]:
    """Returns the t below and above value with (value - t)^2 = scale * variance(t)."""

    def limit(outside: float) -> float:
        far, near = outside, value
        for _ in range(_ROUNDS):
            middle = (far + near) / 2
            too_far = (value - middle) ** 2 > scale * variance(middle)
            far, near = (middle, near) if too_far else (far, middle)
        return (far + near) / 2

    return limit(0.0), limit(1.0)


def _design_effect(values: Sequence[np.ndarray], patients: Sequence[np.ndarray]) -> float:
    """Returns the design effect: by how much repeated cases of patients inflate the variance.

    It is 1 + (k - 1) r, k the cases per patient (Kish 1965) and r the correlation within a patient, from
    a one-way analysis of variance pooled over groups, shrunk towards 1 where there are few patients:
    what cannot be seen is taken to be the worst.

    Args:
      values: of the cases of each group, [n_g].
      patients: of these cases, as numbers, [n_g].
    """
    between = within = free_between = free_within = squares = cases = 0.0
    for value, patient in zip(values, patients):
        _, number = np.unique(patient, return_inverse=True)
        k = np.bincount(number)
        means = np.bincount(number, value) / k
        between += float(k @ (means - value.mean()) ** 2)
        within += float(((value - means[number]) ** 2).sum())
        free_between += len(k) - 1
        free_within += len(value) - len(k)
        squares, cases = squares + float(k @ k), cases + len(value)
    per_patient = squares / cases
    if free_within == 0:  # one case each
        return 1.0
    r = 1.0
    if free_between > 0 and between + within > 0:
        between, within = between / free_between, within / free_within
        r = (between - within) / (between + (per_patient - 1) * within)
        weight = free_between / (free_between + _PRIOR_PATIENTS)
        r = weight * float(np.clip(r, 0, 1)) + 1 - weight
    return 1 + (per_patient - 1) * r
