"""--mode=eval: the newest checkpoint of a run, and each newer one while the run goes on; or, with
--keep_head, weights of --checkpoint as a classifier.
"""

from __future__ import annotations

from simclr_med import build
from simclr_med.commands import dataset, next_step
from simclr_med.commands.invocation import Invocation
from simclr_med.commands.run_config import default_model_dir
from simclr_med.evaluation import adopt, evaluate, splits
from simclr_med.run_folder import data_json


def run(invocation: Invocation) -> int:
    """Evaluates the run in --model_dir, or the weights of --checkpoint; returns the exit code."""
    config = invocation.config
    strategy = build.set_up(config)  # before anything else touches TensorFlow's devices
    builder = dataset.prepare(config)
    model_dir = config.run.model_dir or default_model_dir(config, data_json.name_of(builder))
    if not invocation.of_run:
        config = adopt.adopt(config, builder, model_dir, strategy, invocation.record)
    if "eval_split" not in invocation.given:
        of_run = splits.of_run(config, builder, model_dir)
        config = splits.whole_if_unseen(config, builder, of_run)
    result = evaluate.follow(config, builder, model_dir, strategy)
    next_step.show(invocation, model_dir, has_labels=bool(result["classification"]))
    return 0
