"""--mode=compare: evaluated runs, and other models' features, against the first, paired by patient."""

from __future__ import annotations

import os

from simclr_med.commands import dataset
from simclr_med.commands.invocation import Invocation
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.evaluation import foreign_features
from simclr_med.evaluation.compare_runs import compare_runs
from simclr_med.metrics.predictions import items


def run(invocation: Invocation) -> int:
    """Prints, and with --model_dir writes, the comparison; returns the exit code."""
    config = invocation.config
    if not config.experiment.features:
        return compare_runs(config)
    runs = [*items(config.experiment.runs, ","), *_evaluated_features(config)]
    if len(runs) == 1:
        print("Nothing to compare with: --runs=RUN,... names evaluated runs of the same split.")
        return 0
    return compare_runs(config.replace(runs=",".join(runs)))


def _evaluated_features(config: Config) -> list[str]:
    """Returns the folders of the features of --features, which are evaluated first."""
    named = foreign_features.named(config.experiment.features)
    if not config.run.model_dir:
        raise UserError(
            "--features evaluates each model's features in a folder of its own: say where with "
            "--model_dir."
        )
    loaded = [foreign_features.read(name, paths) for name, paths in named]
    builder = dataset.prepare(config)
    folders = [os.path.join(config.run.model_dir, features.name) for features in loaded]
    for features, folder in zip(loaded, folders):
        foreign_features.evaluate_features(config, builder, features, folder)
    return folders
