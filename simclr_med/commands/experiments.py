"""--mode=sweep, label_efficiency and study; and train_then_eval with --repeats: many runs."""

from __future__ import annotations

from simclr_med import build, signals
from simclr_med.commands import dataset, flags
from simclr_med.commands.invocation import Invocation
from simclr_med.commands.run_config import default_model_dir
from simclr_med.evaluation import evaluate
from simclr_med.experiments import label_efficiency, repeats, study, sweep
from simclr_med.run_folder import data_json


def run(invocation: Invocation) -> int:
    """Makes the runs of an experiment that are not yet made; returns the exit code."""
    config, mode = invocation.config, invocation.mode
    recipes, builder, model_dir, strategy = set_up(invocation)
    try:
        if recipes:
            study.run(config, recipes, dataset.prepare, model_dir, strategy, invocation.record)
        else:
            runs = {"sweep": sweep.run, "label_efficiency": label_efficiency.run}
            make_runs = runs.get(mode, repeats.run)
            make_runs(config, builder, model_dir, strategy, invocation.record)
    except signals.Interrupted as interrupted:
        return signals.report_stop(interrupted, model_dir)
    return 0


def set_up(invocation: Invocation) -> tuple:
    """Returns (recipes of a study, builder, folder, strategy), after the checks of the splits.

    Raises:
      UserError: a mistake in the recipes, the dataset, the device or the splits. A study checks
        its splits itself.
    """
    config, mode = invocation.config, invocation.mode
    recipes = flags.study_recipes(invocation.given) if mode == "study" else {}
    first = recipes.get("finetune", config)
    builder = dataset.prepare(first)
    model_dir = config.run.model_dir or default_model_dir(config, data_json.name_of(builder))
    strategy = build.set_up(first)  # before anything else touches TensorFlow's devices
    if not recipes:
        evaluate.check_splits(config, builder)
    return recipes, builder, model_dir, strategy
