"""Horizontal flip, batched."""

from __future__ import annotations

import tensorflow as tf


def draw(seed: tf.Tensor, n: int) -> dict[str, tf.Tensor]:
    """Returns {"flip": bool [n]}, true for half, from a stateless seed int32 [2]."""
    return {"flip": tf.random.stateless_uniform((n,), seed, alg="philox") < 0.5}


def random_flip(images: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns images [n, H, W, C] mirrored left to right where `draw`'s parameters say so."""
    return tf.where(parameters["flip"][:, None, None, None], images[:, :, ::-1], images)
