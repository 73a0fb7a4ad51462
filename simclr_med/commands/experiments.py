"""--mode=sweep, label_efficiency and study; train_then_eval with --repeats or --folds: many runs."""

from __future__ import annotations

from simclr_med import build, signals
from simclr_med.commands import dataset, next_step, recipes
from simclr_med.commands.invocation import Invocation
from simclr_med.commands.run_config import default_model_dir
from simclr_med.errors import UserError
from simclr_med.evaluation import evaluate
from simclr_med.experiments import folds, label_efficiency, repeats, study, sweep
from simclr_med.run_folder import data_json


def run(invocation: Invocation) -> int:
    """Makes the runs of an experiment that are not yet made; returns the exit code."""
    config, mode = invocation.config, invocation.mode
    of_study, builder, model_dir, strategy = set_up(invocation)
    try:
        if of_study:
            study.run(config, of_study, dataset.prepare, model_dir, strategy, invocation.record)
        elif mode == "sweep":
            judge = judge_of(invocation)
            sweep.run(config, builder, model_dir, strategy, invocation.record, judge=judge)
        else:
            runs = {"label_efficiency": label_efficiency.run}
            default = folds.run if invocation.folds else repeats.run
            make_runs = runs.get(mode, default)
            make_runs(config, builder, model_dir, strategy, invocation.record)
    except signals.Interrupted as interrupted:
        return signals.report_stop(interrupted, model_dir)
    if config.run.train_mode == "finetune" and mode == "train_then_eval":
        next_step.show(invocation, model_dir)  # its runs predict together
    return 0


def judge_of(invocation: Invocation) -> sweep.Judge | None:
    """Returns the fine-tuning by which a sweep's pretrainings are judged; None without a recipe.

    Raises:
      UserError: the sweep is one of fine-tunings, or a mistake in the recipe.
    """
    config, path = invocation.config, invocation.config.experiment.finetune_recipe
    if not path:
        return None
    if config.run.train_mode != "pretrain":
        raise UserError(
            f"--finetune_recipe={path}: a sweep of fine-tunings is judged by itself; leave it out."
        )
    recipe = recipes.judge_of(invocation.given)
    return sweep.Judge(recipe, dataset.prepare(recipe))


def set_up(invocation: Invocation) -> tuple:
    """Returns (recipes of a study, builder, folder, strategy), after the checks of the splits.

    Raises:
      UserError: a mistake in the recipes, the dataset, the device or the splits. A study checks
        its splits itself.
    """
    config, mode = invocation.config, invocation.mode
    of_study = recipes.of_study(invocation.given) if mode == "study" else {}
    first = of_study.get("finetune", config)
    strategy = build.set_up(first)  # before anything else touches TensorFlow's devices
    builder = dataset.prepare(first)
    model_dir = config.run.model_dir or default_model_dir(config, data_json.name_of(builder))
    if invocation.folds:
        _check_folds(invocation, builder)
    elif not of_study:
        evaluate.check_splits(config, builder)
    return of_study, builder, model_dir, strategy


def _check_folds(invocation: Invocation, builder) -> None:
    """Refuses what does not go with --folds, and splits that fail in the first fold.

    Raises:
      UserError: says what.
    """
    config = invocation.config
    count = config.experiment.folds
    if count == 1:
        raise UserError("--folds=1: one fold leaves no patient to train on. Choose 2 or more.")
    if invocation.repeats:
        raise UserError("--folds and --repeats: give one of the two.")
    if config.eval.eval_steps:
        raise UserError(
            f"--folds={count} evaluates every case once: leave out --eval_steps={config.eval.eval_steps}."
        )
    if "eval_split" in invocation.given:
        raise UserError(
            f"--folds={count} evaluates on each fold of --train_split={config.data.train_split} in "
            f"turn: leave out --eval_split={config.data.eval_split}."
        )
    evaluate.check_splits(next(iter(folds.make_configs(config).values())), builder)
