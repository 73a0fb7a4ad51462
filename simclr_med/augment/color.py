"""Colour jitter and greyscale, batched, each image with its own parameters.

Parity: google-research/simclr tf2/data_util.py (`color_jitter_rand`, 'simclrv2' brightness).
"""

from __future__ import annotations

import tensorflow as tf

BRIGHTNESS, CONTRAST, SATURATION, HUE = range(4)
JITTER_PROBABILITY = 0.8  # SimCLR, appendix A


def adjust_brightness(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns images * factor; images [n, H, W, 3], factor [n]."""
    return images * _per_image(factor)


def adjust_contrast(images: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Returns images moved away from their mean per channel by factor; [n, H, W, 3], [n]."""
    mean = tf.reduce_mean(images, axis=[1, 2], keepdims=True)
    return (images - mean) * _per_image(factor) + mean


def adjust_hsv(images: tf.Tensor, hue_delta: tf.Tensor, saturation: tf.Tensor) -> tf.Tensor:
    """Returns images with hue turned by `hue_delta` (1 is a full turn) and saturation scaled.

    images [n, H, W, 3] in [0, 1]; hue_delta, saturation [n].
    """
    hue, sat, value = tf.unstack(tf.image.rgb_to_hsv(images), axis=-1)
    hue = tf.math.floormod(hue + hue_delta[:, None, None], 1.0)
    sat = tf.clip_by_value(sat * saturation[:, None, None], 0.0, 1.0)
    return tf.image.hsv_to_rgb(tf.stack([hue, sat, value], axis=-1))


def to_grey(images: tf.Tensor) -> tf.Tensor:
    """Returns the luma of images [n, H, W, 3] in all three channels."""
    return tf.repeat(tf.image.rgb_to_grayscale(images), 3, axis=-1)


def draw(seed: tf.Tensor, n: int, strength: float, grey_probability: float) -> dict[str, tf.Tensor]:
    """Returns the random parameters of n images, from a stateless seed int32 [2].

    brightness, contrast and saturation factors U(max(0, 1 - 0.8 s), 1 + 0.8 s), hue U(-0.2 s,
    0.2 s) turns, order [n, 4] a random permutation, jitter and grey bool [n].
    """
    seeds = tf.unstack(tf.random.experimental.stateless_split(seed, 7))
    low, high = max(0.0, 1.0 - 0.8 * strength), 1.0 + 0.8 * strength

    def uniform(i, *bounds, shape=(n,)):
        return tf.random.stateless_uniform(shape, seeds[i], *bounds, alg="philox")

    return {
        "brightness": uniform(0, low, high),
        "contrast": uniform(1, low, high),
        "saturation": uniform(2, low, high),
        "hue": uniform(3, -0.2 * strength, 0.2 * strength),
        "order": tf.argsort(uniform(4, shape=(n, 4)), axis=-1),
        "jitter": uniform(5) < JITTER_PROBABILITY,
        "grey": uniform(6) < grey_probability,
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
    """Returns images [n, H, W, 3] with the four distortions in each image's own order.

    Clips to [0, 1] after each. In every round each image does one of the four; the two linear
    ones, and the two of HSV space, share one pass over the pixels.
    """
    for turn in range(4):
        op = order[:, turn]
        factor = tf.where(op == BRIGHTNESS, brightness, tf.where(op == CONTRAST, contrast, 1.0))
        pivot = _per_image(tf.cast(op == CONTRAST, images.dtype))
        pivot *= tf.reduce_mean(images, axis=[1, 2], keepdims=True)
        linear = (images - pivot) * _per_image(factor) + pivot
        hsv = adjust_hsv(
            images, tf.where(op == HUE, hue, 0.0), tf.where(op == SATURATION, saturation, 1.0)
        )
        in_hsv = (op == SATURATION) | (op == HUE)
        images = tf.clip_by_value(tf.where(_per_image(in_hsv), hsv, linear), 0.0, 1.0)
    return images


def distort_color(images: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns images [n, H, W, 3] jittered and turned grey where `draw`'s parameters say so."""
    parameters = dict(parameters)
    do_jitter, do_grey = parameters.pop("jitter"), parameters.pop("grey")
    images = tf.where(_per_image(do_jitter), jitter(images, **parameters), images)
    return tf.where(_per_image(do_grey), to_grey(images), images)


def _per_image(x: tf.Tensor) -> tf.Tensor:
    return x[:, None, None, None]
