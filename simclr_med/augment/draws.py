"""Random numbers that are the same on every device, compiled or not."""

from __future__ import annotations

from collections.abc import Sequence

import tensorflow as tf


def uniform(
    shape: Sequence[int], seed: tf.Tensor, low: float = 0.0, high: float = 1.0
) -> tf.Tensor:
    """Returns U[low, high), float32 of `shape`, from a stateless seed int32 [2].

    The bits of `tf.random.stateless_uniform` are the same everywhere, its floats are not: XLA makes
    them of other bits. These are the floats that TensorFlow makes, of the lowest 23.
    """
    bits = tf.random.stateless_uniform(shape, seed, None, None, tf.int32, alg="philox")
    return low + (high - low) * (tf.cast(bits & 0x7FFFFF, tf.float32) * 2.0**-23)
