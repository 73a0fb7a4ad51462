"""--mode=eval: the newest checkpoint of a run, and each newer one while the run goes on."""

from __future__ import annotations

from simclr_med import build
from simclr_med.commands import dataset
from simclr_med.commands.invocation import Invocation
from simclr_med.evaluation import evaluate, splits


def run(invocation: Invocation) -> int:
    """Evaluates the run in --model_dir; returns the exit code."""
    config, model_dir = invocation.config, invocation.given["model_dir"]
    builder = dataset.prepare(config)
    strategy = build.set_up(config)  # before anything else touches TensorFlow's devices
    if "eval_split" not in invocation.given:
        of_run = splits.of_run(config, builder, model_dir)
        config = splits.whole_if_unseen(config, builder, of_run)
    evaluate.follow(config, builder, model_dir, strategy)
    return 0
