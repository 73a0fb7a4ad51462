"""From encoded bytes to pixels: random crop for training, centre crop for evaluation. Host side.

A JPEG is decoded only inside its crops. No mean or standard deviation is subtracted anywhere: the
network sees [0, 1]. Parity: google-research/simclr tf2/data_util.py; the resize is bicubic
without antialiasing, as there.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

AREA_RANGE = (0.08, 1.0)
ASPECT_RATIO_RANGE = (3 / 4, 4 / 3)  # width / height, times the output's own
MIN_OBJECT_COVERED = 0.1
MAX_ATTEMPTS = 100  # then the whole image
CENTER_CROP_PROPORTION = 0.875  # ImageNet's convention
_MARGIN = 2  # px: colours are interpolated, but not across the edge of what is decoded
SMALLEST_CROPPED_SIZE = 32  # inputs up to this size (CIFAR's) are evaluated uncropped


def decode_random_crops(encoded: tf.Tensor, seeds: tf.Tensor, size: int) -> tf.Tensor:
    """Returns random crops of one image, resized: uint8 [V, size, size, 3].

    The image is decoded once, inside the smallest window that holds all crops; a grey one in one
    channel. A JPEG whose crops all have at least 2, 4 or 8 times `size` is decoded at that fraction
    of its size, whose pixels are means; its crops begin and end at multiples of 2, 4 or 8 px.

    Args:
      encoded: bytes of a JPEG, PNG, GIF or BMP, scalar string.
      seeds: stateless seeds, int [V, 2].
      size: px.
    """

    views = range(seeds.shape[0])

    def draw(shape):
        windows = tf.stack([random_crop_window(shape, seeds[v]) for v in views])
        return windows[:, :2], windows[:, 2:]  # top and left, height and width

    def of_jpeg():
        shape = tf.image.extract_jpeg_shape(encoded)
        begin, extent = draw(shape)
        halvings = _halvings(extent, size)
        unit = tf.gather([1, 2, 4, 8], halvings)
        end = (begin + extent) // unit
        begin = -(-begin // unit)
        first = tf.maximum(tf.reduce_min(begin, axis=0) - _MARGIN, 0)
        last = tf.minimum(tf.reduce_max(end, axis=0) + _MARGIN, -(-shape[:2] // unit))
        window = tf.concat([first, last - first], axis=0)
        return _decode_jpeg(encoded, window, halvings), begin - first, end - begin

    def of_others():
        pixels = tf.io.decode_image(encoded, channels=0, expand_animations=False)
        return pixels, *draw(tf.shape(pixels))

    pixels, begin, extent = tf.cond(tf.io.is_jpeg(encoded), of_jpeg, of_others)
    colours = tf.where(tf.shape(pixels)[-1:] < 3, 1, 3)  # without alpha
    resized = []
    for v in views:
        crop = tf.slice(pixels, tf.pad(begin[v], [[0, 1]]), tf.concat([extent[v], colours], 0))
        crop = tf.cast(crop, tf.float32)[tf.newaxis]  # the kernel is slower from uint8
        crop = tf.raw_ops.ResizeBicubic(images=crop, size=[size, size], half_pixel_centers=True)
        resized.append(_to_uint8(crop))
    shape = [len(views), size, size, 3]
    return tf.ensure_shape(tf.broadcast_to(tf.concat(resized, axis=0), shape), shape)


def _halvings(extent: tf.Tensor, size: int) -> tf.Tensor:
    """Returns how often all sides of the crops, `extent` [V, 2], can be halved: 0 to 3 times."""
    smallest = tf.reduce_min(extent)
    return tf.reduce_sum(tf.cast(smallest >= np.array([2, 4, 8]) * size, tf.int32))


def _decode_jpeg(encoded: tf.Tensor, window: tf.Tensor, halvings: tf.Tensor) -> tf.Tensor:
    """Returns a window of a JPEG decoded at 1 / 2 ** halvings, uint8 [H, W, 1 or 3].

    Args:
      encoded: scalar string.
      window: top, left, height, width in the reduced picture, int32 [4].
      halvings: 0, 1, 2 or 3.
    """

    def at(ratio):
        return lambda: tf.raw_ops.DecodeAndCropJpeg(
            contents=encoded, crop_window=window, channels=0, ratio=ratio
        )

    return tf.switch_case(halvings, [at(1), at(2), at(4), at(8)])


def _to_uint8(x: tf.Tensor) -> tf.Tensor:
    """Returns x, clipped to 0..255 and rounded, in one pass; clip, add and cast take three."""
    rounded = tf.raw_ops.QuantizeV2(
        input=x,
        min_range=0.0,
        max_range=255.0,
        T=tf.quint8,
        mode="MIN_COMBINED",
        round_mode="HALF_AWAY_FROM_ZERO",
    )
    return tf.bitcast(rounded.output, tf.uint8)


def random_crop_window(shape: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns [top, left, height, width], px, of a random crop of an image of `shape` [3]."""
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=MIN_OBJECT_COVERED,
        aspect_ratio_range=ASPECT_RATIO_RANGE,
        area_range=AREA_RANGE,
        max_attempts=MAX_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    return tf.concat([begin[:2], extent[:2]], axis=0)


def decode_center_crop(encoded: tf.Tensor, size: int) -> tf.Tensor:
    """Returns the centre of the image, resized: float32 [size, size, 3] in [0, 1]."""
    return evaluation_view(tf.io.decode_image(encoded, channels=3, expand_animations=False), size)


def evaluation_view(images: tf.Tensor, size: int) -> tf.Tensor:
    """Returns images as evaluation shows them: float32 [..., size, size, 3] in [0, 1].

    The largest centred square times 0.875, resized; up to 32 px the whole image, resized.

    Args:
      images: one or a batch, uint8 or uint16 [..., H, W, 3].
      size: px.
    """
    return _resize(center(images) if size > SMALLEST_CROPPED_SIZE else images, size)


def center(images: tf.Tensor) -> tf.Tensor:
    """Returns the largest centred square times 0.875 of images [..., H, W, 3]."""
    height, width = tf.unstack(tf.shape(images)[-3:-1])
    side = CENTER_CROP_PROPORTION * tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.cast(tf.math.rint(side), tf.int32)
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    return images[..., top : top + side, left : left + side, :]


def _resize(image: tf.Tensor, size: int) -> tf.Tensor:
    image.set_shape([*image.shape[:-1], 3])  # of decode_image only the rank is known
    image = tf.image.convert_image_dtype(image, tf.float32)
    image = tf.image.resize(image, [size, size], method="bicubic")
    return tf.clip_by_value(image, 0.0, 1.0)
