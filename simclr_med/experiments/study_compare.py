"""Arms against each other, on the same patients: paired differences, intervals, p-values."""

from __future__ import annotations

import itertools
import os

import numpy as np

from simclr_med.config import Config
from simclr_med.experiments import label_efficiency
from simclr_med.experiments.study_plan import Arm
from simclr_med.metrics.compare import compare
from simclr_med.metrics.predictions import read_predictions
from simclr_med.metrics.resampling import holm

_FILES = {"inside": "predictions.csv", "shift": "predictions_shift.csv"}


def folder(arm: Arm, job: str) -> str:
    """Returns the folder of one fine-tuning of an arm, below the study's."""
    return os.path.join("finetune", arm.folder, job)


def compare_arms(
    arms: list[Arm], tuned: dict[str, Config], model_dir: str, places: list[str], recipe: Config
) -> list[dict]:
    """Returns a row per place, label fraction, pair of arms and metric.

    A row is {"place", "fraction", "a", "b", "metric", "value_a", "value_b", "difference" (b - a),
    "difference_95", "p", "p_holm"}. An arm's value is the mean over its seeds; resamples are of
    patients, the same for both arms. Holm's correction is over all fractions and pairs of
    one metric in one place: the number of times that the same question is asked of the same cases.
    """
    jobs = label_efficiency.jobs(tuned[arms[0].name])
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
        for a, b in itertools.combinations([arm.name for arm in arms], 2):
            found = compare(
                predictions[a],
                predictions[b],
                seed=recipe.run.seed,
                resamples=recipe.eval.bootstrap_resamples,
            )
            for metric, row in found.items():
                rows.append(
                    {
                        "place": place,
                        "fraction": fraction,
                        "a": a,
                        "b": b,
                        "metric": metric,
                        "value_a": row["a"],
                        "value_b": row["b"],
                        "difference": row["difference"],
                        "difference_95": row["difference_95"],
                        "p": row["p"],
                    }
                )
    for family in {(row["place"], row["metric"]) for row in rows}:
        members = [row for row in rows if (row["place"], row["metric"]) == family]
        for row, corrected in zip(members, holm(np.array([row["p"] for row in members]))):
            row["p_holm"] = float(corrected)
    return rows
