"""Optimisers, the learning-rate schedule, and which variables decay."""

from __future__ import annotations

import tensorflow as tf

from simclr_med.keras_api import keras
from simclr_med.optim.lars import LARS
from simclr_med.optim.layer_decay import AdamByLayer, MomentumByLayer, rate_factors
from simclr_med.optim.schedule import (
    WarmupCosine,
    num_train_steps,
    num_warmup_steps,
    scaled_learning_rate,
    warmup_cosine,
)

__all__ = [
    "LARS",
    "WarmupCosine",
    "l2_penalty",
    "make_head_optimizer",
    "make_optimizer",
    "num_train_steps",
    "num_warmup_steps",
    "rate_factors",
    "scaled_learning_rate",
    "supervised_variables",
    "warmup_cosine",
]


def make_optimizer(
    name: str,
    learning_rate,
    *,
    momentum: float,
    weight_decay: float,
    model,
    layer_decay: float = 1.0,
):
    """Returns the optimiser 'lars', 'momentum' (Nesterov) or 'adam' for a built model.

    Only LARS decays weights by itself; for the others, and for the supervised head under LARS,
    add `l2_penalty` to the loss.

    Args:
      name: of the optimiser.
      learning_rate: float or Keras schedule.
      momentum: of LARS and momentum.
      weight_decay: of LARS.
      model: built.
      layer_decay: see `layer_decay.rate_factors`; 1 for LARS.
    """
    if layer_decay < 1:
        optimizer = {
            "momentum": lambda: MomentumByLayer(
                learning_rate, momentum, nesterov=True, jit_compile=False
            ),
            "adam": lambda: AdamByLayer(learning_rate, jit_compile=False),
        }[name]()
        optimizer.set_factors(rate_factors(model, layer_decay))
        return optimizer
    if name == "lars":
        excluded = [*norm_variables(model), *biases(model), *supervised_variables(model)]
        return LARS(learning_rate, momentum, weight_decay, excluded=excluded)
    if name == "momentum":
        return keras.optimizers.SGD(learning_rate, momentum, nesterov=True, jit_compile=False)
    return keras.optimizers.Adam(learning_rate, jit_compile=False)


def make_head_optimizer(model, total_steps: int):
    """Returns the optimiser of the supervised head that is trained beside pretraining.

    Its rate is its own, because `--learning_rate` is the encoder's: LARS takes rates (0.3 to 20) at
    which a layer without a trust ratio diverges, and the head has none. Adam does not depend on the
    scale of the loss, and a rate of 1 / fan-in does not depend on the encoder's width (Yang et al.
    2022, arXiv:2203.03466, table 3); from its peak it falls to 0 at the last step, as a cosine.

    Args:
      model: built, with a supervised head.
      total_steps: of the run.
    """
    (kernel,) = [v for v in supervised_variables(model) if v.shape.rank == 2]
    # 0.002 for the 512 inputs of ResNet-18. On features of the demo the loss falls from the first step;
    # at 5 times as much it first rises to 3.0, and ends 0.05 lower.
    schedule = WarmupCosine(
        peak=1.0 / int(kernel.shape[0]), warmup_steps=0, total_steps=total_steps
    )
    return keras.optimizers.Adam(schedule, jit_compile=False)


def l2_penalty(model, optimizer_name: str, weight_decay: float) -> tf.Tensor:
    """Returns the weight decay to add to the loss, a scalar of the weights' dtype.

    LARS: of the supervised head's kernel. Others: of everything but normalisation layers; biases decay
    too, as in the reference.

    Args:
      model: built.
      optimizer_name: "lars", "momentum" or "adam".
      weight_decay: factor of half the sum of squares.
    """
    if optimizer_name == "lars":
        decayed = [v for v in supervised_variables(model) if v.shape.rank > 1]
    else:
        exempt = {v.ref() for v in norm_variables(model)}
        decayed = [v for v in model.trainable_variables if v.ref() not in exempt]
    zero = tf.zeros([], model.trainable_variables[0].dtype)
    return weight_decay * sum((tf.nn.l2_loss(v) for v in decayed), zero)


def norm_variables(model) -> list[tf.Variable]:
    """Returns the trainable variables of BatchNorm and GroupNorm layers."""
    kinds = (keras.layers.BatchNormalization, keras.layers.GroupNormalization)
    return [v for layer in _layers(model, kinds) for v in _scale_and_offset(layer)]


def biases(model) -> list[tf.Variable]:
    """Returns the biases of convolutions and dense layers."""
    layers = _layers(model, (keras.layers.Conv2D, keras.layers.Dense))
    return [layer.bias for layer in layers if layer.bias is not None]


def supervised_variables(model) -> list[tf.Variable]:
    """Returns the supervised head's variables, none where the model has no such head."""
    head = model.supervised_head
    return list(head.trainable_variables) if head is not None else []


def _layers(model, kind) -> list:
    return [module for module in model.submodules if isinstance(module, kind)]


def _scale_and_offset(layer) -> list[tf.Variable]:
    return [v for v in (layer.gamma, layer.beta) if v is not None]
