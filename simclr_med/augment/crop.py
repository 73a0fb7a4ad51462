"""From encoded bytes to pixels: random crop for training, centre crop for evaluation. Host side.

A JPEG is decoded only inside its crops. What the network sees of a window is decided in resize.py, for
training and evaluation alike. No mean or standard deviation is subtracted anywhere: the network sees
[0, 1]. Parity (`antialias=False`): google-research/simclr tf2/data_util.py.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from simclr_med.augment.resize import resize

MIN_AREA = 0.08  # share of the image that the smallest crop covers; --crop_min_area
ASPECT_RATIO_RANGE = (3 / 4, 4 / 3)  # width / height, times the output's own
MIN_OBJECT_COVERED = 0.1
MAX_ATTEMPTS = 100  # then the whole image
CENTER_CROP_PROPORTION = 0.875  # ImageNet's convention
# A JPEG is decoded at 1/f while its crops keep this many times the output's size, and this many px. A
# mean of f x f pixels that straddles two output pixels is then shared between them by area: at twice the
# size 0.3 to 0.7 grey levels off on average, at a hard edge up to an eighth of its height for each axis;
# at four times half of that. Small outputs can afford more pixels (benchmarks/pixels.py).
_SPARE = 2
_LEAST = 256
_FACTORS = np.array([2, 4, 8])
# TensorFlow's usual inverse DCT, the fast one, is half a grey level too dark on average; the reduced
# ones are not, nor is Pillow's. The reference decodes by the usual one.
_DCT = {True: "INTEGER_ACCURATE", False: ""}
_MARGIN = 2  # px: colours are interpolated, but not across the edge of what is decoded
SMALLEST_CROPPED_SIZE = 32  # inputs up to this size (CIFAR's) are evaluated uncropped


def decode_random_crops(
    encoded: tf.Tensor,
    seeds: tf.Tensor,
    size: int,
    antialias: bool = True,
    min_area: float = MIN_AREA,
) -> tf.Tensor:
    """Returns random crops of one image, resized: uint8 [V, size, size, 3].

    The image is decoded once, inside the smallest window that holds all crops; a grey one in one
    channel. A JPEG is decoded at a fraction of its size where all crops allow it, see `_factor`.

    Args:
      encoded: bytes of a JPEG, PNG, GIF or BMP, scalar string.
      seeds: stateless seeds, int [V, 2].
      size: px.
      antialias: see `resize`.
      min_area: share of the image that a crop covers at least.
    """

    views = range(seeds.shape[0])

    def draw(shape):
        windows = tf.stack(
            [random_crop_window(shape, seeds[v], size, antialias, min_area) for v in views]
        )
        return windows[:, :2], windows[:, 2:]  # top and left, height and width

    def from_jpeg():
        shape = tf.image.extract_jpeg_shape(encoded)
        begin, extent = draw(shape)
        halvings = _halvings(begin, extent, size) if antialias else tf.constant(0)
        unit = tf.bitwise.left_shift(1, halvings)
        begin, extent = begin // unit, extent // unit
        first = tf.maximum(tf.reduce_min(begin, axis=0) - _MARGIN, 0)
        last = tf.reduce_max(begin + extent, axis=0) + _MARGIN
        last = tf.minimum(last, -(-shape[:2] // unit))
        window = tf.concat([first, last - first], axis=0)
        return _decode_jpeg(encoded, window, halvings, antialias), begin - first, extent

    def from_other_format():
        pixels = tf.io.decode_image(encoded, channels=0, expand_animations=False)
        return pixels, *draw(tf.shape(pixels))

    pixels, begin, extent = tf.cond(tf.io.is_jpeg(encoded), from_jpeg, from_other_format)
    colours = tf.where(tf.shape(pixels)[-1:] < 3, 1, 3)  # without alpha
    resized = []
    for v in views:
        crop = tf.slice(pixels, tf.pad(begin[v], [[0, 1]]), tf.concat([extent[v], colours], 0))
        resized.append(_to_uint8(resize(crop[tf.newaxis], size, antialias)))
    shape = [len(views), size, size, 3]
    return tf.ensure_shape(tf.broadcast_to(tf.concat(resized, axis=0), shape), shape)


def _halvings(begin: tf.Tensor, extent: tf.Tensor, size: int) -> tf.Tensor:
    """Returns log2 of the fraction, 0 to 3, that a JPEG may be decoded at for crops [V, 2].

    All begin and end on a boundary of what is averaged, so that no pixel outside counts, and keep enough
    pixels. Decoded larger, a crop looks the same: the windows alone decide.
    """
    large = tf.reduce_min(extent) >= _enough(size) * _FACTORS
    edges = tf.concat([begin, extent], axis=0)[..., tf.newaxis]  # [2V, 2, 1]
    aligned = tf.reduce_all(edges % _FACTORS == 0, axis=[0, 1])
    return tf.reduce_sum(tf.cast(large & aligned, tf.int32))


def _enough(size: int) -> int:
    """Returns the shorter side that a crop keeps in a JPEG decoded smaller, px."""
    return max(_SPARE * size, _LEAST)


def _decode_jpeg(
    encoded: tf.Tensor, window: tf.Tensor, halvings: tf.Tensor, antialias: bool
) -> tf.Tensor:
    """Returns a window of a JPEG decoded at 1 / 2 ** halvings, uint8 [H, W, 1 or 3].

    Args:
      encoded: scalar string.
      window: top, left, height, width in the reduced picture, int32 [4].
      halvings: 0, 1, 2 or 3.
      antialias: with the accurate inverse DCT, see `_DCT`.
    """

    def decode_at(ratio):
        return lambda: tf.raw_ops.DecodeAndCropJpeg(
            contents=encoded,
            crop_window=window,
            channels=0,
            ratio=ratio,
            dct_method=_DCT[antialias],
        )

    return tf.switch_case(halvings, [decode_at(1), decode_at(2), decode_at(4), decode_at(8)])


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


def random_crop_window(
    shape: tf.Tensor,
    seed: tf.Tensor,
    size: int = 0,
    antialias: bool = False,
    min_area: float = MIN_AREA,
) -> tf.Tensor:
    """Returns [top, left, height, width], px, of a random crop of an image of `shape` [3].

    Of a large image, in any format, a crop with enough pixels at a half, a quarter or an eighth is
    drawn at multiples of 2, 4 or 8 px, less than half an output pixel, where a JPEG can be decoded
    smaller. Without `antialias`: to the pixel, as the reference draws.

    Args:
      shape: of the image, int [3].
      seed: stateless, int [2].
      size: of the output, px.
      antialias: allow such multiples.
      min_area: share of the image that the crop covers at least.
    """
    begin, extent, _ = tf.image.stateless_sample_distorted_bounding_box(
        shape,
        bounding_boxes=tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
        seed=seed,
        min_object_covered=MIN_OBJECT_COVERED,
        aspect_ratio_range=ASPECT_RATIO_RANGE,
        area_range=(min_area, 1.0),
        max_attempts=MAX_ATTEMPTS,
        use_image_if_no_bounding_boxes=True,
    )
    window = tf.concat([begin[:2], extent[:2]], axis=0)
    if not antialias:
        return window
    large = tf.reduce_min(extent[:2]) >= _enough(size) * _FACTORS
    grid = tf.bitwise.left_shift(1, tf.reduce_sum(tf.cast(large, tf.int32)))
    return window // grid * grid


def decode_center_crop(encoded: tf.Tensor, size: int, antialias: bool = True) -> tf.Tensor:
    """Returns the centre of the image, resized: float32 [size, size, 3] in [0, 1].

    Args:
      encoded: bytes of a JPEG, PNG, GIF or BMP, scalar string.
      size: px.
      antialias: see `resize`.
    """

    def from_jpeg():
        return tf.io.decode_jpeg(encoded, channels=3, dct_method=_DCT[antialias])

    def from_other_format():
        return tf.io.decode_image(encoded, channels=3, expand_animations=False)

    image = tf.cond(tf.io.is_jpeg(encoded), from_jpeg, from_other_format)
    return evaluation_view(image, size, antialias)


def evaluation_view(images: tf.Tensor, size: int, antialias: bool = True) -> tf.Tensor:
    """Returns images as evaluation shows them: float32 [..., size, size, 3] in [0, 1].

    The largest centred square times 0.875, resized; up to 32 px the whole image, resized.

    Args:
      images: one or a batch, uint8 or uint16 [..., H, W, 3].
      size: px.
      antialias: see `resize`.
    """
    images = center(images) if size > SMALLEST_CROPPED_SIZE else images
    batch = images if images.shape.rank == 4 else images[tf.newaxis]
    batch.set_shape([*batch.shape[:-1], 3])  # of decode_image only the rank is known
    if not antialias:  # of the 8 bits' fractions, as the reference's
        batch = tf.image.convert_image_dtype(batch, tf.float32)
    pixels = resize(batch, size, antialias) / (images.dtype.max if antialias else 1)
    pixels = tf.clip_by_value(pixels, 0.0, 1.0)
    return pixels if images.shape.rank == 4 else pixels[0]


def center(images: tf.Tensor) -> tf.Tensor:
    """Returns the largest centred square times 0.875 of images [..., H, W, 3]."""
    height, width = tf.unstack(tf.shape(images)[-3:-1])
    side = CENTER_CROP_PROPORTION * tf.cast(tf.minimum(height, width), tf.float32)
    side = tf.cast(tf.math.rint(side), tf.int32)
    top, left = (height - side + 1) // 2, (width - side + 1) // 2
    return images[..., top : top + side, left : left + side, :]
