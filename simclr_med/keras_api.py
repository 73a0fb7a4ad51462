"""Picks Keras 2: `tf.keras` up to TensorFlow 2.15, the package `tf_keras` after it.

The rest of the code writes `from simclr_med.keras_api import keras`. Keras 3, which newer
TensorFlow exposes as `tf.keras`, loses variables of layers held in lists when a
`tf.train.Checkpoint` saves them, silently, and has no tested TPUStrategy path.
"""

from __future__ import annotations

import tensorflow as tf

if tuple(int(part) for part in tf.__version__.split(".")[:2]) < (2, 16):
    keras = tf.keras
else:
    import tf_keras

    keras = tf_keras

__all__ = ["at_least_float32", "keras"]


def at_least_float32(x: tf.Tensor) -> tf.Tensor:
    """Returns x in float32, in which losses are computed; float64 stays, as in tests of exactness."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
