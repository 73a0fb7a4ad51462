"""Supervised fine-tuning at case level: all images of a case, one softmax or sigmoid loss for it."""

from __future__ import annotations

import tensorflow as tf

from simclr_med.losses import supervised


def sample_images(num_images: tf.Tensor, seed: tf.Tensor, max_images: int) -> tf.Tensor:
    """Returns the images of a case in random order, int32 [max_images], -1 where it has fewer.

    Of a larger case a new random draw of `max_images` each time, as in the paper's "up to 6".

    Args:
      num_images: K, scalar.
      seed: stateless seed, int [2].
      max_images: places.
    """
    draws = tf.random.stateless_uniform(num_images[tf.newaxis], seed, alg="philox")
    drawn = tf.argsort(draws)[:max_images]
    padded = tf.pad(drawn, [[0, max_images - tf.size(drawn)]], constant_values=-1)
    return tf.ensure_shape(padded, [max_images])


def loss(outputs: dict, batch: dict, *, class_weights: tf.Tensor | None = None, **_):
    """Returns (cross-entropy, metrics) of logits [b, classes], one row a case, over labelled cases.

    A case's target is its differential where the batch has those, else its label.

    Args:
      outputs: of the model, with "logits".
      batch: with "label", and "differential" float32 [b, classes] where soft labels are used.
      class_weights: float32 [classes]; None: all count the same.
    """
    value, accuracy = supervised(
        batch["label"], outputs["logits"], class_weights, batch.get("differential")
    )
    return value, {"supervised_loss": value, "supervised_acc": accuracy}
