"""Predictions of an experiment's runs, aligned by case so that they can be evaluated together."""

from __future__ import annotations

import os

import numpy as np

from simclr_med.data.cases import Cases
from simclr_med.metrics.predictions import read_predictions
from simclr_med.run_folder import data_json


def mean_scores(cases: Cases, paths: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Returns each case's mean score, float [n, classes], and the number of files with it, int [n].

    The score of a case that is in no file is NaN.

    Args:
      cases: all that there are, n.
      paths: of predictions files of the same classes.
    """
    row = {case: i for i, case in enumerate(cases.ids)}
    predictions = [read_predictions(path) for path in paths]
    total = np.zeros((len(cases.ids), predictions[0].scores.shape[1]))
    times = np.zeros(len(cases.ids), int)
    for of_run in predictions:
        indices = [row[case] for case in of_run.ids]
        total[indices] += of_run.scores
        times[indices] += 1
    return np.where(
        times[:, np.newaxis] > 0, total / np.maximum(times, 1)[:, np.newaxis], np.nan
    ), times


def untrained(folders: list[str]) -> list[str]:
    """Returns the names of classes without a training case in some of these runs."""
    named = (data_json.read(f).get("classes_without_training_cases", []) for f in folders)
    return sorted({name for names in named for name in names})


def files_of(folders: list[str], name: str) -> list[str]:
    """Returns the paths of a predictions file in these runs.

    Args:
      folders: of the runs.
      name: of the file, without .csv.
    """
    return [os.path.join(folder, f"{name}.csv") for folder in folders]
