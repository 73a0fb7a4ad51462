"""A sweep of two fine-tunings with an encoder that is a stem, in a process that can be killed.

Usage: python sweep_worker.py PHOTOS DATA_DIR MODEL_DIR, the photos prepared in DATA_DIR.
"""

import sys

import pytest

from helpers import encoders
from simclr_med import distribution
from simclr_med.config import Config
from simclr_med.experiments import sweep
from tfds_builders.derm_bags import Builder, folder_config

BASE = Config().replace(
    dataset="derm_bags",
    train_mode="finetune",
    optimizer="momentum",
    learning_rate=0.1,
    weight_decay=0.0,
    resnet_depth=18,
    image_size=34,
    train_batch_size=4,
    train_steps=2,
    warmup_epochs=0.0,
    use_blur=False,
    eval_batch_size=8,
    eval_split="test",
    bootstrap_resamples=100,
    keep_hub_module_max=0,
    sweep_learning_rates="0.01,0.1",
    sweep_weight_decays="0,0.001",
    label_fractions="0.5,1",
)
SWEEP = BASE.replace(selection_split="validation")

if __name__ == "__main__":
    photos, data_dir, model_dir = sys.argv[1:]
    config = SWEEP.replace(sweep_weight_decays="0", sweep_learning_rates="0.01,0.1")
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch, blocks=())
        builder = Builder(config=folder_config(photos), data_dir=data_dir)
        sweep.run(config, builder, model_dir, distribution.make_strategy(), {})
