"""Which images of a batch are changed, and by which of several changes.

A batch computes every change for every image and selects: that is what accelerators are good at. A
batch of one image branches, and computes only what is selected: `augment_views` gives the CPU its
images one by one for that, and because one image stays in the cache from change to change.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

Change = Callable[[tf.Tensor], tf.Tensor]


def change_where(condition: tf.Tensor, change: Change, images: tf.Tensor) -> tf.Tensor:
    """Returns the images, changed where the condition is true.

    Args:
      condition: bool [n].
      change: of images [n, C, H, W], to the same shape.
      images: [n, C, H, W].
    """
    if images.shape[0] == 1:
        return tf.cond(condition[0], lambda: change(images), lambda: images)
    return tf.where(per_image(condition), change(images), images)


def change_by(index: tf.Tensor, changes: list[Change], images: tf.Tensor) -> tf.Tensor:
    """Returns the images, each changed by `changes[index]`.

    Args:
      index: of each image's change, int32 [n].
      changes: of images [n, C, H, W], to the same shape.
      images: [n, C, H, W].
    """
    if images.shape[0] == 1:
        return tf.switch_case(index[0], [lambda c=change: c(images) for change in changes])
    changed = changes[0](images)
    for number, change in enumerate(changes[1:], start=1):
        changed = tf.where(per_image(index == number), change(images), changed)
    return changed


def per_image(x: tf.Tensor) -> tf.Tensor:
    """Returns x [n] as [n, 1, 1, 1], which broadcasts against images."""
    return x[:, tf.newaxis, tf.newaxis, tf.newaxis]
