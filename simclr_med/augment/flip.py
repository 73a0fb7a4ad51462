"""Horizontal flip, batched."""

from __future__ import annotations

import tensorflow as tf

from simclr_med.augment.choose import change_where
from simclr_med.augment.draws import uniform


def draw(seed: tf.Tensor, n: int) -> dict[str, tf.Tensor]:
    """Returns the parameters of n images: {"flip": bool [n]}, true for half of them on average.

    Args:
      seed: stateless, int32 [2].
      n: number of images.
    """
    return {"flip": uniform((n,), seed) < 0.5}


def random_flip(images: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns the images, some of them mirrored left to right.

    Args:
      images: [n, C, H, W].
      parameters: from `draw`.
    """
    return change_where(parameters["flip"], lambda x: tf.reverse(x, [3]), images)
