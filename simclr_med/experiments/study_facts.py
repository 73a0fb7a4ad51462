"""What study.json says of a study beside its results: data, arms, options, and what was trained."""

from __future__ import annotations

from typing import Any

from simclr_med.build import open_bags
from simclr_med.config import Config
from simclr_med.data.cases import read_cases
from simclr_med.data.labels import LabelReading
from simclr_med.data.patients import patients_of
from simclr_med.experiments import study_plan, sweep
from simclr_med.experiments.study_plan import BASELINE, Builders, Job, Plan
from simclr_med.metrics.text import TITLES
from simclr_med.run_folder import data_json


def facts(plan: Plan, builders: Builders, model_dir: str) -> dict:
    """Returns the part of study.json that says what was done.

    {"dataset", "eval_split", "selection_split", "shift_dataset", "shift_split", "is_demo",
    "architecture", "metric", "arms": [{"name", "folder", "pretraining_data", "is_baseline"}], "uses",
    "fractions", "label_subsets", "seeds", "searched_fractions", "has_grid", "keep_weights",
    "permutations", "stages": {name: title}, "layout": see `arms_file` (None without one), "runs": see
    `_runs`}
    """
    config, fine = plan.config, plan.recipes["finetune"]
    experiment, outside = config.experiment, config.experiment.shift_dataset
    name_outside = ""
    if outside:
        name_outside = data_json.name_of(study_plan.shift_builder(config, fine, builders))
    return {
        "dataset": data_json.name_of(builders(fine)),
        "eval_split": fine.data.eval_split,
        "selection_split": fine.data.selection_split,
        "shift_dataset": name_outside,
        "shift_split": experiment.shift_split if outside else "",
        "is_demo": str(fine.data.dataset).startswith("derm_bags/demo"),
        "architecture": ", ".join(
            dict.fromkeys(study_plan.architecture(arm.recipe or fine) for arm in plan.arms)
        ),
        "metric": fine.eval.selection_metric,
        "arms": [
            {
                "name": arm.name,
                "folder": arm.folder,
                "pretraining_data": arm.data,
                "is_baseline": arm.name == BASELINE,
            }
            for arm in plan.arms
        ],
        "uses": plan.uses,
        "fractions": plan.fractions,
        "label_subsets": experiment.label_subsets,
        "seeds": plan.seeds,
        "searched_fractions": plan.searched,
        "has_grid": plan.has_grid,
        "keep_weights": experiment.study_keep_weights,
        "permutations": fine.eval.bootstrap_resamples,
        "stages": {stage.name: stage.title for stage in plan.stages},
        "layout": plan.layout,
        "runs": _runs(plan, builders, model_dir),
    }


def _runs(plan: Plan, builders: Builders, model_dir: str) -> dict:
    """Returns {"pretraining" | "sweep" | "fine-tuning" | "probe": number of runs, "splits": {"training" |
    "selection" | "evaluation" | "shift" | "pretraining": {"split", "cases", "labelled", "patients",
    "images"}}}; "pretraining" is the split of the first stage."""
    kinds = [job.kind for job in study_plan.jobs(plan, model_dir)]
    fine_tunings = sum(kind in ("finetune", "probe_finetune") for kind in kinds)
    numbers = {kind: kinds.count(kind) for kind in ("pretraining", "sweep", "probe")}
    fine = plan.recipes["finetune"]
    splits: dict[str, tuple[Config, Any, str | None]] = {}
    if plan.stages:
        first = plan.stages[0].config
        splits["pretraining"] = (first, builders(first), first.data.train_split)
    splits |= {
        "training": (fine, builders(fine), fine.data.train_split),
        "selection": (fine, builders(fine), fine.data.selection_split),
        "evaluation": (fine, builders(fine), fine.data.eval_split),
    }
    if plan.config.experiment.shift_dataset:
        shift = study_plan.elsewhere(plan.config, fine)
        outside = study_plan.shift_builder(plan.config, fine, builders)
        splits["shift"] = (shift, outside, shift.data.eval_split)
    counted = {
        name: _split(config, builder, split)
        for name, (config, builder, split) in splits.items()
        if split
    }
    return {**numbers, "fine-tuning": fine_tunings, "splits": counted}


def _split(config: Config, builder, split: str) -> dict:
    bags = open_bags(config, builder, split)
    return {
        "split": split,
        "cases": bags.num_bags,
        "labelled": int(read_cases(bags, 0).labelled.sum()) if bags.class_names else 0,
        "patients": len(patients_of(builder, split, LabelReading.of(config.data))),
        "images": bags.num_images,
    }


def hyperparameters(plan: Plan, chosen: dict[tuple[str, str, float], dict]) -> list[dict]:
    """Returns study.json's "hyperparameters", see `study.run`.

    Args:
      plan: of the study.
      chosen: {(arm's folder, use, searched fraction): {"learning_rate", ...}}; {} without a grid.
    """
    is_shared = len(plan.searched) == 1 or not chosen
    rows = []
    for arm in plan.arms:
        only = study_plan.first_point(sweep.points(plan.tuning_of(arm)))
        for use in plan.uses:
            for fraction in [None] if is_shared else plan.fractions_of(arm):
                if use == "probe":
                    continue
                searched = plan.searched[0]
                if fraction is not None:
                    searched = study_plan.searched_for(plan, fraction)
                values = chosen[arm.folder, use, searched] if chosen else only
                values = {**values, "train_steps": values["train_steps"] or None}
                about = {"arm": arm.name, "use": use, "fraction": fraction}
                rows.append({**about, "chosen_at": searched if chosen else None, **values})
    return rows


def of_pretraining(job: Job, result: dict) -> dict:
    """Returns the entry of a pretraining in study.json: its folder, and its result without files.

    Args:
      job: the run.
      result: content of its result.json.
    """
    return {
        "seed": job.seed,
        "run": job.folder,
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
