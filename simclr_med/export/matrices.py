"""The resize of augment/resize.py as two matrix products, in operations that ONNX has.

ONNX's Resize has no area mean, and computes the cubic weights, while TensorFlow looks them up in a table
of 1024 steps a pixel, which differs by up to 1e-3. Parity: tensorflow/core/kernels/image/,
resize_bicubic_op.cc and resize_area_op.cc.
"""

from __future__ import annotations

import tensorflow as tf

_TABLE_SIZE = 1024
_A = -0.5  # Keys's cubic, as in TensorFlow's half-pixel bicubic


def resize(images: tf.Tensor, size: int, antialias: bool) -> tf.Tensor:
    """Returns images float32 [n, H, W, 3] resized to [n, size, size, 3]; H and W may be unknown.

    Args:
      images: of any range.
      size: px.
      antialias: as in `augment.resize.resize`.
    """
    height, width = tf.unstack(tf.shape(images)[1:3])
    rows, columns = _weights(height, size, antialias), _weights(width, size, antialias)
    flat = tf.reshape(images, [-1, height, width * 3])
    y = tf.reshape(tf.matmul(rows, flat), [-1, size, width, 3])  # [n, size, W, 3]
    y = tf.transpose(y, [0, 2, 1, 3])
    y = tf.matmul(columns, tf.reshape(y, [-1, width, size * 3]))
    return tf.transpose(tf.reshape(y, [-1, size, size, 3]), [0, 2, 1, 3])


def _weights(length: tf.Tensor, size: int, antialias: bool) -> tf.Tensor:
    """Returns the weight of each of `length` pixels in each of `size`, float32 [size, length]."""
    bicubic = _bicubic(length, size)
    return tf.where(length > size, _area(length, size), bicubic) if antialias else bicubic


def _area(length: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the share of each output pixel's area that each of `length` pixels covers."""
    scale = tf.cast(length, tf.float32) / float(size)
    begin = (tf.range(size, dtype=tf.float32) * scale)[:, tf.newaxis]
    end = (tf.range(1, size + 1, dtype=tf.float32) * scale)[:, tf.newaxis]
    pixel = tf.cast(tf.range(length), tf.float32)
    covered = tf.minimum(pixel + 1.0, end) - tf.maximum(pixel, begin)
    return tf.maximum(covered, 0.0) / scale


def _bicubic(length: tf.Tensor, size: int) -> tf.Tensor:
    scale = tf.cast(length, tf.float32) / float(size)
    position = (tf.range(size, dtype=tf.float32) + 0.5) * scale - 0.5
    below = tf.floor(position)
    step = tf.round((position - below) * _TABLE_SIZE) / _TABLE_SIZE  # half to even, as lrintf
    pixels = tf.range(length)
    weights = tf.zeros([size, length])
    for offset in (-1, 0, 1, 2):  # a neighbour beyond the edge has no pixel, so no weight
        is_neighbour = tf.cast(below, tf.int32)[:, tf.newaxis] + offset == pixels
        weights += tf.cast(is_neighbour, tf.float32) * _cubic(step - offset)[:, tf.newaxis]
    return weights / tf.reduce_sum(weights, axis=1, keepdims=True)


def _cubic(distance: tf.Tensor) -> tf.Tensor:
    """Returns Keys's cubic of a signed distance of at most 2, in pixels."""
    x = tf.abs(distance)
    near = ((_A + 2) * x - (_A + 3)) * x * x + 1
    far = ((_A * x - 5 * _A) * x + 8 * _A) * x - 4 * _A
    return tf.where(x <= 1, near, far)
