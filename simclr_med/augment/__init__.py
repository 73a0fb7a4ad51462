"""Augmentation: crops on the host, one image at a time (`crop.py`); the rest on the device.

The device side works on a batch of views and takes its random parameters from one stateless seed
for the *global* batch, of which a replica uses its own rows: the same batch is augmented alike on
any number of replicas.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import tensorflow as tf

from simclr_med import distribution
from simclr_med.augment import blur, color, flip, rotation

Parameters = dict[str, dict[str, tf.Tensor]]  # of each op, [n, ...]


def device_ops(
    *,
    color_jitter_strength: float,
    use_blur: bool,
    grayscale_probability: float = 0.2,
    rotation_degrees: float = 0.0,
) -> dict[str, tuple]:
    """Returns {name: (number, draw, apply)} in the order of application.

    `number` makes its seed differ from those of the others. draw(seed int32 [2], n) gives a dict of
    tensors [n, ...]; apply(planes float32 [n, 3, H, W] in [0, 1], that dict) gives planes in [0, 1].
    "rotate" comes first and is applied to pixels, uint8 [n, H, W, 3].

    Args:
      color_jitter_strength: s of `color.draw`; 0: no jitter.
      use_blur: blur half of the views.
      grayscale_probability: of a view.
      rotation_degrees: largest angle; 0: no rotation.
    """
    ops: dict[str, tuple[int, Callable, Callable]] = {}
    if rotation_degrees > 0:
        draw_angle = functools.partial(rotation.draw, degrees=rotation_degrees)
        ops["rotate"] = (3, draw_angle, rotation.random_rotate)
    ops["flip"] = (0, flip.draw, flip.random_flip)
    if color_jitter_strength > 0 or grayscale_probability > 0:
        draw_color = functools.partial(
            color.draw, strength=color_jitter_strength, grey_probability=grayscale_probability
        )
        ops["color"] = (1, draw_color, color.distort_color)
    if use_blur:
        ops["blur"] = (2, blur.draw, blur.random_blur)
    return ops


def augment_views(
    images: tf.Tensor,
    ops: dict[str, tuple],
    seed: tf.Tensor,
    *,
    replica: tf.Tensor | int = 0,
    num_replicas: int = 1,
    valid: tf.Tensor | None = None,
) -> tf.Tensor:
    """Returns the examples' views, augmented: float32 [V b, H, W, 3], first views, then second.

    Args:
      images: uint8 [b, V, H, W, 3], V views an example (pretraining 2).
      ops: from `device_ops`.
      seed: int32 [2], the same on every replica, another at every step.
      replica: this replica's number.
      num_replicas: R.
      valid: bool [b, V]; padding (False) is left out, so that n <= V b views remain. None: all.
    """
    b, views, *size = images.shape
    images = tf.reshape(tf.transpose(images, [1, 0, 2, 3, 4]), [views * b, *size])  # [Vb, H, W, 3]

    def own_rows(x):  # [V R b, ...] of the global batch -> [V b, ...]
        rest = x.shape[1:]
        x = tf.reshape(x, [views, num_replicas, b, *rest])
        return tf.reshape(tf.gather(x, replica, axis=1), [views * b, *rest])

    parameters = {
        name: {
            key: own_rows(value)
            for key, value in draw(fold_in(seed, number), views * num_replicas * b).items()
        }
        for name, (number, draw, _) in ops.items()
    }
    keep = None if valid is None else tf.reshape(tf.transpose(valid), [-1])  # bool [Vb]
    # XLA makes one pass over memory of the many small ones; in TensorFlow's own ops the CPU takes
    # ten times as long. Compiling takes a second, which is worth it in a function only.
    if distribution.on_cpu() and tf.inside_function():
        if keep is None:
            keep = tf.ones([views * b], tf.bool)
        apply = tf.function(functools.partial(_one_by_one, ops), jit_compile=True)
        count = tf.reduce_sum(tf.cast(keep, tf.int32))
        order = tf.argsort(tf.cast(~keep, tf.int32), stable=True)  # the valid ones first
        augmented = apply(images, parameters, order, count)
        return augmented if valid is None else augmented[:count]
    if keep is not None:
        images, parameters = tf.nest.map_structure(lambda x: x[keep], (images, parameters))
    return _apply_to_batch(ops, images, parameters)


def _apply_to_batch(ops: dict[str, tuple], images: tf.Tensor, parameters: Parameters) -> tf.Tensor:
    """Returns pixels uint8 [n, H, W, 3] with the ops applied, float32 [n, H, W, 3] in [0, 1]."""
    if "rotate" in ops:
        planes = ops["rotate"][2](images, parameters["rotate"])
    else:
        planes = tf.cast(tf.transpose(images, [0, 3, 1, 2]), tf.float32) / 255.0
    for name, (_, _, apply) in ops.items():
        if name != "rotate":
            planes = apply(planes, parameters[name])
    return tf.transpose(planes, [0, 2, 3, 1])


def _one_by_one(
    ops: dict[str, tuple],
    images: tf.Tensor,
    parameters: Parameters,
    order: tf.Tensor,
    count: tf.Tensor,
) -> tf.Tensor:
    """Returns what `_apply_to_batch` returns for images[order[:count]], with zeros after it.

    For the CPU: only the ops drawn for an image are computed, on one image at a time, which stays in the
    cache; and the shapes are the same for every `count`, so that XLA compiles once.
    """
    augmented = tf.TensorArray(tf.float32, size=images.shape[0], element_shape=images.shape[1:])

    def step(index, augmented):
        image_index = order[index][tf.newaxis]  # gathered: x[...] is recompiled for each index
        one_image = tf.nest.map_structure(lambda x: tf.gather(x, image_index), (images, parameters))
        return index + 1, augmented.write(index, _apply_to_batch(ops, *one_image)[0])

    return tf.while_loop(lambda index, _: index < count, step, [0, augmented])[1].stack()


def fold_in(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """Returns a new stateless seed, int32 [2].

    Args:
      seed: int32 [2].
      number: of the use; different numbers give independent seeds.
    """
    return tf.random.experimental.stateless_fold_in(seed, number, alg="philox")  # on any device
