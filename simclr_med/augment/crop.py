"""From encoded bytes to pixels: random crop for training, centre crop for evaluation. Host side.

A JPEG is decoded only inside its crop. No mean or standard deviation is subtracted anywhere: the
network sees [0, 1]. Parity: google-research/simclr tf2/data_util.py; the resize is bicubic
without antialiasing, as there.
"""

from __future__ import annotations

import tensorflow as tf

AREA_RANGE = (0.08, 1.0)
ASPECT_RATIO_RANGE = (3 / 4, 4 / 3)  # width / height, times the output's own
MIN_OBJECT_COVERED = 0.1
MAX_ATTEMPTS = 100  # then the whole image
CENTER_CROP_PROPORTION = 0.875  # ImageNet's convention
SMALLEST_CROPPED_SIZE = 32  # inputs up to this size (CIFAR's) are evaluated uncropped


def decode_random_crop(encoded: tf.Tensor, seed: tf.Tensor, size: int) -> tf.Tensor:
    """Returns a random crop of the image, resized: float32 [size, size, 3] in [0, 1].

    Args:
      encoded: JPEG or PNG bytes, scalar string.
      seed: stateless seed, int [2].
      size: px.
    """
    is_jpeg = tf.io.is_jpeg(encoded)
    decoded = tf.cond(
        is_jpeg,
        lambda: tf.zeros([1, 1, 3], tf.uint8),
        lambda: tf.io.decode_png(encoded, channels=3),
    )
    shape = tf.cond(
        is_jpeg, lambda: tf.image.extract_jpeg_shape(encoded), lambda: tf.shape(decoded)
    )
    window = random_crop_window(shape, seed)
    crop = tf.cond(
        is_jpeg,
        lambda: tf.image.decode_and_crop_jpeg(encoded, window, channels=3),
        lambda: tf.image.crop_to_bounding_box(decoded, *tf.unstack(window)),
    )
    return _resize(crop, size)


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
