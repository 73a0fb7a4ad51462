"""The one resize: what the network sees of a window, on every path and of every file format.

Reduction is an area mean: an output pixel is the mean of the part of the window that it covers, edge
pixels counted by the share that is covered (`tf.image.resize(..., "area")`, OpenCV's INTER_AREA).
Enlargement is bicubic (Keys, a = -0.5). Each axis by itself.

SimCLR's code is bicubic in both directions, without a low-pass filter: a photograph of 2,000 px shown at
224 px is then 4 x 4 of each 9 x 9 pixels, so noise and texture fold into false detail. That rule stays
available (`antialias=False`), for weights that were trained with it and for parity.

An area mean is also what lets a JPEG be decoded at a half, a quarter or an eighth: libjpeg's reduced
inverse DCT gives exactly the means of 2 x 2, 4 x 4 or 8 x 8 pixels (jidctred.c), so means of them are
the same means, while a filter with longer tails would see another picture.
"""

from __future__ import annotations

import tensorflow as tf


def resize(images: tf.Tensor, size: int, antialias: bool) -> tf.Tensor:
    """Returns images [n, H, W, C] resized: float32 [n, size, size, C], not clipped.

    Args:
      images: of any range, uint8, uint16 or float32; H and W may be unknown.
      size: px.
      antialias: area mean where an axis is reduced; else bicubic in both directions.
    """
    if not antialias:
        return _bicubic(tf.cast(images, tf.float32), size)
    extent = tf.shape(images)[1:3]

    def area(to):
        return tf.raw_ops.ResizeArea(images=images, size=to)

    def reduced():
        return area([size, size])

    def enlarged():  # at least one axis
        reduce = tf.reduce_any(extent > size)
        smaller = tf.cond(
            reduce, lambda: area(tf.minimum(extent, size)), lambda: tf.cast(images, tf.float32)
        )
        return _bicubic(smaller, size)

    return tf.cond(tf.reduce_all(extent >= size), reduced, enlarged)


def _bicubic(images: tf.Tensor, size: int) -> tf.Tensor:
    return tf.raw_ops.ResizeBicubic(images=images, size=[size, size], half_pixel_centers=True)
