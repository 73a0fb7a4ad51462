"""--mode=embed: embeddings of a dataset, by a run's encoder or by the weights of --checkpoint."""

from __future__ import annotations

from simclr_med import build
from simclr_med.commands import dataset
from simclr_med.commands.invocation import Invocation
from simclr_med.commands.run_config import check_not_both, default_model_dir
from simclr_med.evaluation import embed
from simclr_med.run_folder import data_json


def run(invocation: Invocation) -> int:
    """Writes the embeddings; returns the exit code."""
    check_not_both(invocation.given)
    config = invocation.config
    strategy = build.set_up(config)  # before anything else touches TensorFlow's devices
    builder = dataset.prepare(config)
    model_dir = invocation.given.get("model_dir") or default_model_dir(
        config, data_json.name_of(builder)
    )
    embed.embed(config, builder, model_dir, strategy, of_run=invocation.of_run)
    return 0
