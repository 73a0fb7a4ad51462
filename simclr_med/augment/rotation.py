"""Rotation, batched, each image by its own angle; the same numbers as `tfa.image.rotate`.

Written as a gather, because XLA has no kernel for ImageProjectiveTransformV3.
"""

from __future__ import annotations

import math

import tensorflow as tf

from simclr_med.augment.draws import uniform

_BYTES = [1, 1 << 8, 1 << 16]  # a pixel's three channels in one int32: one gather fetches all


def draw(seed: tf.Tensor, n: int, degrees: float) -> dict[str, tf.Tensor]:
    """Returns the parameters of n images: {"angle": U(-degrees, degrees) in radians, [n]}.

    Args:
      seed: stateless, int32 [2].
      n: number of images.
      degrees: the largest angle.
    """
    limit = math.radians(degrees)
    return {"angle": uniform((n,), seed, -limit, limit)}


def random_rotate(images: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns the images rotated, see `rotate`.

    Args:
      images: uint8 [n, H, W, 3].
      parameters: from `draw`.
    """
    return rotate(images, parameters["angle"])


def rotate(images: tf.Tensor, angle: tf.Tensor) -> tf.Tensor:
    """Returns images turned counter-clockwise about their centres, float32 [n, 3, H, W] in [0, 1].

    Bilinear, mirrored at the border where they run out of pixels (the outermost pixel twice).

    Args:
      images: uint8 [n, H, W, 3].
      angle: radians, [n].
    """
    height, width = images.shape[1:3]
    packed = tf.reduce_sum(tf.cast(images, tf.int32) * tf.constant(_BYTES), axis=-1)
    packed = tf.reshape(packed, [-1])  # [n H W]
    # 1. Where each pixel comes from.
    cos, sin = tf.cos(angle)[:, tf.newaxis, tf.newaxis], tf.sin(angle)[:, tf.newaxis, tf.newaxis]
    middle_y, middle_x = (height - 1) / 2, (width - 1) / 2
    y = tf.range(height, dtype=tf.float32)[:, tf.newaxis] - middle_y
    x = tf.range(width, dtype=tf.float32) - middle_x
    from_x = _mirror(cos * x - sin * y + middle_x, width)  # [n, H, W]
    from_y = _mirror(sin * x + cos * y + middle_y, height)
    # 2. The four pixels around that place.
    top, left = tf.cast(tf.floor(from_y), tf.int32), tf.cast(tf.floor(from_x), tf.int32)
    bottom, right = tf.minimum(top + 1, height - 1), tf.minimum(left + 1, width - 1)
    first = tf.reshape(tf.range(tf.shape(images)[0]) * height * width, [-1, 1, 1])

    def pixels(rows, columns):
        return tf.gather(packed, first + rows * width + columns)

    def corners():
        return [pixels(rows, columns) for rows in (top, bottom) for columns in (left, right)]

    if images.shape[0] == 1:
        # On the CPU (see choose.py): what a branch returns XLA keeps as it is. Without a branch it
        # would move the gathers into step 3 and make them once for each channel.
        unrotated = [tf.reshape(packed, [1, height, width])] * 4
        corners_of = tf.cond(angle[0] != 0.0, corners, lambda: unrotated)
    else:
        corners_of = corners()
    top_left, top_right, bottom_left, bottom_right = map(_unpack, corners_of)  # [n, 3, H, W]
    # 3. Their mean, weighted by nearness.
    right_weight = (from_x - tf.floor(from_x))[:, tf.newaxis]
    bottom_weight = (from_y - tf.floor(from_y))[:, tf.newaxis]
    upper = top_left + (top_right - top_left) * right_weight
    lower = bottom_left + (bottom_right - bottom_left) * right_weight
    return (upper + (lower - upper) * bottom_weight) / 255.0


def _mirror(coordinate: tf.Tensor, size: int) -> tf.Tensor:
    """Returns coordinates px folded into [0, size - 1]; -0.5 and size - 0.5 are the mirrors."""
    coordinate += 0.5
    coordinate -= 2.0 * size * tf.floor(coordinate / (2.0 * size))  # in [0, 2 size)
    return tf.clip_by_value(tf.minimum(coordinate, 2.0 * size - coordinate) - 0.5, 0.0, size - 1.0)


def _unpack(packed: tf.Tensor) -> tf.Tensor:
    """Returns packed pixels int32 [n, H, W] as planes float32 [n, 3, H, W] in [0, 255]."""
    shifts = tf.reshape(tf.constant([0, 8, 16]), [3, 1, 1])
    return tf.cast(tf.bitwise.right_shift(packed[:, tf.newaxis], shifts) & 255, tf.float32)
