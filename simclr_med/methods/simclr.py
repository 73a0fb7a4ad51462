"""SimCLR: a positive pair is two augmentations of one image (Chen et al. 2020)."""

from __future__ import annotations

import tensorflow as tf

from simclr_med.losses import contrastive_accuracy, contrastive_entropy, nt_xent


def draw_views(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the only image of `images` [1] twice, string [2]."""
    del seed
    return tf.ensure_shape(tf.repeat(images[:1], 2), [2])


def loss(outputs: dict, batch: dict, *, temperature: float, hidden_norm: bool, **_):
    """Returns (NT-Xent, metrics) of projections [2b, p], first views before second ones.

    Two images, or bags, of one patient are no negatives of each other. In SimCLR's code they are:
    there an image is its own patient, and nothing changes. X-rays of a patient lie side by side on
    disk, so half the images of a batch of 1,024 would have a false negative.
    """
    z1, z2 = tf.split(outputs["projection"], 2)
    value, logits_ab, labels = nt_xent(
        z1, z2, temperature=temperature, normalize=hidden_norm, group_ids=batch["patient"]
    )
    return value, {
        "contrast_loss": value,
        "contrast_acc": contrastive_accuracy(logits_ab, labels),
        "contrast_entropy": contrastive_entropy(logits_ab),
    }
