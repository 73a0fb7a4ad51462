"""Which input range a run's encoder has: the flag, else its weights', else the usual one."""

from __future__ import annotations

import os

import tensorflow as tf

from simclr_med.checkpoints.weights.content import Weights
from simclr_med.checkpoints.weights.open import open_weights
from simclr_med.config import Config
from simclr_med.models.input_range import USUAL
from simclr_med.run_folder import read_json


def resolve(config: Config, model_dir: str | None, weights: Weights | None = None) -> Config:
    """Returns the configuration with `input_range` settled, so that config.json says what it is.

    From pretraining it goes on to MICLe and to fine-tuning in this way, each by --checkpoint.

    Args:
      config: of the run, perhaps with input_range 'auto'.
      model_dir: of a run that may have begun: what it began with stays. None: there is none.
      weights: those of --checkpoint, if they are open already.

    Raises:
      UserError: no weights at --checkpoint, of a run that has not begun.
    """
    path = os.path.join(model_dir, "config.json") if model_dir else ""
    if path and tf.io.gfile.exists(path):
        begun = read_json(path).get("input_range", "auto")  # 'auto': older than the field
        asked = config.model.input_range
        return config.replace(input_range=begun) if asked == "auto" else config
    if config.run.checkpoint and not weights:
        weights = open_weights(config.run.checkpoint)
    trained_with = weights.input_range if weights else None
    if config.model.input_range == "auto":
        return config.replace(input_range=trained_with or USUAL[config.model.encoder])
    if trained_with not in (None, config.model.input_range):
        print(
            f"Note: --input_range={config.model.input_range}, and {config.run.checkpoint} was "
            f"trained with {trained_with}: its first layers will see another scale of pixels."
        )
    return config
