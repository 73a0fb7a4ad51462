"""Colour jitter and greyscale, batched, each image with its own parameters.

Images are planes here, [n, 3, H, W], so that a row of one channel is one stretch of memory. Hue and
saturation do without HSV: with v the largest and v - c the smallest channel of a pixel, both change
a channel's distance v - x, which is in [0, c], and nothing else.

Parity: google-research/simclr tf2/data_util.py (`color_jitter_rand`, 'simclrv2' brightness).
"""

from __future__ import annotations

import tensorflow as tf

from simclr_med.augment.choose import change_by, change_where, per_image
from simclr_med.augment.draws import uniform

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
JITTER_PROBABILITY = 0.8  # SimCLR, appendix A
LUMA = (0.2989, 0.587, 0.114)  # of tf.image.rgb_to_grayscale


def adjust_brightness(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns images * factor; images [n, 3, H, W], factor [n]."""
    return images * per_image(factor)


def adjust_contrast(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns images moved away from their mean per channel by factor; [n, 3, H, W], [n]."""
    mean = tf.reduce_mean(images, axis=[2, 3], keepdims=True)
    return (images - mean) * per_image(factor) + mean


def adjust_saturation(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns images [n, 3, H, W] in [0, 1], the saturation c / v scaled by factor [n], up to 1."""
    v, c = _value_and_chroma(images)
    largest = v / tf.maximum(c, 1e-12)  # grey has c = 0, where v - images is 0 too
    return v - (v - images) * tf.minimum(per_image(factor), largest)


def adjust_hue(images: tf.Tensor, delta: tf.Tensor) -> tf.Tensor:
    """Returns images [n, 3, H, W] in [0, 1] with the hue rotated by `delta` [n], 1 a full turn.

    In sixths of a turn, the distance of a channel is c max(0, min(k, 4 - k, 1)) where
    k = (hue + 5, 3 or 1) mod 6 for red, green or blue. Here k comes multiplied by c, which spares
    the division of which grey pixels have no result.
    """
    v, c = _value_and_chroma(images)
    red, green, blue = tf.split(images, 3, axis=1)  # [n, 1, H, W]
    hue = tf.where(  # times c, in [-c, 5 c]
        v == red,
        green - blue,
        tf.where(v == green, blue - red + 2.0 * c, red - green + 4.0 * c),
    )
    rotated = tf.math.floormod(tf.constant([5.0, 3.0, 1.0]) + 6.0 * delta[:, tf.newaxis], 6.0)
    k = hue + rotated[:, :, tf.newaxis, tf.newaxis] * c  # in [-c, 11 c)
    k = tf.where(k >= 6.0 * c, k - 6.0 * c, k)
    return v - tf.clip_by_value(tf.minimum(k, 4.0 * c - k), 0.0, c)


def to_grey(images: tf.Tensor) -> tf.Tensor:
    """Returns the luma of images [n, 3, H, W] in all three channels."""
    red, green, blue = tf.split(images, 3, axis=1)
    return tf.repeat(LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue, 3, axis=1)


def draw(seed: tf.Tensor, n: int, strength: float, grey_probability: float) -> dict[str, tf.Tensor]:
    """Returns the random parameters of n images, from a stateless seed int32 [2].

    brightness, contrast and saturation factors U(max(0, 1 - 0.8 s), 1 + 0.8 s), hue U(-0.2 s,
    0.2 s) turns, order [n, 4] a random permutation, jitter and grey bool [n].

    Args:
      seed: stateless, int32 [2].
      n: number of images.
      strength: s.
      grey_probability: of converting an image to greyscale.
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 7, alg="philox"))
    low, high = max(0.0, 1.0 - 0.8 * strength), 1.0 + 0.8 * strength

    def sample(i, *bounds, shape=(n,)):
        return uniform(shape, seeds[i], *bounds)

    return {
        "brightness": sample(0, low, high),
        "contrast": sample(1, low, high),
        "saturation": sample(2, low, high),
        "hue": sample(3, -0.2 * strength, 0.2 * strength),
        "order": tf.argsort(sample(4, shape=(n, 4)), axis=-1),
        "jitter": sample(5) < JITTER_PROBABILITY,
        "grey": sample(6) < grey_probability,
    }


def jitter(
    images: tf.Tensor,
    *,
    brightness: tf.Tensor,
    contrast: tf.Tensor,
    saturation: tf.Tensor,
    hue: tf.Tensor,
    order: tf.Tensor,
) -> tf.Tensor:
    """Returns the images after four colour distortions, in a random order for each image.

    Clips to [0, 1] after each. In every round each image undergoes one of the four.

    Args:
      images: float32 [n, 3, H, W] in [0, 1].
      brightness, contrast, saturation: factors, [n].
      hue: in turns, [n].
      order: of the distortions, a permutation of 0..3 for each image, int [n, 4].
    """
    changes = [
        lambda x: adjust_brightness(x, brightness),
        lambda x: adjust_contrast(x, contrast),
        lambda x: adjust_saturation(x, saturation),
        lambda x: adjust_hue(x, hue),
    ]

    def one_round(turn, images):
        changed = change_by(order[:, turn], changes, images)
        return turn + 1, tf.clip_by_value(changed, 0.0, 1.0)

    # A loop, not four copies: these took XLA 8 s to compile, the loop takes 0.5 s.
    return tf.while_loop(lambda turn, _: turn < 4, one_round, [0, images])[1]


def distort_color(images: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns the images, some of them jittered, some converted to greyscale.

    Args:
      images: float32 [n, 3, H, W] in [0, 1].
      parameters: from `draw`.
    """
    parameters = dict(parameters)
    do_jitter, do_grey = parameters.pop("jitter"), parameters.pop("grey")
    images = change_where(do_jitter, lambda x: jitter(x, **parameters), images)
    return change_where(do_grey, to_grey, images)


def _value_and_chroma(images: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the largest channel v, and the largest less the smallest c, [n, 1, H, W] each."""
    red, green, blue = tf.split(images, 3, axis=1)
    v = tf.maximum(red, tf.maximum(green, blue))
    return v, v - tf.minimum(red, tf.minimum(green, blue))
