"""SimCLR: a positive pair is two augmentations of one image (Chen et al. 2020)."""

from __future__ import annotations

import tensorflow as tf

from simclr_med import losses


def draw_views(num_images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the only image of a bag of one twice, int32 [2]."""
    del num_images, seed
    return tf.constant([0, 0])


def loss(
    outputs: dict,
    batch: dict,
    *,
    temperature: float,
    hidden_norm: bool,
    nt_xent_chunk: int = 0,
    **_,
):
    """Returns (NT-Xent, metrics) of projections [2b, p], first views before second ones.

    Two images, or bags, of one patient are no negatives of each other. In SimCLR's code they are:
    there an image is its own patient, and nothing changes. X-rays of a patient lie side by side on
    disk, so half the images of a batch of 1,024 would have a false negative.

    `nt_xent_chunk` rows of logits are held at a time; 0: all.
    """
    z1, z2 = tf.split(outputs["projection"], 2)
    options = dict(temperature=temperature, normalize=hidden_norm, group_ids=batch["patient"])
    if nt_xent_chunk:
        value, accuracy, entropy = losses.nt_xent_in_chunks(z1, z2, **options, chunk=nt_xent_chunk)
    else:
        value, logits_ab, labels = losses.nt_xent(z1, z2, **options)
        accuracy = losses.contrastive_accuracy(logits_ab, labels)
        entropy = losses.contrastive_entropy(logits_ab)
    return value, {
        "contrast_loss": value,
        "contrast_acc": accuracy,
        "contrast_entropy": entropy,
    }
