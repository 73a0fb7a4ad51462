"""Whether one model is better than another: differences on the same resamples of patients.

Both models are scored on the same cases, so what is hard about a patient is hard for both and
cancels: a difference is far more certain than its two numbers are.
"""

from __future__ import annotations

import numpy as np

from simclr_med.data.labels import CHEXPERT5
from simclr_med.errors import UserError
from simclr_med.metrics import resampling
from simclr_med.metrics.predictions import (
    Predictions,
    align,
    check_same_classes,
    in_order_of,
)
from simclr_med.metrics.scoring import MACRO, SCALARS, scorer


def compare(
    a: list[Predictions], b: list[Predictions], *, seed: int, resamples: int = 10_000
) -> dict[str, dict]:
    """Returns {metric: {"a", "a_95", "b", "b_95", "difference", "difference_95", "p", "p_holm"}}.

    The difference is b minus a. A metric is the mean over a side's runs (repeats with other seeds)
    within each resample of patients. Intervals and `resampling.p_value` speak of other patients, not
    of other seeds. `p_holm` is corrected for the number of metrics. Metrics are the scalars of
    result.json, over the labels for which all runs have scores. The calibration error's p-value
    errs towards 1, because resampling biases that metric upwards near 0.

    Raises:
      UserError: the runs have different cases, truth or classes; or fewer than two patients.
    """
    runs = [run.labelled() for run in align([*a, *b])]
    first = runs[0]
    _check_patients(first)
    missing = np.any([np.isnan(run.scores).any(axis=0) for run in runs], axis=0)
    scorers = [scorer(r.truth, np.where(missing, np.nan, r.scores), r.class_names) for r in runs]

    def sides(weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        values = [score(weights) for score in scorers]
        means = {}
        for name in SCALARS:
            if name in values[0]:
                means[f"a {name}"] = np.mean([value[name] for value in values[: len(a)]], axis=0)
                means[f"b {name}"] = np.mean([value[name] for value in values[len(a) :]], axis=0)
        return means

    now = sides()
    drawn = resampling.resample(sides, first.patients, resamples=resamples, seed=seed)
    result: dict[str, dict] = {}
    for name in SCALARS:
        if f"a {name}" not in now:
            continue
        before, after = drawn[f"a {name}"], drawn[f"b {name}"]
        differences = after - before
        result[name] = {
            "a": float(now[f"a {name}"]),
            "a_95": list(resampling.interval(before)),
            "b": float(now[f"b {name}"]),
            "b_95": list(resampling.interval(after)),
            "difference": float(now[f"b {name}"] - now[f"a {name}"]),
            "difference_95": list(resampling.interval(differences)),
            "p": resampling.p_value(differences),
        }
    corrected = resampling.holm(np.array([row["p"] for row in result.values()]))
    for row, p in zip(result.values(), corrected):
        row["p_holm"] = float(p)
    return result


def drop(
    inside: Predictions, outside: Predictions, *, seed: int, resamples: int = 10_000
) -> dict[str, dict]:
    """Returns {metric: {"inside", "outside", "drop", "drop_95"}} of one model on two data sets.

    The drop is inside minus outside; the patients of the two sets are drawn independently. Macro
    averages count only the classes that have positives, negatives and scores in both sets, for an
    average over other classes is another number; if that leaves some out, "over" names the rest.

    Raises:
      UserError: different classes, or fewer than two patients in a set.
    """
    check_same_classes(inside, outside)
    sets = {"inside": inside.labelled(), "outside": in_order_of(inside, outside).labelled()}
    for one in sets.values():
        _check_patients(one)
    names = inside.class_names
    aucs = [scorer(one.truth, one.scores, names)()["auc"] for one in sets.values()]
    among = np.isfinite(aucs).all(axis=0)
    now, drawn = {}, {}
    for i, (which, one) in enumerate(sets.items()):
        score = scorer(one.truth, one.scores, names, among=among)
        now[which] = score()
        drawn[which] = resampling.resample(score, one.patients, resamples=resamples, seed=[seed, i])
    result: dict[str, dict] = {}
    for name in SCALARS:
        if name not in now["inside"]:
            continue
        value = {which: float(now[which][name]) for which in sets}
        row = result[name] = {**value, "drop": value["inside"] - value["outside"]}
        difference = drawn["inside"][name] - drawn["outside"][name]
        row["drop_95"] = list(resampling.interval(difference))
        if name in MACRO and not among.all():
            row["over"] = [
                names[c]
                for c in np.flatnonzero(among)
                if name != "chexpert5_auc" or names[c] in CHEXPERT5
            ]
    return result


def _check_patients(predictions: Predictions) -> None:
    patients = len(np.unique(predictions.patients))
    if patients < 2:
        raise UserError(
            f"{predictions.path or 'The predictions'}: {len(predictions.ids)} labelled cases of "
            f"{patients} patients. Intervals resample patients, so there must be two or more."
        )
