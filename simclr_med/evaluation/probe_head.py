"""--init_head=probe: fine-tuning starts with the linear probe's weights in its head.

A random head sends large gradients into features that are good already; one that fits them does not
(LP-FT: Kumar et al. 2022, arXiv:2202.10054). The probe is that of `probes/linear_probe.py`, fitted on
what it would see of the training cases in an evaluation: centre crops, BatchNorm's moving statistics.
"""

from __future__ import annotations

import time

import numpy as np
import tensorflow as tf

from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.data.cases import read_cases
from simclr_med.evaluation import baselines
from simclr_med.evaluation.features import case_features
from simclr_med.evaluation.probes import linear_probe


def start(
    config: Config, builder, bags: Bags, strategy: tf.distribute.Strategy, model
) -> list[str]:
    """Sets a model's supervised head to the probe of its features, and returns lines that say so.

    A model that no --checkpoint began also gets BatchNorm's moving statistics of training images, as
    the untrained encoder of an evaluation has them (`baselines.untrained`); its weights stay.

    Args:
      config: of the run, its input range settled.
      builder: of the prepared dataset.
      bags: of the labelled cases that train.
      strategy: in whose scope the model was made.
      model: as it is to start, with a supervised head.

    Raises:
      UserError: memory did not suffice.
    """
    start_time = time.monotonic()
    names = bags.class_names
    if not config.run.checkpoint:
        calibrated, _ = baselines.untrained(config, builder, bags, strategy, len(names))
        for norm, calibrated_norm in zip(
            baselines.norms(model), baselines.norms(calibrated), strict=True
        ):
            norm.moving_mean.assign(tf.convert_to_tensor(calibrated_norm.moving_mean))
            norm.moving_variance.assign(tf.convert_to_tensor(calibrated_norm.moving_variance))
    features = case_features(config, strategy, {"": model}, bags)[""]
    cases = read_cases(bags, 0)
    kernel, bias, penalties = linear_probe.head(
        features, cases.labels, cases.patients, len(names), config.run.seed
    )
    model.supervised_head.dense.kernel.assign(kernel.astype(np.float32))
    model.supervised_head.dense.bias.assign(bias.astype(np.float32))
    low, high = f"{min(penalties, default=0):g}", f"{max(penalties, default=0):g}"
    return [
        f"The head starts as the linear probe: C = {low}{f' to {high}' if low != high else ''} on "
        f"{len(cases.ids):,} labelled cases, {features.shape[1]:,} features, in "
        f"{time.monotonic() - start_time:.1f} s.",
        *_notes(names, kernel, len(cases.ids), bags.multilabel),
    ]


def _notes(names: tuple[str, ...], kernel: np.ndarray, count: int, multilabel: bool) -> list[str]:
    """Returns a line that names the classes, or labels, whose logits are constants; [] if none are."""
    constant = [name for name, column in zip(names, kernel.T, strict=True) if not column.any()]
    if not constant:
        return []
    listed = ", ".join(constant)
    if multilabel:
        return [f"Of {listed} no probe can be fitted: a constant that training cases suggest."]
    return [f"Without a training case, improbable at the start (1 / {count + 2:,}): {listed}."]
