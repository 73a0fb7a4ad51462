"""Augmentation: crops and rotation on the host, one image at a time; the rest on the device.

The device side works on a batch of views and takes its random parameters from one stateless seed
for the *global* batch, of which a replica uses its own rows: the same batch is augmented alike on
any number of replicas.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from simclr_med.augment import blur, color, flip


def device_ops(
    *, color_jitter_strength: float, use_blur: bool, grayscale_probability: float = 0.2
) -> dict[str, tuple]:
    """Returns {name: (draw, apply)} in the order of application.

    draw(seed int32 [2], n) gives a dict of tensors [n, ...]; apply(images [m, H, W, 3], dict of
    tensors [m, ...]) gives images in [0, 1].
    """
    ops: dict[str, tuple[Callable, Callable]] = {"flip": (flip.draw, flip.random_flip)}
    if color_jitter_strength > 0 or grayscale_probability > 0:

        def draw_color(seed, n):
            return color.draw(seed, n, color_jitter_strength, grayscale_probability)

        ops["color"] = (draw_color, color.distort_color)
    if use_blur:
        ops["blur"] = (blur.draw, blur.random_blur)
    return ops


def augment_views(
    images: tf.Tensor,
    ops: dict[str, tuple],
    seed: tf.Tensor,
    *,
    replica: tf.Tensor | int = 0,
    num_replicas: int = 1,
    real: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns the examples' views, augmented: float32 [V b, H, W, 3], first views, then second.

    Args:
      images: uint8 [b, V, H, W, 3], V views an example (pretraining 2).
      ops: from `device_ops`.
      seed: int32 [2], the same on every replica, another at every step.
      replica: this replica's number.
      num_replicas: R.
      real: bool [b, V]; other views are left out, so that n <= V b remain. None: all are real.
    """
    b, views, *size = images.shape
    images = tf.reshape(tf.transpose(images, [1, 0, 2, 3, 4]), [views * b, *size])  # [Vb, H, W, 3]
    of_real = (
        None if real is None else tf.reshape(tf.where(tf.reshape(tf.transpose(real), [-1])), [-1])
    )
    if of_real is not None:
        images = tf.gather(images, of_real)  # [n, H, W, 3]
    images = tf.cast(images, tf.float32) / 255.0

    def mine(x):  # [V R b, ...] of the global batch -> [V b, ...]
        rest = x.shape[1:]
        x = tf.reshape(x, [views, num_replicas, b, *rest])
        x = tf.reshape(tf.gather(x, replica, axis=1), [views * b, *rest])
        return x if of_real is None else tf.gather(x, of_real)

    for number, (draw, apply) in enumerate(ops.values()):
        parameters = draw(fold_in(seed, number), views * num_replicas * b)
        images = apply(images, {name: mine(value) for name, value in parameters.items()})
    return images


def fold_in(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """Returns a new stateless seed, int32 [2], for use `number` of `seed`."""
    return tf.random.experimental.stateless_fold_in(seed, number)
