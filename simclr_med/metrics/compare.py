"""Whether one model, or one recipe, is better than another, on the same cases.

Both sides are scored on the same cases, so what is hard about a patient is hard for both and
cancels: a difference is far more certain than its two numbers are. One run a side compares two
trained models, over patients. Several runs a side compare what made them: another run of the same
recipe gives other numbers on the same patients, and that spread enters the interval.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Hashable, Iterable, Sequence

import numpy as np
import scipy.stats

from simclr_med import metrics
from simclr_med.data.labels import CHEXPERT5
from simclr_med.errors import UserError
from simclr_med.metrics import intervals, permutation
from simclr_med.metrics.intervals import Estimate, Patients
from simclr_med.metrics.over_runs import (
    OVER_PATIENTS,
    OVER_RUNS,
    Pairs,
    Side,
    of_patients,
    pairs_of,
    t_interval,
)
from simclr_med.metrics.predictions import (
    Predictions,
    align,
    check_same_classes,
    in_order_of,
)
from simclr_med.metrics.scoring import KAPPA, LEAST, SCALARS, Averaged, estimates

_AREAS = ("macro_auc", "macro_ap", "chexpert5_auc")
RUNS_FOR_A_RECIPE = 3  # pretrainings a side, below which only models are compared


def compare(
    a: list[Predictions],
    b: list[Predictions],
    *,
    seed: int,
    permutations: int = 10_000,
    pretrainings: tuple[Sequence[str], Sequence[str]] | None = None,
    blocks: tuple[Sequence[Hashable], Sequence[Hashable]] | None = None,
    only: Sequence[str] = SCALARS,
    grades: np.ndarray | None = None,
) -> dict[str, dict]:
    """Returns {metric: {"a", "a_95", "a_runs", "b", ..., "difference", "difference_95", "p", "why"}}.

    "a" is the mean over the runs of a side, "a_runs" their values; the difference is b minus a.

    With one run on a side, intervals are over patients, and p is that of `permutation` (NaN where a
    side's metric is undefined). With two or more on both sides, both are over runs and patients, the
    variances of patients and of each side's runs added, or, where runs come in pairs, of patients and
    of pairs (`over_runs`). Runs from one pretraining count as one where a side has runs of several.

    A metric without an interval, or a p-value, has None there, and "why". "over" is what
    intervals are over: "patients" or "runs and patients"; "pairs" is the number of pairs of runs, None
    where runs were not compared in pairs.

    Args:
      a, b: the runs of the two sides.
      seed, permutations: of `permutation.p_value`.
      pretrainings: which pretraining each run of a and of b came from; None: each has its own.
      blocks: what each run of a and of b has in common with its counterpart, such as seed and labelled
        cases; None: nothing. Sides that have the same blocks, each once, are compared in pairs.
      only: the metrics, of `SCALARS`.
      grades: of ordinal classes in the order of the first run's, see `scoring.estimates`.

    Raises:
      UserError: the runs have different cases, truth or classes; equal scores twice on a side.
    """
    runs = [run.labelled() for run in align([*a, *b])]
    first = runs[0]
    missing = np.any([np.isnan(run.scores).any(axis=0) for run in runs], axis=0)
    scores = [np.where(missing, np.nan, run.scores) for run in runs]
    for side in (range(len(a)), range(len(a), len(runs))):
        _check_no_copies([runs[i] for i in side], [scores[i] for i in side])
    among = Averaged.of(first.truth, scores[0], first.class_names)
    patients = Patients(first.patients)
    run_metrics = [
        estimates(first.truth, s, first.class_names, patients, among=among, grades=grades).scalars
        for s in scores
    ]
    names = pretrainings or tuple([str(i) for i in range(len(side))] for side in (a, b))
    sides = [Side(run_metrics[: len(a)], names[0]), Side(run_metrics[len(a) :], names[1])]
    over_runs = min(len(side.runs) for side in sides) > 1
    pairs = pairs_of(sides[0], sides[1], blocks) if blocks and over_runs else None
    data = _Data(first.truth, first.class_names, patients, among, grades)
    p_values = {}
    if not over_runs:
        p_values = _p_values(data, scores[: len(a)], scores[len(a) :], permutations, seed, only)
    result: dict[str, dict] = {}
    for name in (name for name in run_metrics[0] if name in only):
        a_mean, b_mean = (side.mean(name) for side in sides)
        row = result[name] = {"a": a_mean.value, "b": b_mean.value}
        row |= {f"{k}_runs": [r[name].value for r in s.runs] for k, s in zip("ab", sides)}
        row["difference"] = b_mean.value - a_mean.value
        if over_runs:
            row |= _over_runs(name, sides, pairs, len(patients))
        else:
            difference = intervals.difference(a_mean, b_mean)
            least = LEAST.get(name, 0.0)
            row |= {
                f"{k}_95": _limits(estimate, least) for k, estimate in zip("ab", (a_mean, b_mean))
            }
            limits = _limits_of_difference(difference, name)
            row |= {"difference_95": limits, "p": p_values[name], "why": difference.why}
        row["over"] = OVER_RUNS if over_runs else OVER_PATIENTS
        row["pairs"] = None if pairs is None else len(pairs)
    return result


@dataclasses.dataclass(frozen=True)
class _Data:
    """What all runs were scored on."""

    truth: np.ndarray
    class_names: Sequence[str]
    patients: Patients
    among: Averaged
    grades: np.ndarray | None


def _over_runs(name: str, sides: Sequence[Side], pairs: Pairs | None, num_patients: int) -> dict:
    """Returns intervals and the p-value over runs and patients."""
    means = [side.mean(name) for side in sides]
    row: dict = {f"{key}_95": side.limits(name, num_patients) for key, side in zip("ab", sides)}
    why = next((mean.why for mean in means if mean.why), "")
    row |= {"difference_95": None, "p": float("nan"), "why": why}
    if not why:
        patient_variance = of_patients(means[1].influence - means[0].influence, num_patients)
        if pairs is None:
            of_runs = [side.variance(name) for side in sides]
        else:
            of_runs = [pairs.variance(name, sides[0], sides[1])]
        variances = [patient_variance, *of_runs]
        limits, p = t_interval(means[1].value - means[0].value, variances)
        widest = 1 - LEAST.get(name, 0.0)
        row |= {"difference_95": [max(-widest, limits[0]), min(widest, limits[1])], "p": p}
    return row


def _limits(estimate: Estimate, least: float, most: float = 1.0) -> list[float] | None:
    return None if estimate.why else [max(least, estimate.low), min(most, estimate.high)]


def _limits_of_difference(estimate: Estimate, name: str) -> list[float] | None:
    widest = 1 - LEAST.get(name, 0.0)
    return _limits(estimate, -widest, widest)


def _p_values(
    data: _Data,
    a: list[np.ndarray],
    b: list[np.ndarray],
    permutations: int,
    seed: int,
    names: Sequence[str],
) -> dict[str, float]:
    """Returns {metric: p}, of the mean over all pairs of a run of a and one of b.

    One pair is an exact test. Of more, each is swapped for the same patients.
    """
    pairs = [_Pair(data, one, other) for one in a for other in b]
    p_values = {}
    for name in names:
        functions = [f for f in (pair.difference(name) for pair in pairs) if f is not None]
        if not functions:
            continue
        if len(pairs) == 1 and name in ("top_1", "top_3"):
            p_values[name] = permutation.p_value_of_sum(pairs[0].more_hits(int(name[-1])))
            continue
        p_values[name] = permutation.p_value(
            functools.partial(_mean_of, functions),
            np.any([pair.differs(name) for pair in pairs], axis=0),
            permutations=permutations,
            seed=seed,
        )
    return p_values


def _mean_of(functions: Sequence[Callable], swaps: np.ndarray) -> np.ndarray:
    return np.mean([function(swaps) for function in functions], axis=0)


class _Pair:
    """Two models on the same cases, and their differences after swapping some patients' outputs.

    Every case is there twice, once with the outputs of each model; weights of 0 and 1 choose.
    """

    def __init__(self, data: _Data, a: np.ndarray, b: np.ndarray):
        """Arguments: what was scored, and the scores of both, float [n, classes]."""
        self._data = data
        self._scores = (a, b)
        truth = data.truth
        self._truth = np.concatenate([truth, truth])
        self._both = np.concatenate([a, b])
        known = metrics.positives(truth, a.shape[1])[1]
        self._ranks = np.concatenate([_ranks(a, known), _ranks(b, known)])  # one scale for both

    def difference(self, name: str) -> Callable[[np.ndarray], np.ndarray] | None:
        """Returns a function from swaps [r, P] to b minus a [r]; None if the metric does not apply."""
        metric = self._metric(name)
        if metric is None:
            return None

        def of(swaps: np.ndarray) -> np.ndarray:
            swapped = swaps[:, self._data.patients.of_case].astype(float)  # [r, n]
            a = metric(np.concatenate([1 - swapped, swapped], axis=1))
            return metric(np.concatenate([swapped, 1 - swapped], axis=1)) - a

        return of

    def _metric(self, name: str) -> Callable[[np.ndarray], np.ndarray] | None:
        among, one_class = self._data.among, self._truth.ndim == 1
        if name in _AREAS:
            chosen = among.areas
            if name == "chexpert5_auc":
                five = np.isin(self._data.class_names, CHEXPERT5)
                if one_class or five.sum() < len(CHEXPERT5):
                    return None
                chosen = chosen & five
            ranked = metrics.rankings(self._truth, self._ranks)
            ranked = [ranked[c] for c in np.flatnonzero(chosen)]
            area_index = int(name == "macro_ap")

            def area(weights: np.ndarray) -> np.ndarray:
                if not ranked:
                    return np.full(len(weights), np.nan)
                return metrics.mean_of_defined(metrics.per_class_areas(ranked, weights)[area_index])

            return area
        if name == KAPPA:
            grades = self._data.grades
            if grades is None:
                return None
            return lambda weights: metrics.quadratic_kappa(self._truth, self._both, grades, weights)
        if name == "ece":
            gaps, counts = metrics.calibration_gaps(self._truth, self._both)
            return lambda weights: metrics.error_of_gaps(gaps, counts, weights)
        if not one_class or (name == "top_3" and self._both.shape[1] <= 3):
            return None
        if name == "balanced_accuracy":
            return lambda weights: metrics.mean_of_defined(
                metrics.recalls(self._truth, self._both, weights)[among.recalls]
            )
        hits = metrics.in_top_k(self._truth, self._both, int(name[-1]))
        return lambda weights: metrics.share(hits, weights)

    def differs(self, name: str) -> np.ndarray:
        """Returns for which patients a swap can change the metric, bool [P]."""
        if name == "ece":
            gaps, _ = metrics.calibration_gaps(self._truth, self._both)
            return self._where(gaps)
        if name in _AREAS:
            return self._where(np.nan_to_num(self._ranks))
        if name == KAPPA:
            return self._where(self._both.argmax(axis=1)[:, None])
        k = int(name[-1]) if name != "balanced_accuracy" else 1
        return self._where(metrics.in_top_k(self._truth, self._both, k)[:, None])

    def _where(self, outputs: np.ndarray) -> np.ndarray:
        n = len(outputs) // 2
        rows = np.flatnonzero((outputs[:n] != outputs[n:]).any(axis=1))
        return self._data.patients.sums(np.ones(len(rows)), rows) > 0

    def more_hits(self, k: int) -> np.ndarray:
        """Returns how many more of each patient's cases b has among its k highest, int [P]."""
        hits = [
            metrics.in_top_k(self._data.truth, scores, k).astype(float) for scores in self._scores
        ]
        return (
            self._data.patients.sums(hits[1] - hits[0], np.arange(len(hits[0]))).round().astype(int)
        )


def _ranks(scores: np.ndarray, known: np.ndarray) -> np.ndarray:
    """Returns the rank of each score among the known cases of its class, NaN of the unknown."""
    ranks = np.full(scores.shape, np.nan)
    for c in range(scores.shape[1]):
        ranks[known[:, c], c] = scipy.stats.rankdata(scores[known[:, c], c], nan_policy="propagate")
    return np.where(known, ranks, 0.0)


def correct(rows: Iterable[dict]) -> None:
    """Adds "p_holm" to rows with "p": Holm's correction over all rows as one family."""
    rows = list(rows)
    for row, p in zip(rows, permutation.holm(np.array([row["p"] for row in rows], float))):
        row["p_holm"] = float(p)


def is_better(metric: str, difference: float) -> bool:
    """Returns whether a difference b - a favours b.

    Args:
      metric: one of `SCALARS`; a lower calibration error is better, a higher value of all others.
      difference: b minus a.
    """
    return (difference < 0) if metric == "ece" else (difference > 0)


def drop(
    inside: Predictions, outside: Predictions, grades: np.ndarray | None = None
) -> dict[str, dict]:
    """Returns {metric: {"inside", "outside", "drop", "drop_95"}} of one model on two data sets.

    The drop is inside minus outside, with the limits of the two independent sets squared and added
    (`intervals`); None where a set has no interval, with "why". Macro averages count only the classes
    that have positives, negatives and scores in both sets, so that both are over the same classes; if
    that leaves some out, "over" names the rest.

    Args:
      inside, outside: the model's predictions.
      grades: of ordinal classes in the order of `inside`, see `scoring.estimates`.

    Raises:
      UserError: different classes.
    """
    check_same_classes(inside, outside)
    sets = [inside.labelled(), in_order_of(inside, outside).labelled()]
    names = inside.class_names
    both = [Averaged.of(predictions.truth, predictions.scores, names) for predictions in sets]
    among = Averaged(
        both[0].areas & both[1].areas,
        both[0].recalls & both[1].recalls,
        both[1].left_out | both[0].left_out,
    )
    metrics_of_set = [
        estimates(
            predictions.truth,
            predictions.scores,
            names,
            Patients(predictions.patients),
            among=among,
            grades=grades,
        ).scalars
        for predictions in sets
    ]
    result: dict[str, dict] = {}
    for name in metrics_of_set[0]:
        inside_estimate, outside_estimate = metrics_of_set[0][name], metrics_of_set[1][name]
        decrease = intervals.difference_of_independent(outside_estimate, inside_estimate)
        row = result[name] = {
            "inside": inside_estimate.value,
            "outside": outside_estimate.value,
            "drop": decrease.value,
        }
        row["drop_95"] = _limits_of_difference(decrease, name)
        row["why"] = decrease.why
        chosen = among.recalls if name == "balanced_accuracy" else among.areas
        if name in (*_AREAS, "balanced_accuracy") and not chosen.all():
            row["over"] = [
                names[c]
                for c in np.flatnonzero(chosen)
                if name != "chexpert5_auc" or names[c] in CHEXPERT5
            ]
    return result


def _check_no_copies(runs: list[Predictions], scores: list[np.ndarray]) -> None:
    for i, one in enumerate(scores):
        for j in range(i):
            if np.array_equal(one, scores[j], equal_nan=True):
                raise UserError(
                    f"{runs[j].path} and {runs[i].path} hold the same scores: copies of one run say "
                    "nothing about another. Give runs of other seeds, or each run once."
                )
