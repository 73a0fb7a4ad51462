"""How well scores agree with the truth of cases: the rows of result.json, with their intervals.

The unit is the case, never the image; intervals are over patients (`intervals`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simclr_med import metrics
from simclr_med.data.labels import CHEXPERT5
from simclr_med.metrics import intervals
from simclr_med.metrics.intervals import Estimate, Patients

if TYPE_CHECKING:
    from simclr_med.data.cases import Cases

KAPPA = "quadratic_kappa"
SCALARS = (
    *("top_1", "top_3", "balanced_accuracy", KAPPA, "macro_auc", "macro_ap", "chexpert5_auc"),
    "ece",
)
DIFFERENTIAL = {"top_1_differential": 1, "top_3_differential": 3}  # of the highest scores
LEAST = {KAPPA: -1.0}  # a metric's lowest value, where it is not 0
NO_TRAINING_CASE = "no training case"
_BIASED = "biased upwards where it is near 0"


@dataclasses.dataclass(frozen=True)
class Averaged:
    """Which classes averages are over: fixed by the data, never by a resample.

    Attributes:
      areas: of AUC and AP, bool [classes].
      recalls: of balanced accuracy, bool [classes].
      left_out: {class: why it is in neither, or not in the former}.
    """

    areas: np.ndarray
    recalls: np.ndarray
    left_out: dict[str, str]

    @classmethod
    def of(
        cls,
        truth: np.ndarray,
        scores: np.ndarray,
        class_names: Sequence[str],
        untrained: Collection[str] = (),
    ) -> Averaged:
        """Returns the classes that have what their metric needs, and were trained on.

        Args:
          truth, scores, class_names: as in `estimates`.
          untrained: names of classes without a training case.
        """
        positive, known = metrics.positives(truth, len(class_names))
        has = (positive & known).any(axis=0)
        both = has & (~positive & known).any(axis=0)
        scored = ~np.isnan(scores).any(axis=0)
        trained = ~np.isin(class_names, list(untrained))
        left_out = {}
        for c, name in enumerate(class_names):
            if not trained[c]:
                left_out[name] = NO_TRAINING_CASE
            elif not scored[c]:
                left_out[name] = "no scores"
            elif not both[c]:
                left_out[name] = "no case without it" if has[c] else "no case with it"
        return cls(both & scored & trained, has & trained, left_out)


@dataclasses.dataclass(frozen=True)
class Estimates:
    """All metrics of scores, each with its interval over patients.

    Attributes:
      scalars: {one of `SCALARS`: estimate}, those that apply.
      per_class: {"auc" | "ap" | "sensitivity" | "specificity": estimate of each class}.
    """

    scalars: dict[str, Estimate]
    per_class: dict[str, list[Estimate]]


def estimates(
    truth: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    patients: Patients,
    *,
    among: Averaged,
    thresholds: np.ndarray | None = None,
    differential: np.ndarray | None = None,
    grades: np.ndarray | None = None,
) -> Estimates:
    """Returns all metrics that apply, with their intervals.

    Args:
      truth: int [n], one class a case; or float [n, L], several labels, NaN unknown.
      scores: float [n, classes].
      class_names: of the classes or labels.
      patients: of the cases.
      among: the classes of averages.
      thresholds: of several labels, float [L]; NaN for a label that has none.
      differential: shares of the labels of a case's differential, float [n, classes]; None: none.
      grades: of ordinal classes, the position of each in the order, int [classes]; None: not ordinal.
    """
    positive, known = metrics.positives(truth, len(class_names))
    columns = [
        (positive[:, c], scores[:, c], patients, known[:, c]) for c in range(len(class_names))
    ]
    scalars = {
        name: intervals.share(metrics.in_top_k(truth, scores, k), patients)
        for name, k in _top_ks(truth, scores).items()
    }
    if truth.ndim == 1:
        right = metrics.in_top_k(truth, scores, 1)
        cases_of_class = {class_names[c]: positive[:, c] for c in np.flatnonzero(among.recalls)}
        scalars["balanced_accuracy"] = intervals.balanced_accuracy(right, cases_of_class, patients)
    if grades is not None:
        scalars[KAPPA] = intervals.quadratic_kappa(
            grades[truth], grades[scores.argmax(axis=1)], patients
        )
    areas = {
        "auc": [intervals.roc_auc(*column) for column in columns],
        "ap": [intervals.average_precision(*column) for column in columns],
    }
    five = _chexpert5(truth, class_names)
    for name, parts, chosen in (
        ("macro_auc", areas["auc"], among.areas),
        ("macro_ap", areas["ap"], among.areas),
        ("chexpert5_auc", areas["auc"], None if five is None else five & among.areas),
    ):
        if chosen is not None:
            averaged = {class_names[c]: parts[c] for c in np.flatnonzero(chosen)}
            scalars[name] = intervals.mean(averaged, patients)
    ece = float(metrics.expected_calibration_error(truth, scores))
    scalars["ece"] = Estimate(ece, np.nan, np.nan, np.zeros(len(patients)), _BIASED)
    for name, k in DIFFERENTIAL.items():
        if differential is not None and k < len(class_names):
            hits = metrics.in_differential(differential, scores, k)
            scalars[name] = intervals.share(hits, patients)
    if thresholds is not None:
        areas |= _at_thresholds(positive, known, scores, thresholds, patients)
    names = (*SCALARS, *DIFFERENTIAL)
    return Estimates({name: scalars[name] for name in names if name in scalars}, areas)


def _at_thresholds(
    positive: np.ndarray,
    known: np.ndarray,
    scores: np.ndarray,
    thresholds: np.ndarray,
    patients: Patients,
) -> dict[str, list[Estimate]]:
    """Returns sensitivity and specificity of each label; a score at the threshold is a yes."""
    yes = scores >= thresholds
    rates: dict[str, list[Estimate]] = {"sensitivity": [], "specificity": []}
    for c, threshold in enumerate(thresholds):
        for name, right, among in (
            ("sensitivity", yes[:, c], known[:, c] & positive[:, c]),
            ("specificity", ~yes[:, c], known[:, c] & ~positive[:, c]),
        ):
            missing = np.isnan(threshold) or np.isnan(scores[:, c]).any()
            rates[name].append(
                intervals.undefined(patients, "no threshold")
                if missing
                else intervals.share(right, patients, among)
            )
    return rates


def _top_ks(truth: np.ndarray, scores: np.ndarray) -> dict[str, int]:
    if truth.ndim == 2:
        return {}
    return {"top_1": 1, "top_3": 3} if scores.shape[1] > 3 else {"top_1": 1}


def _chexpert5(truth: np.ndarray, class_names: Sequence[str]) -> np.ndarray | None:
    """Returns which labels are CheXpert's five, bool [L]; None unless all of them are there."""
    five = np.isin(class_names, CHEXPERT5)
    return five if truth.ndim == 2 and five.sum() == len(CHEXPERT5) else None


def classification(
    cases: Cases,
    scores: np.ndarray,
    class_names: Sequence[str],
    *,
    thresholds: np.ndarray | None = None,
    untrained: Collection[str] = (),
    grades: np.ndarray | None = None,
) -> dict:
    """Returns the metrics of the labelled cases, each NAME with NAME_95, its interval over patients.

    Beside the scalars: the numbers of cases and patients; "left_out", {class: why averages leave it
    out}; `per_class` with the metrics and counts of each class or label; and the confusion matrix of
    one class a case. Where there is no interval NAME_95 is None, and "no_interval" {NAME: why}.

    Args:
      cases: all evaluated cases.
      scores: probabilities, float [n, classes].
      class_names: of the classes or labels.
      thresholds: of several labels, float [L], see `choose_thresholds`.
      untrained: names of classes without a training case.
      grades: of ordinal classes, see `estimates`.
    """
    labelled = cases.labelled
    truth, scores = cases.labels[labelled], scores[labelled]
    patients = Patients(cases.patients[labelled])
    among = Averaged.of(truth, scores, class_names, untrained)
    differential = None if cases.differential is None else cases.differential[labelled]
    all_estimates = estimates(
        truth,
        scores,
        class_names,
        patients,
        among=among,
        thresholds=thresholds,
        differential=differential,
        grades=grades,
    )
    row: dict = {"cases": len(truth), "patients": len(patients), **_row(all_estimates.scalars)}
    row["left_out"] = among.left_out
    positive, known = metrics.positives(truth, len(class_names))
    row["per_class"] = {}
    for c, class_name in enumerate(class_names):
        counts = {
            "positives": int((positive & known)[:, c].sum()),
            "negatives": int((~positive & known)[:, c].sum()),
        }
        threshold = {} if thresholds is None else {"threshold": float(thresholds[c])}
        class_estimates = {name: values[c] for name, values in all_estimates.per_class.items()}
        row["per_class"][class_name] = {**counts, **threshold, **_row(class_estimates)}
    if truth.ndim == 1:
        row["confusion"] = metrics.confusion_matrix(truth, scores).tolist()
    return row


def _row(metric_estimates: dict[str, Estimate]) -> dict:
    """Returns {NAME: value, NAME_95: limits or None, ..., "no_interval": {NAME: why}}."""
    row: dict = {}
    for name, estimate in metric_estimates.items():
        row[name] = estimate.value
        row[f"{name}_95"] = None if estimate.why else estimate.interval
    row["no_interval"] = {
        name: estimate.why for name, estimate in metric_estimates.items() if estimate.why
    }
    return row


def choose_thresholds(cases: Cases, scores: np.ndarray) -> np.ndarray:
    """Returns the threshold of each label, float [L]: a score at or above it is a yes.

    It has the highest sensitivity + specificity - 1 (Youden's J) among the scores that occur; of
    several such the highest. NaN for a label without positives or without negatives.

    Args:
      cases: of the selection split, with several labels a case.
      scores: float [n, L].
    """
    positive, known = metrics.positives(cases.labels, scores.shape[1])
    thresholds = np.full(scores.shape[1], np.nan)
    for c in range(len(thresholds)):
        truth, score = positive[known[:, c], c], scores[known[:, c], c]
        if truth.all() or not truth.any() or np.isnan(score).any():
            continue
        steps, step = np.unique(-score, return_inverse=True)  # from the highest score on
        sensitivity = np.cumsum(np.bincount(step, truth)) / truth.sum()
        false_positive_rate = np.cumsum(np.bincount(step, ~truth)) / (~truth).sum()
        thresholds[c] = -steps[np.argmax(sensitivity - false_positive_rate)]
    return thresholds
