"""Picks Keras 2: `tf.keras` up to TensorFlow 2.15, the package `tf_keras` after it.

The rest of the code writes `from simclr_med.keras_api import keras`. Keras 3, which newer
TensorFlow exposes as `tf.keras`, loses variables of layers held in lists when a
`tf.train.Checkpoint` saves them, silently, and has no tested TPUStrategy path.
"""

import tensorflow as tf

if tuple(int(part) for part in tf.__version__.split(".")[:2]) < (2, 16):
    keras = tf.keras
else:
    import tf_keras

    keras = tf_keras

__all__ = ["keras"]
