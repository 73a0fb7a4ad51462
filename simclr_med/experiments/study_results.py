"""What a study's runs scored: rows of means with intervals, and each arm's best use."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import Any

import numpy as np

from simclr_med.experiments import summary
from simclr_med.experiments.study_plan import Arm, Job, Plan, runs_of_uses
from simclr_med.metrics.grades import grades_of
from simclr_med.metrics.over_runs import mean_over_runs
from simclr_med.metrics.predictions import Predictions, read_predictions
from simclr_med.metrics.text import TITLES
from simclr_med.run_folder import data_json

_FILES = {"inside": "predictions.csv", "shift": "predictions_shift.csv"}
_USES = {  # in running text
    "probe": "the linear probe",
    "finetune": "fine-tuning",
    "probe_finetune": "fine-tuning from the probe",
}


@dataclasses.dataclass(frozen=True)
class Run:
    """The predictions of one run.

    Attributes:
      job: of the plan.
      predictions: inside, or on the shift set.
      pretraining: which pretraining it came from.
    """

    job: Job
    predictions: Predictions
    pretraining: str


class Cells:
    """The runs of a study by arm, use and label fraction.

    Args:
      plan: of the study.
      model_dir: of the study.
      results: {"inside" | "shift": {folder of a run: its result}}.
    """

    def __init__(self, plan: Plan, model_dir: str, results: dict[str, dict[str, dict]]):
        self.plan, self._model_dir, self.results = plan, model_dir, results
        self.arms: dict[str, Arm] = {arm.name: arm for arm in plan.arms}
        self._jobs: dict[tuple[str, str, float], list[Job]] = {}
        names = {arm.folder: arm.name for arm in plan.arms}
        for job in runs_of_uses(plan):
            self._jobs.setdefault((names[job.arm], job.use, job.fraction), []).append(job)

    def jobs(self, arm: str, use: str, fraction: float) -> list[Job]:
        """Returns the runs of a cell, seed by seed."""
        return self._jobs[arm, use, fraction]

    @functools.cache  # noqa: B019  (one object a study)
    def runs(self, place: str, arm: str, use: str, fraction: float) -> list[Run]:
        """Returns the runs of a cell with their predictions.

        Of runs with equal scores only the first is returned: where patients are few, two subsets of the
        labels can be the same one, and a copy says nothing about other runs.

        Args:
          place: "inside" or "shift".
          arm, use, fraction: the cell.
        """
        distinct: list[Run] = []
        for job in self.jobs(arm, use, fraction):
            path = os.path.join(self._model_dir, job.folder, _FILES[place])
            predictions = read_predictions(path)
            if not any(
                np.array_equal(predictions.scores, r.predictions.scores, True) for r in distinct
            ):
                distinct.append(Run(job, predictions, self.arms[arm].pretraining(job.seed)))
        return distinct

    def labels(self, arm: str, use: str, fraction: float) -> float | None:
        """Returns the mean number of labelled training cases of a cell's runs; None if unknown."""
        counts = []
        for job in self.jobs(arm, use, fraction):
            facts = data_json.read(os.path.join(self._model_dir, job.folder))
            counts.append(facts.get("bags", self.results["inside"][job.folder].get("labels")))
        return None if None in counts else float(np.mean(counts))

    def selection_values(self, arm: str, use: str, fraction: float) -> list[float | None]:
        """Returns the selection metric of each run of a cell on the selection split."""
        return [
            selection_value(self.results["inside"][job.folder])
            for job in self.jobs(arm, use, fraction)
        ]


def selection_value(result: dict[str, Any]) -> float | None:
    """Returns the selection metric of the checkpoint that a result is of; None without one."""
    selection = result.get("selection") or {}
    if "value_of_step" in selection:
        return selection["value_of_step"].get(str(result["global_step"]))
    return selection.get("value")


def rows(cells: Cells, places: list[str]) -> list[dict]:
    """Returns the rows of study.json's "results", see `study.run`.

    Args:
      cells: the runs of the study.
      places: "inside", and "shift" where there is one.
    """
    plan, table = cells.plan, []
    tuned = plan.recipes["finetune"]
    for arm in plan.arms:
        for use in plan.uses:
            for fraction in plan.fractions_of(arm):
                cell = (arm.name, use, fraction)
                about = {"arm": arm.name, "use": use, "fraction": fraction}
                about["labels"] = cells.labels(*cell)
                for place in places:
                    runs = cells.runs(place, *cell)
                    first = runs[0].predictions
                    labelled = first.labelled().patients
                    by_metric = mean_over_runs(
                        [run.predictions for run in runs],
                        pretrainings=[run.pretraining for run in runs],
                        grades=grades_of(tuned, first.class_names, first.multilabel),
                    )
                    here = {"place": place, "patients": len(np.unique(labelled))}
                    table.append({**about, **here, **by_metric})
                if tuned.data.selection_split:
                    table.append({**about, **_on_selection_split(cells, cell)})
    return table


def _on_selection_split(cells: Cells, cell: tuple[str, str, float]) -> dict:
    why = "the selection split chooses, and is not reported"
    spread = summary.spread(cells.selection_values(*cell))
    metric = cells.plan.recipes["finetune"].eval.selection_metric
    return {
        "place": "selection",
        "patients": None,
        metric: {**spread, "interval": None, "why": why, "over": ""},
    }


def best_uses(cells: Cells) -> list[dict]:
    """Returns the rows of study.json's "best_use": {"arm", "fraction", "use", "why"}.

    The best has the highest mean of the selection metric, over its runs, on the selection split; of
    equals the first of `USES`. The evaluated cases take no part in it.
    """
    plan = cells.plan
    return [
        {"arm": arm.name, "fraction": fraction, **_best_use(cells, arm.name, fraction)}
        for arm in plan.arms
        for fraction in plan.fractions_of(arm)
    ]


def _best_use(cells: Cells, arm: str, fraction: float) -> dict:
    plan, tuned = cells.plan, cells.plan.recipes["finetune"]
    if len(plan.uses) == 1:
        return {"use": plan.uses[0], "why": "it is the only use"}
    if not tuned.data.selection_split:
        return {"use": None, "why": "no --selection_split was given, on which it is chosen"}
    means = {
        use: summary.mean_and_sd(cells.selection_values(arm, use, fraction))[0] for use in plan.uses
    }
    metric, split = TITLES[tuned.eval.selection_metric], tuned.data.selection_split
    known = {use: mean for use, mean in means.items() if mean is not None}
    if len(known) < len(means):
        lacks = ", ".join(_USES[use] for use in means if use not in known)
        return {"use": None, "why": f"{metric} of {lacks} is undefined on {split}"}
    best = max(known, key=lambda use: known[use])
    numbers = ", ".join(f"{_USES[use]} {mean:.3f}" for use, mean in known.items())
    return {"use": best, "why": f"highest mean {metric} on {split}: {numbers}"}
