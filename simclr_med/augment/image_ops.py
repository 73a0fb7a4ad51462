"""Picks the provider of host-side image operations.

`tensorflow_addons` where it exists (Python up to 3.11), core TensorFlow after it. Both call the
same kernel, which XLA cannot compile: host side only.
"""

from __future__ import annotations

import math

import tensorflow as tf

try:
    from tensorflow_addons import image as tfa_image
except ImportError:  # end of life: it does not import on TensorFlow >= 2.16
    tfa_image = None


def rotate(image: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Returns the image turned counter-clockwise, bilinear, mirrored where it ran out of pixels.

    Args:
      image: float32 [H, W, C].
      angle: radians, scalar.
    """
    if tfa_image is not None:
        return tfa_image.rotate(image, angle, interpolation="bilinear", fill_mode="reflect")
    height, width = tf.unstack(tf.cast(tf.shape(image)[:2], tf.float32))
    cos, sin = tf.cos(angle), tf.sin(angle)
    x, y = (width - 1) / 2, (height - 1) / 2
    matrix = [cos, -sin, x - (cos * x - sin * y), sin, cos, y - (sin * x + cos * y), 0.0, 0.0]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[tf.newaxis],
        transforms=tf.stack(matrix)[tf.newaxis],
        output_shape=tf.shape(image)[:2],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]


def random_rotate(image: tf.Tensor, seed: tf.Tensor, degrees: float) -> tf.Tensor:
    """Returns image [H, W, C] turned by U(-degrees, degrees), from a stateless seed int [2]."""
    limit = math.radians(degrees)
    return rotate(image, tf.random.stateless_uniform((), seed, -limit, limit, alg="philox"))
