"""Augmentation: crops and rotation on the host, one image at a time; the rest on the device.

The device side works on a batch of views and takes its random parameters from one stateless seed
for the *global* batch, of which a replica uses its own rows: the same batch is augmented alike on
any number of replicas.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from simclr_med.augment import blur, color, flip


def device_ops(*, color_jitter_strength: float, use_blur: bool) -> dict[str, tuple]:
    """Returns {name: (draw, apply)} in the order of application.

    draw(seed int32 [2], n) gives a dict of tensors [n, ...]; apply(images [m, H, W, 3], dict of
    tensors [m, ...]) gives images in [0, 1].
    """
    ops: dict[str, tuple[Callable, Callable]] = {"flip": (flip.draw, flip.random_flip)}
    if color_jitter_strength > 0:
        draw_color = lambda seed, n: color.draw(seed, n, color_jitter_strength)  # noqa: E731
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
) -> tf.Tensor:
    """Returns the pairs' views, augmented: float32 [2b, H, W, 3], first views, then second.

    Args:
      images: uint8 [b, V, H, W, 3], V views an example (pretraining 2, fine-tuning 1).
      ops: from `device_ops`.
      seed: int32 [2], the same on every replica, another at every step.
      replica: this replica's number.
      num_replicas: R.
    """
    b, views, *size = images.shape
    images = tf.transpose(images, [1, 0, 2, 3, 4])
    images = tf.reshape(tf.cast(images, tf.float32) / 255.0, [views * b, *size])  # [Vb, H, W, 3]

    def mine(x):  # [V R b, ...] of the global batch -> [V b, ...]
        rest = x.shape[1:]
        x = tf.reshape(x, [views, num_replicas, b, *rest])
        return tf.reshape(tf.gather(x, replica, axis=1), [views * b, *rest])

    for number, (draw, apply) in enumerate(ops.values()):
        parameters = draw(fold_in(seed, number), views * num_replicas * b)
        images = apply(images, {name: mine(value) for name, value in parameters.items()})
    return images


def fold_in(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """Returns a new stateless seed, int32 [2], for use `number` of `seed`."""
    return tf.random.experimental.stateless_fold_in(seed, number)
