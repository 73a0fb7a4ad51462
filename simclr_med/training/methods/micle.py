"""MICLe: a positive pair is two *different* images of one bag (Azizi et al. 2021, Algorithm 1).

The loss is SimCLR's.
"""

from __future__ import annotations

import tensorflow as tf


def sample_images(num_images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns two images of a bag, int32 [2]: distinct and uniform, or the only one twice.

    Args:
      num_images: K >= 1, scalar. The images that are not drawn are never decoded.
      seed: stateless seed, int [2].
    """
    k = num_images
    u = tf.random.stateless_uniform((2,), seed, alg="philox")
    i = tf.cast(u[0] * tf.cast(k, tf.float32), tf.int32)  # uniform over the bag
    step = 1 + tf.cast(u[1] * tf.cast(k - 1, tf.float32), tf.int32)  # uniform over the others
    return tf.stack([i, tf.where(k > 1, (i + step) % k, i)])
