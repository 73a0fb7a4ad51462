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
    began = time.monotonic()
    names = bags.class_names
    if not config.run.checkpoint:
        calibrated, _ = baselines.untrained(config, builder, bags, strategy, len(names))
        for own, other in zip(baselines.norms(model), baselines.norms(calibrated), strict=True):
            own.moving_mean.assign(tf.convert_to_tensor(other.moving_mean))
            own.moving_variance.assign(tf.convert_to_tensor(other.moving_variance))
    features = case_features(config, strategy, {"": model}, bags)[""]
    cases = read_cases(bags, 0)
    arguments = features, cases.labels, cases.patients
    if bags.multilabel:
        kernel, bias, penalties = _label_heads(*arguments, config.run.seed)
    else:
        kernel, bias, c = linear_probe.head(*arguments, len(names), config.run.seed)
        penalties = [c]
    model.supervised_head.dense.kernel.assign(kernel.astype(np.float32))
    model.supervised_head.dense.bias.assign(bias.astype(np.float32))
    low, high = f"{min(penalties, default=0):g}", f"{max(penalties, default=0):g}"
    return [
        f"The head starts as the linear probe: C = {low}{f' to {high}' if low != high else ''} on "
        f"{len(cases.ids):,} labelled cases, {features.shape[1]:,} features, in "
        f"{time.monotonic() - began:.1f} s.",
        *_notes(names, kernel, len(cases.ids), bags.multilabel),
    ]


def _label_heads(
    features: np.ndarray, labels: np.ndarray, patients: np.ndarray, seed: int
) -> tuple[np.ndarray, np.ndarray, list[float]]:
    """Returns (kernel [d, L], bias [L], each fitted C) of a logistic regression for each label.

    Each is fitted on the cases that know the label, as `probes.label_scores` does; one that no case
    knows has logit 0.

    Args:
      features: float [n, d].
      labels: 1, 0 or NaN (unknown), float [n, L].
      patients: [n].
      seed: of the probe.
    """
    kernel, bias = np.zeros((features.shape[1], labels.shape[1])), np.zeros(labels.shape[1])
    penalties = []
    for label, values in enumerate(labels.T):
        known = ~np.isnan(values)
        if not known.any():
            continue
        truth = values[known].astype(int)
        of_kinds = linear_probe.head(features[known], truth, patients[known], 2, seed)
        kernel[:, label] = of_kinds[0][:, 1] - of_kinds[0][:, 0]  # the log-odds of "present"
        bias[label] = of_kinds[1][1] - of_kinds[1][0]
        penalties.append(of_kinds[2])
    return kernel, bias, penalties


def _notes(names: tuple[str, ...], kernel: np.ndarray, count: int, multilabel: bool) -> list[str]:
    """Returns a line that names the classes, or labels, whose logits are constants; [] if none are."""
    constant = [name for name, column in zip(names, kernel.T, strict=True) if not column.any()]
    if not constant:
        return []
    listed = ", ".join(constant)
    if multilabel:
        return [f"Of {listed} no probe can be fitted: a constant that training cases suggest."]
    return [f"Without a training case, improbable at the start (1 / {count + 2:,}): {listed}."]
