"""Supervised fine-tuning at case level: all images of a case, one softmax or sigmoid loss for it."""

from __future__ import annotations

import tensorflow as tf

from simclr_med.losses import supervised


def draw_views(images: tf.Tensor, seed: tf.Tensor, max_images: int) -> tf.Tensor:
    """Returns the images of a case in random order, string [max_images], "" where it has fewer.

    Of a larger case a new random draw of `max_images` each time, as in the paper's "up to 6".

    Args:
      images: encoded, string [K].
      seed: stateless seed, int [2].
      max_images: places.
    """
    order = tf.argsort(tf.random.stateless_uniform(tf.shape(images), seed, alg="philox"))
    drawn = tf.gather(images, order)[:max_images]
    padded = tf.pad(drawn, [[0, max_images - tf.size(drawn)]], constant_values="")
    return tf.ensure_shape(padded, [max_images])


def loss(outputs: dict, batch: dict, *, class_weights: tf.Tensor | None = None, **_):
    """Returns (cross-entropy, metrics) of logits [b, classes], one row a case, over labelled cases."""
    value, accuracy = supervised(batch["label"], outputs["logits"], class_weights)
    return value, {"supervised_loss": value, "supervised_acc": accuracy}
