"""The paper's study from one command: does pretraining help, does MICLe, and for whom.

1. For each seed: SimCLR pretraining, then as many steps again of MICLe or, as the control, of SimCLR:
   the two arms differ in the positive pair of the second half only.
2. Optionally each arm's own learning rate and weight decay, chosen on `--selection_split`.
3. Every arm is fine-tuned with each label fraction and seed, from that seed's pretraining; evaluated
   inside and, with `--shift_dataset`, outside the distribution.
4. Arms are compared on the same patients (`study_compare`); `study_report` writes it down.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from simclr_med import run_folder
from simclr_med.config import Config
from simclr_med.experiments import (
    label_efficiency,
    runs,
    study_compare,
    study_plan,
    study_report,
    sweep,
)
from simclr_med.experiments.study_plan import Arm, Builders
from simclr_med.metrics.text import TITLES
from simclr_med.run_folder import data_json, gfile


def run(
    config: Config,
    recipes: dict[str, Config],
    make_builder: Callable[[Config], Any],
    model_dir: str,
    strategy: tf.distribute.Strategy,
    asked: dict,
) -> dict:
    """Runs the study in `model_dir`, or what is left of it; returns what study.json holds.

    Args:
      config: of the study: checkpoint, seed, repeats, label fractions, grids and shift set.
      recipes: {"simclr", "micle", "finetune"}: configurations of the three kinds of runs.
      make_builder: from a configuration to the prepared TFDS builder of its dataset.
      model_dir: of the study; study.md, study.json and the figures are written there.
      strategy: from `build.set_up`.
      asked: what the command line said, for flags.json.

    Raises:
      UserError: a mistake in flags, recipes or data, found before training where possible.
      Interrupted: after SIGINT or SIGTERM, with everything saved.
    """
    builders = Builders(make_builder)
    study_plan.check(config, recipes, builders)
    study_plan.check_folder(model_dir)
    config = study_plan.with_shift_split(config, recipes, builders)
    with run_folder.locked(model_dir):
        arms = study_plan.arms(config, recipes, model_dir)
        pretrained = _pretrain(config, recipes, builders, model_dir, strategy, asked)
        tuned = {
            arm.name: _chosen(config, recipes, arm, builders, model_dir, strategy, asked)
            for arm in arms
        }
        results = _fine_tune(config, arms, tuned, builders, model_dir, strategy, asked)
        places = ["inside", *(["shift"] if config.experiment.shift_dataset else [])]
        study = {
            **_what_it_is(config, recipes, builders, arms, tuned),
            "pretraining": {
                name: [
                    {"seed": seed, **_without_files(result)} for seed, result in of_seeds.items()
                ]
                for name, of_seeds in pretrained.items()
            },
            "results": _table(arms, tuned, results, places),
            "comparisons": study_compare.compare_arms(
                arms, tuned, model_dir, places, recipes["finetune"]
            ),
        }
        path = os.path.join(model_dir, "study.json")
        run_folder.write_json(path, study)
        study = run_folder.read_json(path)  # NaN is None
        study_report.save(model_dir, study)
    return study


def _pretrain(
    config, recipes, builders: Builders, model_dir, strategy, asked
) -> dict[str, dict[int, dict]]:
    """Returns {"simclr1", "micle", "simclr2": {seed: result}}; weights are in pretrain_NAME/seed_SEED/.

    The stages of a seed follow each other, so that a study stopped early has whole seeds.
    """
    print("Study, stage 1: pretraining.")
    builder = builders(recipes["micle"])
    results: dict[str, dict[int, dict]] = {"simclr1": {}, "micle": {}, "simclr2": {}}
    for seed in study_plan.seeds(config, recipes["finetune"]):
        first = study_plan.first_stage(config, recipes["simclr"], seed)
        name = f"pretrain_simclr1/seed_{seed}"
        (results["simclr1"][seed],) = _run(
            {name: first}, builders(first), model_dir, strategy, asked
        )
        start = os.path.join(model_dir, name)
        second = study_plan.second_stage(recipes["micle"], builder, start, seed)
        jobs = {f"pretrain_{stage}/seed_{seed}": job for stage, job in second.items()}
        for stage, result in zip(second, _run(jobs, builder, model_dir, strategy, asked)):
            results[stage][seed] = result
    return results


def _run(jobs, builder, model_dir, strategy, asked) -> list[dict]:
    """Returns the results of jobs, in their order."""
    outcomes = dict(runs.run_all(jobs, builder, model_dir, strategy, asked))
    return [outcomes[name].result for name in jobs]


def _chosen(config, recipes, arm: Arm, builders: Builders, model_dir, strategy, asked) -> Config:
    """Returns an arm's fine-tuning with its learning rate and weight decay: the grid's best."""
    tuned = study_plan.fine_tuning(config, recipes["finetune"], arm)
    if study_plan.has_grid(tuned):
        print(f"Study, stage 2: choosing learning rate and weight decay of '{arm.name}'.")
        folder = os.path.join(model_dir, "sweep", arm.folder)
        gfile.makedirs(folder)
        with_all = tuned.replace(label_fraction=1.0)
        best = sweep.search(with_all, builders(tuned), folder, strategy, asked)
        run_folder.write_json(os.path.join(folder, "best.json"), best)
    else:
        (point,) = sweep.points(tuned).values()
        best = {
            "learning_rate": point.optim.learning_rate,
            "weight_decay": point.optim.weight_decay,
        }
    return tuned.replace(learning_rate=best["learning_rate"], weight_decay=best["weight_decay"])


def _fine_tune(
    config,
    arms: list[Arm],
    tuned: dict[str, Config],
    builders: Builders,
    model_dir,
    strategy,
    asked,
) -> dict[str, dict[str, dict]]:
    """Returns {place: {folder: result}} of every arm, label fraction and seed.

    All arms take turns at each fraction and seed, so that a study stopped early has a bit of each.
    """
    print("Study, stage 3: fine-tuning.")
    by_arm = [
        {
            study_compare.folder(arm, name): job
            for name, job in study_plan.fine_tunings(tuned[arm.name], arm).items()
        }
        for arm in arms
    ]
    jobs = dict(item for items in zip(*(of_arm.items() for of_arm in by_arm)) for item in items)
    builder = builders(next(iter(jobs.values())))
    results: dict[str, dict[str, dict]] = {"inside": {}, "shift": {}}
    for name, outcome in runs.run_all(jobs, builder, model_dir, strategy, asked):
        results["inside"][name] = outcome.result
        if config.experiment.shift_dataset:
            outside = study_plan.shift_builder(config, jobs[name], builders)
            shifted = study_plan.elsewhere(config, jobs[name])
            results["shift"][name] = runs.evaluate_once(
                shifted, outside, os.path.join(model_dir, name), strategy
            )
    return results


def _table(arms: list[Arm], tuned: dict[str, Config], results, places: list[str]) -> list[dict]:
    """Returns a row per arm, place and fraction: means, deviations and values of each metric."""
    table = []
    for arm in arms:
        jobs = study_plan.fine_tunings(tuned[arm.name], arm)
        for place in places:
            by_job = {name: results[place][study_compare.folder(arm, name)] for name in jobs}
            for row in label_efficiency.rows(jobs, by_job):
                table.append({"arm": arm.name, "place": place, **row})
    return table


def _what_it_is(config, recipes, builders: Builders, arms: list[Arm], tuned) -> dict:
    """Returns the part of study.json that says what was done."""
    fine = recipes["finetune"]
    builder = builders(recipes["micle"])
    second = study_plan.second_stage(recipes["micle"], builder, "", fine.run.seed)
    outside = config.experiment.shift_dataset
    name_outside = (
        data_json.name_of(study_plan.shift_builder(config, fine, builders)) if outside else ""
    )
    metric = fine.eval.selection_metric
    return {
        "dataset": data_json.name_of(builders(fine)),
        "eval_split": fine.data.eval_split,
        "shift_dataset": name_outside,
        "shift_split": config.experiment.shift_split if outside else "",
        "is_demo": str(fine.data.dataset).startswith("derm_bags/demo"),
        "architecture": study_plan.architecture(fine),
        "metric": metric,
        "fixed": label_efficiency.what_is_fixed(fine),
        "chosen_with_all_labels": study_plan.has_grid(
            study_plan.fine_tuning(config, fine, arms[0])
        ),
        "second_stage_steps": second["micle"].train.train_steps,
        "arms": [
            {
                "name": arm.name,
                "pretraining_data": arm.data,
                "learning_rate": tuned[arm.name].optim.learning_rate,
                "weight_decay": tuned[arm.name].optim.weight_decay,
            }
            for arm in arms
        ],
        "fractions": study_plan.fractions(config),
        "seeds": study_plan.seeds(config, fine),
        "permutations": fine.eval.bootstrap_resamples,
    }


def _without_files(result: dict) -> dict:
    return {
        "global_step": result["global_step"],
        "contrastive": result["contrastive"],
        "encoders": result.get("encoders", {}),
        "classification": {
            evaluator: {
                encoder: {
                    key: row[key]
                    for key in row
                    if key.removesuffix("_95") in TITLES or key == "no_interval"
                }
                for encoder, row in by_encoder.items()
            }
            for evaluator, by_encoder in result["classification"].items()
        },
    }
