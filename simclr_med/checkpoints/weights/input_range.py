"""How an encoder's input is made: by the flags, else as for its weights, else by the default.

`input_range` (the scale of pixels) and `antialias` (how windows are reduced, augment/resize.py).
"""

from __future__ import annotations

import os

from simclr_med.checkpoints.weights.content import Weights
from simclr_med.checkpoints.weights.open import open_weights
from simclr_med.config import OF_OLDER_RUNS, Config
from simclr_med.models.input_range import USUAL
from simclr_med.run_folder import gfile, read_json


def resolve(config: Config, model_dir: str | None, weights: Weights | None = None) -> Config:
    """Returns the configuration with `input_range` and `antialias` settled, as config.json says them.

    From pretraining it goes on to MICLe and to fine-tuning in this way, each by --checkpoint.

    Args:
      config: of the run, perhaps with input_range 'auto'.
      model_dir: of a run that may have begun: what it began with stays. None: there is none.
      weights: those of --checkpoint, if they are open already.

    Raises:
      UserError: no weights at --checkpoint, of a run that has not begun.
    """
    path = os.path.join(model_dir, "config.json") if model_dir else ""
    if path and gfile.exists(path):
        saved = read_json(path)
        stored = saved.get("input_range", "auto")  # 'auto': older than the field
        rule = config.model.input_range
        config = config.replace(input_range=stored) if rule == "auto" else config
        return _antialias_of_run(config, saved, str(model_dir))
    if config.run.checkpoint and not weights:
        weights = open_weights(config.run.checkpoint)
    config = _antialias_of_weights(config, weights)
    trained_with = weights.input_range if weights else None
    if config.model.input_range == "auto":
        return config.replace(input_range=trained_with or USUAL[config.model.encoder])
    if trained_with not in (None, config.model.input_range):
        print(
            f"Note: --input_range={config.model.input_range}, and {config.run.checkpoint} was "
            f"trained with {trained_with}: its first layers will see another scale of pixels."
        )
    return config


def _antialias_of_run(config: Config, saved: dict, model_dir: str) -> Config:
    """Returns the configuration with the rule that the run in `model_dir` began with."""
    if config.augment.antialias != "auto":
        return config
    if "antialias" not in saved:
        print(
            f"Note: {model_dir} began before --antialias existed, with images reduced without a "
            "low-pass filter, and goes on so. A new run has one."
        )
    return config.replace(antialias=saved.get("antialias", OF_OLDER_RUNS["antialias"]))


def _antialias_of_weights(config: Config, weights: Weights | None) -> Config:
    """Returns the configuration with the rule of --checkpoint's weights, or of the flag; says which."""
    trained_with = weights.antialias if weights else None
    rule = config.augment.antialias
    if rule == "auto":
        if trained_with == "false":
            print(
                "Note: images are reduced without a low-pass filter (--antialias=false), as "
                f"{config.run.checkpoint} was trained."
            )
        return config.replace(antialias=trained_with or "true")
    if trained_with not in (None, rule):
        print(
            f"Note: --antialias={rule}, and {config.run.checkpoint} was trained with {trained_with}: "
            "it will see smoother or rougher images than it knows."
        )
    return config
