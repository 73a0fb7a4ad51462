"""Horizontal flip, batched."""

from __future__ import annotations

import tensorflow as tf

from simclr_med.augment.choose import change_where
from simclr_med.augment.draws import uniform


def draw(seed: tf.Tensor, n: int) -> dict[str, tf.Tensor]:
    """Returns {"flip": bool [n]}, true for half, from a stateless seed int32 [2]."""
    return {"flip": uniform((n,), seed) < 0.5}


def random_flip(images: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns images [n, C, H, W] mirrored left to right where `draw`'s parameters say so."""
    return change_where(parameters["flip"], lambda x: tf.reverse(x, [3]), images)
