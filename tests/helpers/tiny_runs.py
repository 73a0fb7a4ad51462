"""A tiny folder of cases, and runs on it of few steps: for tests of export and embed."""

import json
import os

import numpy as np
import tensorflow as tf

from helpers.folders import draw_cases
from simclr_med.build import make_model
from simclr_med.config import Config
from simclr_med.evaluation import evaluate
from simclr_med.training import train
from tfds_builders.derm_bags import Builder, folder_config

BASE = Config().replace(
    dataset="derm_bags",
    resnet_depth=18,
    image_size=34,  # above 32 px: cropped, and the ordinary stem
    train_batch_size=4,
    train_steps=2,
    checkpoint_steps=1,
    warmup_epochs=0.0,
    eval_batch_size=4,
    proj_out_dim=8,
    bootstrap_resamples=200,
    keep_hub_module_max=0,
    optimizer="momentum",
    learning_rate=5.0,  # so that BatchNorm's scales and statistics are no longer the initial ones
)
FINETUNE = BASE.replace(train_mode="finetune")


def draw_folder(folder, seed=0):
    """Writes 12 cases of 1 to 4 images in two classes: 8 train, 4 validation."""
    return draw_cases(
        folder,
        {"train": 8, "validation": 4},
        images=lambda case: 1 + case % 4,
        seed=seed,
        columns={"patient_id": lambda case: f"p{case}"},
    )


def prepare(root):
    """Returns the builder of such a folder below `root`, prepared there."""
    builder = Builder(config=folder_config(draw_folder(root / "photos")), data_dir=root / "tfds")
    builder.download_and_prepare()
    return builder


def untrained(config, model_dir):
    """Writes what export needs of a run, with random values where weights begin as 0 or 1."""
    model, rng = make_model(config, 2), np.random.default_rng(config.run.seed)
    for variable in model.variables:
        if variable.shape.rank == 1:
            variable.assign(variable + rng.uniform(0.1, 0.5, variable.shape))
    tf.train.CheckpointManager(tf.train.Checkpoint(model=model), str(model_dir), 1).save(2)
    (model_dir / "config.json").write_text(json.dumps(config.to_dict()))


def trained(config, builder, model_dir, strategy, evaluated=False):
    """Trains in `model_dir` (a Path), and returns it."""
    train.train(config, builder, str(model_dir), strategy, {})
    if evaluated:
        evaluate.evaluate(config, builder, str(model_dir), strategy, pictures=False)
    # What run.py would have been given, so that a later command finds the prepared data.
    path = model_dir / "config.json"
    photos = builder.builder_config.manifest.folder
    folders = {"manual_dir": str(photos), "data_dir": str(builder._data_dir_root)}
    path.write_text(json.dumps({**json.loads(path.read_text()), **folders}))
    assert os.path.exists(model_dir / "data.json")
    return model_dir
