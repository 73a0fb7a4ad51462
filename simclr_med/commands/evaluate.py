"""--mode=eval: the newest checkpoint of a run, and each newer one while the run goes on."""

from __future__ import annotations

from simclr_med import build
from simclr_med.commands import dataset
from simclr_med.commands.invocation import Invocation
from simclr_med.evaluation import evaluate


def run(invocation: Invocation) -> int:
    """Evaluates the run in --model_dir; returns the exit code."""
    config = invocation.config
    builder = dataset.prepare(config)
    strategy = build.set_up(config)  # before anything else touches TensorFlow's devices
    evaluate.follow(config, builder, invocation.given["model_dir"], strategy)
    return 0
