"""Gaussian blur, batched, each image with its own sigma (the reference: one sigma per batch).

A separable blur is a banded matrix along each axis, so it is two batched matrix products: any
number of different kernels at once, on any device, under XLA.
"""

from __future__ import annotations

import tensorflow as tf

PROBABILITY = 0.5
SIGMA_RANGE = (0.1, 2.0)  # px, SimCLR appendix A


def radius_for(size: int) -> int:
    """Returns the kernel's radius for images of `size` px: a tenth of the side, made odd."""
    return (size // 10) // 2


def gaussian_blur(images: tf.Tensor, sigma: tf.Tensor, radius: int) -> tf.Tensor:
    """Returns blurred images; pixels outside count as 0, as convolution with SAME padding.

    Args:
      images: float [n, H, W, C].
      sigma: px, [n].
      radius: taps on either side of the centre.
    """
    rows = _blur_matrix(images.shape[1], sigma, radius)
    columns = _blur_matrix(images.shape[2], sigma, radius)
    images = tf.einsum("nij,njwc->niwc", rows, images)
    return tf.einsum("nij,nhjc->nhic", columns, images)


def draw(seed: tf.Tensor, n: int) -> dict[str, tf.Tensor]:
    """Returns {"sigma": [n] px, "blur": bool [n]} from a stateless seed int32 [2]."""
    u = tf.random.stateless_uniform((n, 2), seed, alg="philox")
    low, high = SIGMA_RANGE
    return {"sigma": low + u[:, 0] * (high - low), "blur": u[:, 1] < PROBABILITY}


def random_blur(images: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns images [n, H, W, C] blurred where `draw`'s parameters say so, clipped to [0, 1]."""
    blurred = gaussian_blur(images, parameters["sigma"], radius_for(images.shape[1]))
    chosen = tf.where(parameters["blur"][:, None, None, None], blurred, images)
    return tf.clip_by_value(chosen, 0.0, 1.0)


def _blur_matrix(size: int, sigma: tf.Tensor, radius: int) -> tf.Tensor:
    """Returns [n, size, size]; row i holds the kernel centred at i."""
    offset = tf.range(size)[:, None] - tf.range(size)[None, :]
    squared = tf.cast(offset * offset, tf.float32)
    kernel = tf.exp(-squared[None] / (2.0 * sigma[:, None, None] ** 2))
    kernel = tf.where(tf.abs(offset)[None] <= radius, kernel, 0.0)
    taps = tf.cast(tf.range(-radius, radius + 1), tf.float32)
    total = tf.reduce_sum(tf.exp(-(taps**2)[None] / (2.0 * sigma[:, None] ** 2)), axis=-1)
    return kernel / total[:, None, None]
