"""What must hold before hours of a study: mistakes are found here, and nothing is written."""

from __future__ import annotations

import dataclasses
import os

from simclr_med.build import open_bags
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.evaluation import evaluate, splits
from simclr_med.experiments import arms_file, runs, study_plan
from simclr_med.experiments.study_plan import Builders, Plan
from simclr_med.models.resnet import SMALL_IMAGE
from simclr_med.run_folder import gfile

_OLD_STAGE = "pretrain_simclr1"  # of studies without the control that draws bags


def checked_plan(
    config: Config, recipes: dict[str, Config], builders: Builders, model_dir: str
) -> Plan:
    """Returns the plan of a study, checked for mistakes that would otherwise show up after hours.

    Args:
      config: of the study's own command; an unset `--shift_split` is settled.
      recipes: configurations of the three kinds of runs.
      builders: of the datasets.
      model_dir: of the study, which may have begun.

    Raises:
      UserError: names the mistake.
    """
    _check_folder(model_dir)
    if config.experiment.arms:
        _check_machine(recipes)
        plan = arms_file.plan(config, recipes, model_dir)
    else:
        _check_alike(recipes)
        plan = study_plan.make(config, recipes, model_dir)
    plan = dataclasses.replace(plan, config=with_shift_split(config, recipes, builders))
    for job in study_plan.jobs(plan, model_dir):
        job.config.validate()
    _check_data(plan, builders, model_dir)
    if config.experiment.shift_dataset:
        _check_shift(plan, builders)
        _check_weights(plan, builders, model_dir)
    return plan


def _check_data(plan: Plan, builders: Builders, model_dir: str) -> None:
    """Refuses splits, metrics and labels that no run could work with."""
    tuned = plan.recipes["finetune"]
    builder = builders(tuned)
    for job in study_plan.pretrainings(plan, model_dir, plan.seeds[0]):
        evaluate.check_splits(job.config, builders(job.config))  # they are evaluated too, by probes
    if not open_bags(tuned, builder, tuned.data.eval_split).class_names:
        raise UserError(f"--mode=study fine-tunes, and {builder.info.full_name} has no labels.")
    if plan.has_grid and set(plan.uses) != {"probe"} and not tuned.data.selection_split:
        raise UserError(
            "A study with more than one learning rate, weight decay or number of steps chooses among "
            "them on --selection_split, which is missing."
        )
    evaluate.check_splits(tuned.replace(train_mode="finetune", micle=False), builder)


def with_shift_split(config: Config, recipes: dict[str, Config], builders: Builders) -> Config:
    """Returns the study's configuration with `--shift_split`; where it is not given, "all" or "test".

    All of a dataset that no stage was trained on, unless its table names splits.

    Args:
      config: of the study.
      recipes: configurations of its runs, by kind.
      builders: of the datasets.
    """
    experiment = config.experiment
    if not experiment.shift_dataset or experiment.shift_split:
        return config
    tuned = recipes["finetune"]
    outside = study_plan.shift_builder(config, tuned, builders)
    shift = study_plan.elsewhere(config.replace(shift_split="test"), tuned)
    for recipe in recipes.values():
        of_run = splits.of_run(recipe, builders(recipe))
        if splits.whole_if_unseen(shift, outside, of_run).data.eval_split != "all":
            return config.replace(shift_split="test")
    return config.replace(shift_split="all")


def _check_shift(plan: Plan, builders: Builders) -> None:
    """Refuses a `--shift_dataset` that a model of the study's own data cannot be tested on."""
    config, tuned = plan.config, plan.recipes["finetune"]
    builder, shifted = builders(tuned), study_plan.shift_builder(config, tuned, builders)
    inside = open_bags(tuned, builder, tuned.data.eval_split)
    shift = study_plan.elsewhere(config, tuned)
    outside = open_bags(shift, shifted, shift.data.eval_split)
    splits.check(shift, shifted, splits.of_run(tuned, builder), None)
    if outside.class_names != inside.class_names:
        raise UserError(
            f"--shift_dataset={config.experiment.shift_dataset} has the classes "
            f"{', '.join(outside.class_names) or '(none)'}, and {builder.info.full_name} has "
            f"{', '.join(inside.class_names)}: a model of one cannot be tested on the other. "
            "--shift_dataset= leaves that part of the study out."
        )


def _check_weights(plan: Plan, builders: Builders, model_dir: str) -> None:
    """Refuses a `--shift_dataset` that came when the fine-tuned weights were gone."""
    shifted = study_plan.shift_builder(plan.config, plan.recipes["finetune"], builders)
    lost = [
        job.folder
        for job in study_plan.runs_of_uses(plan)
        if job.use != "probe"
        and runs.cannot_evaluate(
            study_plan.elsewhere(plan.config, job.config),
            shifted,
            os.path.join(model_dir, job.folder),
        )
    ]
    if lost:
        raise UserError(
            f"--shift_dataset={plan.config.experiment.shift_dataset}: the weights of {len(lost):,} "
            f"fine-tuned runs, such as {os.path.join(model_dir, lost[0])}, were removed after their "
            "evaluation. --uses=probe needs only the pretraining weights, which are there; or repeat "
            "the study with --study_keep_weights=all in another --model_dir."
        )


def _check_folder(model_dir: str) -> None:
    """Refuses the folder of a study that an earlier version began."""
    if gfile.exists(os.path.join(model_dir, _OLD_STAGE)):
        raise UserError(
            f"--model_dir={model_dir} holds a study of an earlier version, which had another control "
            "and other folders. Choose another --model_dir."
        )


def _check_alike(recipes: dict[str, Config]) -> None:
    """Refuses recipes where an encoder could not take over the weights of the one before."""
    alike = ("encoder", "resnet_depth", "width_multiplier", "sk_ratio", "se_ratio")
    input_fields = ("input_range", "antialias")
    for field in (*alike, *input_fields, "image_size"):
        values = {name: recipe.to_dict()[field] for name, recipe in recipes.items()}
        kinds = set(values.values())
        if field == "image_size":  # any size fits, but small images have another stem
            kinds = {size <= SMALL_IMAGE for size in kinds}
        if len(kinds) > 1:
            listed = ", ".join(f"{value} in --{name}_recipe" for name, value in values.items())
            raise UserError(
                f"--{field} is {listed}: one encoder could not take over the weights of the other. "
                "Give it in the study's own flags."
            )
    _check_machine(recipes)


def _check_machine(recipes: dict[str, Config]) -> None:
    """Refuses recipes of which one process cannot make all."""
    if len({recipe.device for recipe in recipes.values()}) > 1:
        raise UserError(
            "The recipes of a study differ in a flag of the machine, such as --mixed_precision. "
            "Give it in the study's own flags."
        )
