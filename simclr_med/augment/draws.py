"""Random numbers that are the same on every device, compiled or not."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def uniform(
    shape: Sequence[int], seed: tf.Tensor, low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Returns samples of U[low, high), float32 of `shape`.

    The bits of `tf.random.stateless_uniform` are the same everywhere, its floats are not: XLA derives
    them from other bits. These are the floats that TensorFlow derives from the lowest 23.

    Args:
      shape: of the samples.
      seed: stateless, int32 [2].
      low, high: bounds.
    """
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox")
    return low + (high - low) * (tf.cast(bits & 0x7FFFFF, tf.float32) * 2.0**-23)
