"""Arms against each other, on the same patients: paired differences, intervals, p-values."""

from __future__ import annotations

import itertools
import os

from simclr_med.config import Config
from simclr_med.experiments import study_plan
from simclr_med.experiments.study_plan import Arm
from simclr_med.metrics.compare import compare, correct
from simclr_med.metrics.predictions import read_predictions

_KEPT = ("difference", "difference_95", "p", "why", "over")
_FILES = {"inside": "predictions.csv", "shift": "predictions_shift.csv"}


def folder(arm: Arm, job: str) -> str:
    """Returns the folder of one fine-tuning of an arm, below the study's."""
    return os.path.join("finetune", arm.folder, job)


def compare_arms(
    arms: list[Arm], tuned: dict[str, Config], model_dir: str, places: list[str], recipe: Config
) -> list[dict]:
    """Returns a row per place, label fraction, pair of arms and metric.

    A row is {"place", "fraction", "a", "b", "metric", "value_a", "value_b", "difference" (b - a),
    "difference_95", "p", "p_holm", "why", "over", "pretrainings"}, see `metrics.compare`; "pretrainings"
    is the smaller number of the two arms. Holm's correction is over all that is asked of one metric:
    every pair of arms, label fraction and place.
    """
    jobs = study_plan.fine_tunings(tuned[arms[0].name], arms[0])
    names: dict[float, list[str]] = {}
    for name, job in jobs.items():
        names.setdefault(job.data.label_fraction, []).append(name)
    rows = []
    for place, fraction in itertools.product(places, sorted(names)):
        predictions = {
            arm.name: [
                read_predictions(os.path.join(model_dir, folder(arm, name), _FILES[place]))
                for name in names[fraction]
            ]
            for arm in arms
        }
        origins = {
            arm.name: [arm.pretraining(jobs[name].run.seed) for name in names[fraction]]
            for arm in arms
        }
        for a, b in itertools.combinations([arm.name for arm in arms], 2):
            found = compare(
                predictions[a],
                predictions[b],
                seed=recipe.run.seed,
                permutations=recipe.eval.bootstrap_resamples,
                pretrainings=(origins[a], origins[b]),
            )
            about = {"place": place, "fraction": fraction, "a": a, "b": b}
            about["pretrainings"] = min(len(set(origins[a])), len(set(origins[b])))
            for metric, row in found.items():
                values = {"value_a": row["a"], "value_b": row["b"]}
                kept = {key: row[key] for key in _KEPT}
                rows.append({**about, "metric": metric, **values, **kept})
    for metric in {row["metric"] for row in rows}:
        correct(row for row in rows if row["metric"] == metric)
    return rows
