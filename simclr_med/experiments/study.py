"""The study from one command: does pretraining pay on these data, which use is best, does MICLe add.

1. For each seed: SimCLR pretraining; from it, as many steps of MICLe and, as the control, of SimCLR
   that draws bags: the two differ in the positive pair alone.
2. Probes: logistic regression on each arm's frozen features, at each number of labels.
3. Hyperparameters of fine-tuning, of each arm and use, chosen on `--selection_split`.
4. Every arm is fine-tuned in each use, with each seed, label fraction and subset of the labels;
   evaluated inside and, with `--shift_dataset`, outside the distribution.
5. Each arm's best use is chosen on the selection split; arms are compared on the same patients
   (`study_compare`); `study_report` writes it down.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from simclr_med import run_folder
from simclr_med.config import Config
from simclr_med.experiments import (
    label_efficiency,
    probe_runs,
    runs,
    study_check,
    study_compare,
    study_facts,
    study_plan,
    study_report,
    study_results,
    sweep,
    turns,
)
from simclr_med.experiments.probe_runs import EvalSet
from simclr_med.experiments.study_plan import Builders, Job, Plan
from simclr_med.run_folder import gfile

Chosen = dict[tuple[str, str, float], dict]


def run(
    config: Config,
    recipes: dict[str, Config],
    make_builder: Callable[[Config], Any],
    model_dir: str,
    strategy: tf.distribute.Strategy,
    invocation: dict,
) -> dict:
    """Runs the study in `model_dir`, or what is left of it; returns the content of study.json.

    study.json, beside what `study_facts.facts` says of data, arms and options:
      "pretraining": {stage ("simclr", "control", "micle"; of an arms file its own): [{"seed",
        "run" (folder below the study's), "global_step", "contrastive", "classification", "encoders"}]};
      "hyperparameters": [{"arm", "use", "fraction" (None: the same for all), "chosen_at" (fraction
        of the labels of the search; None: there was nothing to choose), "learning_rate",
        "weight_decay", "train_steps" (None: --train_epochs decides)}], of the uses that train;
      "results": a row per arm, use, place and fraction: {"arm", "use", "place" ("inside", "shift",
        "selection"), "fraction", "labels" (mean number of labelled training cases), "patients"
        (evaluated), METRIC: {"mean", "sd", "values" (of each run), "interval" ([low, high] or None),
        "why" (there is none), "over"}, ...}; on the selection split the selection metric alone;
      "best_use": [{"arm", "fraction", "use" (None: none was chosen), "why"}];
      "comparisons": [{"place", "fraction", "question", "a", "use_a", "b", "use_b", "best" (the uses are
        the arms' best), "metric", "value_a", "value_b", "difference" (b - a), "difference_95", "p",
        "p_holm" (over "pays", "pays_same_use" and "micle" of a metric, a comparison that answers two of
        them counted once; None of others), "why", "over", "pairs" (of runs, see `metrics.compare`),
        "pretrainings" (the smaller number of the two sides)}], see `study_compare.questions`.

    Args:
      config: of the study: checkpoint, seed, repeats, label fractions, uses, grids and shift set.
      recipes: {"simclr", "micle", "finetune"}: configurations of the three kinds of runs.
      make_builder: from a configuration to the prepared TFDS builder of its dataset.
      model_dir: of the study; study.md, study.json and the figures are written there.
      strategy: from `build.set_up`.
      invocation: what the command line said, for flags.json.

    Raises:
      UserError: a mistake in flags, recipes or data, found before training where possible.
      Interrupted: after SIGINT or SIGTERM, with everything saved.
    """
    builders = Builders(make_builder)
    plan = study_check.checked_plan(config, recipes, builders, model_dir)
    with run_folder.claimed(model_dir) as first:
        if not first:
            print(
                f"Note: another process works on the study in {model_dir}. This one takes part: each "
                "makes runs that the other has not begun."
            )
        study = _Study(plan, builders, model_dir, strategy, invocation)
        pretrained = study.pretrain()
        results = study.probe()
        chosen = study.choose()
        for place, of_place in study.fine_tune(chosen).items():
            results.setdefault(place, {}).update(of_place)
        content = _content(plan, builders, model_dir, pretrained, chosen, results)
        with run_folder.results_locked(model_dir):
            path = os.path.join(model_dir, "study.json")
            run_folder.write_json(path, content)
            content = run_folder.read_json(path)  # NaN is None
            study_report.save(model_dir, content)
    return content


class _Study:
    """The runs of a study, stage by stage; each takes what is stored and makes the rest.

    Args:
      plan: checked.
      builders: of the datasets.
      model_dir, strategy, invocation: as in `run`.
    """

    def __init__(self, plan: Plan, builders: Builders, model_dir: str, strategy, invocation: dict):
        self._plan, self._builders, self._model_dir = plan, builders, model_dir
        self._strategy, self._invocation = strategy, invocation
        self._builder = builders(plan.tuning)
        self._keep = plan.keeps_weights
        self._shift = None
        if plan.config.experiment.shift_dataset:
            self._shift = study_plan.shift_builder(plan.config, plan.tuning, builders)

    def pretrain(self) -> dict[str, list[dict]]:
        """Returns study.json's "pretraining"; weights are in pretrain_STAGE/seed_SEED/.

        The stages of a seed follow each other, so that a study stopped early has whole seeds.
        """
        print("Study, stage 1: pretraining.")
        pretrained: dict[str, list[dict]] = {stage.name: [] for stage in self._plan.stages}
        results: dict[str, dict] = {}
        seeds, folder = self._plan.seeds, self._model_dir
        jobs = [job for s in seeds for job in study_plan.pretrainings(self._plan, folder, s)]
        # Runs on the same data form one group, so that the time left is that of all of them.
        for builder, group in itertools.groupby(jobs, lambda job: self._builders(job.config)):
            configs = {job.folder: job.config for job in group}
            for name, outcome in runs.run_all(
                configs, builder, folder, self._strategy, self._invocation
            ):
                if not self._keep:
                    runs.remove_weights(os.path.join(folder, name), keep_last=True)
                results[name] = outcome.result
        for job in jobs:  # in order, whichever process made them
            pretrained[job.arm].append(study_facts.of_pretraining(job, results[job.folder]))
        return pretrained

    def probe(self) -> dict[str, dict[str, dict]]:
        """Returns {place: {folder: result}} of the probes of every arm."""
        by_place: dict[str, dict[str, dict]] = {}
        by_encoder: dict[tuple[int, str], dict[Job, list[EvalSet]]] = {}
        for job in study_plan.runs_of_uses(self._plan):
            if job.use == "probe":
                of_encoder = by_encoder.setdefault((job.seed, job.arm), {})
                of_encoder[job] = self._eval_sets(job)
        if by_encoder:
            print("Study, stage 2: probes of the frozen encoders.")
        named = {f"{arm}, seed {seed}": jobs for (seed, arm), jobs in by_encoder.items()}
        folders = {
            name: os.path.join(self._model_dir, next(iter(jobs)).folder)
            for name, jobs in named.items()
        }
        for name, _ in turns.take(folders):
            jobs = named[name]
            computed = probe_runs.run(jobs, self._builder, self._model_dir, self._strategy)
            for place, results in computed.items():
                by_place.setdefault(place, {}).update(results)
        return by_place

    def _eval_sets(self, job: Job) -> list[EvalSet]:
        eval_sets = [EvalSet("inside", job.config, self._builder)]
        if self._shift is not None:
            elsewhere = study_plan.elsewhere(self._plan.config, job.config)
            eval_sets.append(EvalSet("shift", elsewhere, self._shift))
        return eval_sets

    def choose(self) -> Chosen:
        """Returns {(arm's folder, use, searched fraction): the values of the grid's best point}."""
        chosen: Chosen = {}
        for job in study_plan.searches(self._plan):
            print(f"Study, stage 3: choosing hyperparameters, {job.folder}.")
            folder = os.path.join(self._model_dir, job.folder)
            gfile.makedirs(folder)
            best = sweep.search(
                *(job.config, self._builder, folder, self._strategy, self._invocation),
                keep_weights=self._keep,
            )
            run_folder.write_json(os.path.join(folder, "best.json"), best)
            chosen[job.arm, job.use, job.fraction] = {name: best[name] for name in sweep.CHOSEN}
        return chosen

    def fine_tune(self, chosen: Chosen) -> dict[str, dict[str, dict]]:
        """Returns {place: {folder: result}} of every fine-tuning."""
        configs = {
            job.folder: tuned(self._plan, job, chosen)
            for job in study_plan.runs_of_uses(self._plan)
            if job.use != "probe"
        }
        if configs:
            print("Study, stage 4: fine-tuning.")
        results: dict[str, dict[str, dict]] = {"inside": {}, "shift": {}}
        for name, outcome in runs.run_all(
            *(configs, self._builder, self._model_dir, self._strategy, self._invocation),
            keep_weights=self._keep,
        ):
            results["inside"][name] = outcome.result
            if self._shift is not None:
                results["shift"][name] = runs.evaluate_once(
                    study_plan.elsewhere(self._plan.config, configs[name]),
                    self._shift,
                    os.path.join(self._model_dir, name),
                    self._strategy,
                )
        return results


def tuned(plan: Plan, job: Job, chosen: Chosen) -> Config:
    """Returns the configuration of a fine-tuning with the hyperparameters chosen for it.

    Without a grid they are those of its only point.

    Args:
      plan: of the study.
      job: the fine-tuning.
      chosen: see `_Study.choose`; {} without a grid.
    """
    if chosen:
        values = chosen[job.arm, job.use, study_plan.searched_for(plan, job.fraction)]
    else:
        values = study_plan.first_point(sweep.points(plan.tuning_of(plan.arm_of(job))))
    return job.config.replace(**values)


def _content(
    plan: Plan, builders: Builders, model_dir: str, pretrained, chosen: Chosen, results
) -> dict:
    """Returns what study.json holds."""
    places = ["inside", *(["shift"] if plan.config.experiment.shift_dataset else [])]
    cells = study_results.Cells(plan, model_dir, results)
    best = study_results.best_uses(cells)
    uses = {(row["arm"], row["fraction"]): row["use"] for row in best}
    recipe = plan.recipes["finetune"]
    return {
        **study_facts.facts(plan, builders, model_dir),
        "fixed": label_efficiency.what_is_fixed(plan.tuning),
        "hyperparameters": study_facts.hyperparameters(plan, chosen),
        "pretraining": pretrained,
        "results": study_results.rows(cells, places),
        "best_use": best,
        "comparisons": study_compare.compare_all(cells, places, uses, recipe),
    }
