"""SimCLR: a positive pair is two augmentations of one image (Chen et al. 2020).

An example is an image or, with --simclr_unit=bag, a bag that shows one of its images.
"""

from __future__ import annotations

import tensorflow as tf

from simclr_med import losses
from simclr_med.training.methods import micle


def sample_images(num_images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the index of the only image of a bag of one, twice, int32 [2]; the arguments are unused."""
    del num_images, seed
    return tf.constant([0, 0])


def sample_image_of_bag(num_images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Returns the index of one image of a bag, twice, int32 [2]: both views are crops of that image.

    It is the first image of the pair that MICLe samples with the same seed, so that the two methods
    differ in the second view only.

    Args:
      num_images: of the bag, int [], at least 1.
      seed: stateless seed, int [2].
    """
    return tf.repeat(micle.sample_images(num_images, seed)[:1], 2)


def loss(
    outputs: dict,
    batch: dict,
    *,
    temperature: float,
    hidden_norm: bool,
    nt_xent_chunk: int = 0,
    same_patient_negatives: str = "mask",
    **_,
):
    """Returns (NT-Xent, metrics) of projections [2b, p], first views before second ones.

    In the paper's Eq. (1) every other view is a negative, as with `same_patient_negatives` "keep".
    "mask" leaves other images, or bags, of the same patient out of the denominator: X-rays of
    a patient are stored side by side, so half the images of a batch of 1,024 would have a false
    negative. Where each image is its own patient, as in SimCLR's code, the two are one.

    The metrics say how many negatives a view really had, and the loss (a + b) and accuracy of
    chance with that number.

    Args:
      outputs: of the model, with "projection".
      batch: with "patient", int32 [b].
      temperature: of the softmax, above 0.
      hidden_norm: whether projections are scaled to length 1.
      nt_xent_chunk: rows of logits in memory at a time; 0: all.
      same_patient_negatives: "mask" or "keep".
    """
    z1, z2 = tf.split(outputs["projection"], 2)
    groups = batch["patient"] if same_patient_negatives == "mask" else None
    options: dict = dict(temperature=temperature, normalize=hidden_norm, group_ids=groups)
    if nt_xent_chunk:
        value, accuracy, entropy = losses.nt_xent_in_chunks(z1, z2, **options, chunk=nt_xent_chunk)
    else:
        value, logits_ab, labels = losses.nt_xent(z1, z2, **options)
        accuracy = losses.contrastive_accuracy(logits_ab, labels)
        entropy = losses.contrastive_entropy(logits_ab)
    pairs = losses.negative_pairs(z1.shape[0], groups)  # [b]
    return value, {
        "contrast_loss": value,
        "contrast_acc": accuracy,
        "contrast_entropy": entropy,
        "contrast_negatives": tf.reduce_mean(2 * pairs),
        "contrast_chance_loss": tf.reduce_mean(2 * tf.math.log1p(2 * pairs)),
        "contrast_chance_acc": tf.reduce_mean(1 / (1 + pairs)),  # among second views
    }
