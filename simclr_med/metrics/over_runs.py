"""A metric over several runs of a recipe: its mean, with an interval over runs and patients.

A t interval with the variances of patients and of runs added, degrees of freedom after Satterthwaite,
as in reader studies (Obuchowski and Rockette 1995; Hillis 2007), where readers are what runs are here.
Resampling three runs would understate their variance by a third. Runs from one pretraining count as
one where there are several pretrainings. Two recipes whose runs come in pairs, with the same seed and
the same labelled cases, are compared pair by pair: what a pair shares cancels (a blocked design).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np
import scipy.sparse.csgraph
import scipy.stats

from simclr_med.metrics import intervals
from simclr_med.metrics.intervals import Estimate, Patients
from simclr_med.metrics.predictions import Predictions, align
from simclr_med.metrics.scoring import LEAST, SCALARS, Averaged, estimates

OVER_RUNS, OVER_PATIENTS = "runs and patients", "patients"


@dataclasses.dataclass(frozen=True)
class Side:
    """The runs of one recipe on the same cases, and which pretraining each came from."""

    runs: Sequence[dict[str, Estimate]]
    pretrainings: Sequence[str]

    def mean(self, name: str) -> Estimate:
        """Returns the mean of a metric over the runs, with an interval over patients."""
        return intervals.combine(
            [run[name] for run in self.runs], [1 / len(self.runs)] * len(self.runs)
        )

    def units(self, name: str) -> np.ndarray:
        """Returns the metric of each pretraining; of each run, if all are from one."""
        return _means_of_groups(self.values(name), self.pretrainings)

    def values(self, name: str) -> np.ndarray:
        """Returns the metric of each run."""
        return np.array([run[name].value for run in self.runs])

    def variance(self, name: str) -> tuple[float, int]:
        """Returns the variance of the mean that other runs would give, and its degrees of freedom."""
        return _variance_of_mean(self.units(name))

    def limits(self, name: str, num_patients: int) -> list[float] | None:
        """Returns the 95 % interval of the mean over runs and patients; None if it has none.

        Args:
          name: of the metric.
          num_patients: on whom the runs were evaluated.
        """
        mean = self.mean(name)
        if mean.why:
            return None
        variances = [of_patients(mean.influence, num_patients), self.variance(name)]
        low, high = t_interval(mean.value, variances)[0]
        return [max(LEAST.get(name, 0.0), low), min(1.0, high)]


@dataclasses.dataclass(frozen=True)
class Pairs:
    """Runs of two sides that come in pairs.

    Attributes:
      counterparts: of each run of the first side, the number of its run of the second.
      groups: of the pairs, int: pairs of one group come from the same pretraining.
    """

    counterparts: Sequence[int]
    groups: Sequence[int]

    def __len__(self) -> int:
        return len(self.counterparts)

    def variance(self, name: str, a: Side, b: Side) -> tuple[float, int]:
        """Returns the variance of the mean difference that other pairs of runs would give, and its
        degrees of freedom.

        Args:
          name: of the metric.
          a, b: the sides.
        """
        differences = b.values(name)[self.counterparts] - a.values(name)
        return _variance_of_mean(_means_of_groups(differences, self.groups))


def pairs_of(a: Side, b: Side, blocks: Sequence[Sequence[Hashable]]) -> Pairs | None:
    """Returns the pairs of runs of two sides; None if they are not in pairs.

    They are where both sides have the same blocks, each once. Pairs from the same pretraining, on a
    side with several, are one group. Where that makes one group of all of them (their pretrainings
    cross), the runs do not count as pairs.

    Args:
      a, b: the sides.
      blocks: of the runs of a and of b: what each has in common with its counterpart.
    """
    of_a, of_b = blocks
    if len({*of_a}) < len(of_a) or len(of_a) != len(of_b) or {*of_a} != {*of_b}:
        return None
    place = {block: i for i, block in enumerate(of_b)}
    counterparts = [place[block] for block in of_a]
    origins = (a.pretrainings, [b.pretrainings[j] for j in counterparts])
    several = [names for names in origins if len({*names}) > 1]
    if not several:
        return Pairs(counterparts, range(len(counterparts)))
    numbers = [np.unique(names, return_inverse=True)[1] for names in several]
    ends = numbers[0], numbers[-1] + numbers[0].max() + 1
    size = ends[1].max() + 1
    links = scipy.sparse.coo_array((np.ones(len(ends[0])), ends), (size, size))
    count, group_of = scipy.sparse.csgraph.connected_components(links, directed=False)
    return Pairs(counterparts, group_of[ends[0]].tolist()) if count > 1 else None


def _means_of_groups(values: np.ndarray, names: Sequence[Hashable]) -> np.ndarray:
    """Returns the mean of each group of values; the values, if all are one group."""
    groups, group = np.unique(names, return_inverse=True)
    if len(groups) == 1:
        return values
    return np.bincount(group, values) / np.bincount(group)


def _variance_of_mean(units: np.ndarray) -> tuple[float, int]:
    return float(units.var(ddof=1)) / len(units), len(units) - 1


def mean_over_runs(
    runs: Sequence[Predictions],
    *,
    pretrainings: Sequence[str] | None = None,
    only: Sequence[str] = SCALARS,
    grades: np.ndarray | None = None,
) -> dict[str, dict]:
    """Returns {metric: {"mean", "sd", "values", "interval", "why", "over"}} of a recipe's runs.

    "values" has one for each run; "sd" is their sample standard deviation, None of one run.
    "interval" is [low, high], over runs and patients, of one run over patients; None where there is
    none, with "why". The mean and its interval are those of a side of `compare`.

    Args:
      runs: on the same cases.
      pretrainings: which pretraining each came from; None: each has its own.
      only: the metrics, of `SCALARS`.
      grades: of ordinal classes in the order of the first run's, see `scoring.estimates`.

    Raises:
      UserError: the runs have different cases, truth or classes.
    """
    scored = [run.labelled() for run in align(list(runs))]
    first = scored[0]
    # Averages are over the same classes in every run.
    missing = np.any([np.isnan(run.scores).any(axis=0) for run in scored], axis=0)
    scores = [np.where(missing, np.nan, run.scores) for run in scored]
    among, patients = (
        Averaged.of(first.truth, scores[0], first.class_names),
        Patients(first.patients),
    )
    run_metrics = [
        estimates(
            first.truth, run_scores, first.class_names, patients, among=among, grades=grades
        ).scalars
        for run_scores in scores
    ]
    side = Side(run_metrics, pretrainings or [str(i) for i in range(len(runs))])
    rows: dict[str, dict] = {}
    for name in (name for name in run_metrics[0] if name in only):
        mean, has_spread = side.mean(name), len(runs) > 1
        values = [run[name].value for run in run_metrics]
        limits = None if mean.why else [max(LEAST.get(name, 0.0), mean.low), min(1.0, mean.high)]
        rows[name] = {
            "mean": mean.value,
            "sd": float(np.std(values, ddof=1)) if has_spread else None,
            "values": values,
            "interval": side.limits(name, len(patients)) if has_spread else limits,
            "why": mean.why,
            "over": OVER_RUNS if has_spread else OVER_PATIENTS,
        }
    return rows


def of_patients(influence: np.ndarray, num_patients: int) -> tuple[float, int]:
    """Returns the variance that other patients would give, and its degrees of freedom.

    Args:
      influence: of each patient on the value, float [P] (see `metrics.influence`).
      num_patients: P.
    """
    return float(influence @ influence) * num_patients / (num_patients - 1), num_patients - 1


def t_interval(value: float, variances: list[tuple[float, int]]) -> tuple[list[float], float]:
    """Returns ([low, high], p) of a value whose variance is a sum, from a t distribution.

    Degrees of freedom after Satterthwaite: total^2 / sum(variance^2 / freedom).

    Args:
      value: the estimate; p tests it against 0.
      variances: (variance, degrees of freedom) of each part.
    """
    total = sum(v for v, _ in variances)
    if total == 0:
        return [value, value], 1.0 if value == 0 else float("nan")
    freedom = total**2 / sum(v**2 / df for v, df in variances)
    half = float(scipy.stats.t.ppf(0.975, freedom)) * total**0.5
    return [value - half, value + half], float(
        2 * scipy.stats.t.sf(abs(value) / total**0.5, freedom)
    )
