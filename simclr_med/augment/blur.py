"""Gaussian blur, batched, each image with its own sigma (the reference: one sigma per batch).

A separable blur is a banded matrix along each axis, so it is two batched matrix products: any
number of different kernels at once, on any accelerator. For an image by itself (the CPU) nine
tenths of these products would be with zeros: there it is a sum over shifted images.
"""

from __future__ import annotations

import tensorflow as tf

from simclr_med.augment.choose import change_where
from simclr_med.augment.draws import uniform

PROBABILITY = 0.5
SIGMA_RANGE = (0.1, 2.0)  # px, SimCLR appendix A


def radius_for(size: int) -> int:
    """Returns the kernel's radius for images of `size` px: a tenth of the side, made odd."""
    return (size // 10) // 2


def gaussian_blur(images: tf.Tensor, sigma: tf.Tensor, radius: int) -> tf.Tensor:
    """Returns blurred images; pixels outside count as 0, as convolution with SAME padding.

    Args:
      images: float32 [n, C, H, W].
      sigma: px, [n].
      radius: taps on either side of the centre.
    """
    kernel = _kernel(sigma, radius)
    if images.shape[0] == 1:
        return _blur_one(_blur_one(images, kernel[0], axis=3), kernel[0], axis=2)
    rows = _blur_matrix(images.shape[2], kernel)
    columns = _blur_matrix(images.shape[3], kernel)
    images = tf.einsum("nij,ncjw->nciw", rows, images)
    return tf.einsum("nij,nchj->nchi", columns, images)


def draw(seed: tf.Tensor, n: int) -> dict[str, tf.Tensor]:
    """Returns the parameters of n images: {"sigma": px [n], "blur": bool [n]}.

    Args:
      seed: stateless, int32 [2].
      n: number of images.
    """
    u = uniform((n, 2), seed)
    low, high = SIGMA_RANGE
    return {"sigma": low + u[:, 0] * (high - low), "blur": u[:, 1] < PROBABILITY}


def random_blur(images: tf.Tensor, parameters: dict[str, tf.Tensor]) -> tf.Tensor:
    """Returns the images, some of them blurred, clipped to [0, 1].

    Args:
      images: float32 [n, C, H, W] in [0, 1].
      parameters: from `draw`.
    """
    radius = radius_for(images.shape[2])

    def blurred(x):
        return tf.clip_by_value(gaussian_blur(x, parameters["sigma"], radius), 0.0, 1.0)

    return change_where(parameters["blur"], blurred, images)


def _kernel(sigma: tf.Tensor, radius: int) -> tf.Tensor:
    """Returns the taps, which sum to 1, [n, 2 radius + 1]."""
    taps = tf.range(-radius, radius + 1, dtype=tf.float32)
    kernel = tf.exp(-(taps**2) / (2.0 * sigma[:, tf.newaxis] ** 2))
    return kernel / tf.reduce_sum(kernel, axis=1, keepdims=True)


def _blur_one(image: tf.Tensor, kernel: tf.Tensor, axis: int) -> tf.Tensor:
    """Returns image [1, C, H, W] blurred along an axis by a kernel [2 radius + 1]."""
    radius, size = kernel.shape[0] // 2, image.shape[axis]
    margin = [[radius, radius] if a == axis else [0, 0] for a in range(4)]
    padded = tf.pad(image, margin)

    def shifted(by):
        window = [slice(None)] * axis + [slice(radius + by, radius + by + size)]
        return padded[tuple(window)]

    total = kernel[radius] * image
    for tap in range(1, radius + 1):
        total += kernel[radius + tap] * (shifted(-tap) + shifted(tap))
    return total


def _blur_matrix(size: int, kernel: tf.Tensor) -> tf.Tensor:
    """Returns [n, size, size]; row i holds the kernel [n, 2 radius + 1] centred at i."""
    radius = kernel.shape[1] // 2
    offset = tf.range(size)[:, tf.newaxis] - tf.range(size)[tf.newaxis, :] + radius
    inside = (offset >= 0) & (offset <= 2 * radius)
    return tf.where(inside, tf.gather(kernel, tf.where(inside, offset, 0), axis=1), 0.0)
