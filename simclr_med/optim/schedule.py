"""Linear warm-up, then cosine to zero."""

from __future__ import annotations

import math

import tensorflow as tf

from simclr_med.keras_api import keras


def scaled_learning_rate(learning_rate: float, batch_size: int, scaling: str) -> float:
    """Returns learning_rate * batch / 256 ('linear') or learning_rate * sqrt(batch) ('sqrt').

    Args:
      learning_rate: the flag's value.
      batch_size: global.
      scaling: "linear" or "sqrt".
    """
    if scaling == "linear":
        return learning_rate * batch_size / 256.0
    return learning_rate * math.sqrt(batch_size)


def num_train_steps(num_examples: int, batch_size: int, train_epochs: int, train_steps: int) -> int:
    """Returns `train_steps`, or where that is 0, examples * epochs // batch + 1.

    Args:
      num_examples: in an epoch.
      batch_size: global.
      train_epochs, train_steps: the flags' values.
    """
    return train_steps or num_examples * train_epochs // batch_size + 1


def num_warmup_steps(num_examples: int, batch_size: int, warmup_epochs: float) -> int:
    """Returns round(warmup_epochs * examples // batch), as in SimCLR's code.

    Args:
      num_examples: in an epoch.
      batch_size: global.
      warmup_epochs: may be a fraction.
    """
    return int(round(warmup_epochs * num_examples // batch_size))


def warmup_cosine(
    step: tf.Tensor | int, *, peak: float, warmup_steps: int, total_steps: int
) -> tf.Tensor:
    """Returns the learning rate of a step, float32: 0 at step 0, `peak` after warm-up, 0 at last.

    Args:
      step: the number of updates done, integer.
      peak: the scaled learning rate.
      warmup_steps: steps of linear growth. More than `total_steps` means growth to the end.
      total_steps: steps of the whole run.

    Source: google-research/simclr tf2/model.py, WarmUpAndCosineDecay.

    Examples:
        >>> [float(warmup_cosine(s, peak=0.3, warmup_steps=10, total_steps=110)) for s in (0, 10, 110)]
        [0.0, 0.30000001192092896, 0.0]
    """
    step = tf.cast(step, tf.float32)
    if total_steps > warmup_steps:
        progress = (step - warmup_steps) / float(total_steps - warmup_steps)
    else:
        progress = tf.ones_like(step)
    progress = tf.clip_by_value(progress, 0.0, 1.0)
    cosine = peak * 0.5 * (1.0 + tf.cos(math.pi * progress))
    warmup = step / warmup_steps * peak if warmup_steps else cosine
    return tf.where(step < warmup_steps, warmup, cosine)


class WarmupCosine(keras.optimizers.schedules.LearningRateSchedule):
    """`warmup_cosine` as Keras wants it; the keyword arguments are the same."""

    def __init__(self, **numbers):
        super().__init__()
        self.numbers = numbers

    def __call__(self, step):
        return warmup_cosine(step, **self.numbers)

    def get_config(self):
        return dict(self.numbers)
