"""How well scores agree with the truth of cases: the rows of result.json, with their intervals.

The unit is the case, never the image; intervals resample patients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from simclr_med import metrics
from simclr_med.data.labels import CHEXPERT5
from simclr_med.metrics import resampling

if TYPE_CHECKING:
    from simclr_med.data.cases import Cases

SCALARS = ("top_1", "top_3", "balanced_accuracy", "macro_auc", "macro_ap", "chexpert5_auc", "ece")
MACRO = ("balanced_accuracy", "macro_auc", "macro_ap", "chexpert5_auc")  # averages over classes
Values = dict[str, np.ndarray]


def scorer(
    truth: np.ndarray,
    scores: np.ndarray,
    class_names: Sequence[str],
    *,
    thresholds: np.ndarray | None = None,
    among: np.ndarray | None = None,
) -> Callable[..., Values]:
    """Returns a function of weights [..., n] (or None) that gives all metrics at once.

    Its values are those of `SCALARS` that apply, [...], and "auc" and "ap", [classes, ...]; with
    thresholds also "sensitivity" and "specificity".

    Args:
      truth: int [n], one class a case; or float [n, L], several labels, NaN unknown.
      scores: float [n, classes].
      class_names: of the classes or labels.
      thresholds: float [L], of several labels.
      among: bool [classes], those that count in `MACRO` averages; None: all.
    """
    ranked = metrics.rankings(truth, scores)
    gaps, counts = metrics.calibration_gaps(truth, scores)
    among = np.ones(len(class_names), bool) if among is None else among
    several = truth.ndim == 2
    five = np.isin(class_names, CHEXPERT5)
    top_ks = () if several else (1, 3) if len(class_names) > 3 else (1,)
    hits = {f"top_{k}": metrics.in_top_k(truth, scores, k) for k in top_ks}

    def score(weights: np.ndarray | None = None) -> Values:
        values = {name: metrics.share(hit, weights) for name, hit in hits.items()}
        if not several:
            recalls = metrics.recalls(truth, scores, weights)
            values["balanced_accuracy"] = metrics.mean_of_defined(recalls[among])
        aucs, aps = metrics.per_class_areas(ranked, weights)
        values["macro_auc"] = metrics.mean_of_defined(aucs[among])
        values["macro_ap"] = metrics.mean_of_defined(aps[among])
        if several and five.sum() == len(CHEXPERT5):
            values["chexpert5_auc"] = metrics.mean_of_defined(aucs[five & among])
        values["ece"] = metrics.error_of_gaps(gaps, counts, weights)
        values.update(auc=aucs, ap=aps)
        if thresholds is not None:
            values["sensitivity"], values["specificity"] = metrics.sensitivity_specificity(
                truth, scores, thresholds, weights
            )
        return values

    return score


def classification(
    cases: Cases,
    scores: np.ndarray,
    class_names: Sequence[str],
    *,
    seed: int,
    resamples: int = 10_000,
    thresholds: np.ndarray | None = None,
) -> dict:
    """Returns the metrics of the labelled cases, each NAME with NAME_95, its interval by patient.

    Beside the scalars: the numbers of cases and patients, `per_class` with the areas and counts of
    each class or label, so that an undefined one explains itself, and the confusion matrix of one
    class a case. `undefined_resamples` of a class counts those that have no AUC, and which its
    interval therefore leaves out; it is there where there are some. The calibration error is
    biased upwards where it is near 0, more so on resamples: its interval then lies too high.

    Args:
      cases: all evaluated cases.
      scores: probabilities, float [n, classes].
      class_names: of the classes or labels.
      seed, resamples: of the intervals; equal ones draw equal patients.
      thresholds: of several labels, float [L], see `choose_thresholds`.
    """
    labelled = cases.labelled
    truth, scores, patients = cases.labels[labelled], scores[labelled], cases.patients[labelled]
    score = scorer(truth, scores, class_names, thresholds=thresholds)
    now = score()
    drawn = resampling.resample(score, patients, resamples=resamples, seed=seed)
    row: dict = {"cases": len(truth), "patients": len(np.unique(patients))}
    for name in SCALARS:
        if name in now:
            row[name] = float(now[name])
            row[f"{name}_95"] = list(resampling.interval(drawn[name]))
    positive, known = metrics.positives(truth, len(class_names))
    row["per_class"] = {}
    for c, class_name in enumerate(class_names):
        of_class: dict = {
            "positives": int((positive & known)[:, c].sum()),
            "negatives": int((~positive & known)[:, c].sum()),
        }
        if thresholds is not None:
            of_class["threshold"] = float(thresholds[c])
        for name in ("auc", "ap", "sensitivity", "specificity"):
            if name in now:
                of_class[name] = float(now[name][c])
                of_class[f"{name}_95"] = list(resampling.interval(drawn[name][c]))
        if undefined := int(np.isnan(drawn["auc"][c]).sum()):
            of_class["undefined_resamples"] = undefined
        row["per_class"][class_name] = of_class
    if truth.ndim == 1:
        row["confusion"] = metrics.confusion_matrix(truth, scores).tolist()
    return row


def choose_thresholds(cases: Cases, scores: np.ndarray) -> np.ndarray:
    """Returns for each label the score from which on to say yes, float [L].

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
        found = np.cumsum(np.bincount(step, truth)) / truth.sum()
        alarms = np.cumsum(np.bincount(step, ~truth)) / (~truth).sum()
        thresholds[c] = -steps[np.argmax(found - alarms)]
    return thresholds
