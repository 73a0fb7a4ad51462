"""--mode=train and --mode=train_then_eval."""

from __future__ import annotations

from simclr_med import build, distribution, signals
from simclr_med.commands import dataset, experiments, next_step
from simclr_med.commands.invocation import Invocation
from simclr_med.commands.run_config import default_model_dir
from simclr_med.evaluation import evaluate, probe_head, splits
from simclr_med.run_folder import data_json
from simclr_med.training import train


def run(invocation: Invocation) -> int:
    """Trains, from where a run in the same folder stopped; evaluates. Returns the exit code."""
    if invocation.repeats or invocation.folds:
        return experiments.run(invocation)
    config, workers = invocation.config, invocation.workers
    builder, model_dir, strategy = set_up(invocation)
    then_eval = invocation.mode == "train_then_eval"
    try:
        train.train(config, builder, model_dir, strategy, invocation.record, probe_head.start)
    except signals.Interrupted as interrupted:
        return signals.report_stop(interrupted, model_dir)
    if not then_eval:
        if not workers or workers.is_chief:
            next_step.show(invocation, model_dir)
        return 0
    if workers and not workers.is_chief:
        print(f"Worker {workers.index} is done: worker 0 evaluates.")
        return 0
    if workers:
        strategy = distribution.local_strategy()
    result = evaluate.evaluate(config, builder, model_dir, strategy)
    next_step.show(invocation, model_dir, has_labels=bool(result["classification"]))
    return 0


def set_up(invocation: Invocation) -> tuple:
    """Returns (builder, folder, strategy) of a run, after the checks of its splits.

    Raises:
      UserError: a mistake in the dataset, the device or the splits.
    """
    config = invocation.config
    strategy = build.set_up(config)  # before anything else touches TensorFlow's devices
    builder = dataset.prepare(config)
    model_dir = config.run.model_dir or default_model_dir(config, data_json.name_of(builder))
    if invocation.mode == "train_then_eval":
        evaluate.check_splits(config, builder)
    else:  # an evaluation would find it too late
        evaluate.check_grades(config, builder)
        if config.run.train_mode == "finetune" and config.data.selection_split:
            splits.check_selection(config, builder, to_choose=True)
    return builder, model_dir, strategy
