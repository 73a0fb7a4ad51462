"""Turns bags into examples, still encoded: which images are sampled, and in which order."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_INT32_IDS, _INT64_IDS = 2**31 - 1, 2**63 - 1


def repeated(bags: tf.data.Dataset, repeats: int) -> tf.data.Dataset:
    """Returns the bags, those of several images `repeats` times.

    Args:
      bags: dataset of `Bags`.
      repeats: of a bag of at least two images; each has "copy", int64 [], its number from 0.
    """

    def copies(bag):
        count = tf.where(tf.size(bag["images"]) > 1, repeats, 1)
        numbers = tf.data.Dataset.range(tf.cast(count, tf.int64))
        return numbers.map(lambda copy: {**bag, "copy": copy})

    return bags.flat_map(copies)


def draw(sample_images: Callable, seed: tf.Tensor, bag: dict) -> dict:
    """Returns the example of a bag: {"images": string [V], "label", "patient"} and its "differential".

    Args:
      sample_images: (number of images, seed int [2]) to the indices of V images, int32 [V]; -1 for none.
      seed: stateless seed, int [2].
      bag: element of a `Bags.dataset`, with or without "copy". A view without an image is "".
    """
    of_bag = tf.strings.to_hash_bucket_fast(bag["bag_id"], _INT64_IDS)
    of_bag = fold(seed, of_bag)
    if "copy" in bag:  # the first copy draws as a bag without copies
        of_copy = fold(of_bag, bag["copy"])
        of_bag = tf.where(bag["copy"] > 0, of_copy, of_bag)
    drawn = sample_images(tf.size(bag["images"]), of_bag)
    images = tf.where(drawn < 0, "", tf.gather(bag["images"], tf.maximum(drawn, 0)))
    kept = {"images": images, "label": bag["label"], "patient": _patient(bag)}
    return kept | ({"differential": bag["differential"]} if "differential" in bag else {})


def split(bag: dict) -> dict:
    """Returns the images of a bag, each an example of its own, [K, ...]."""
    k = tf.shape(bag["images"])
    label = bag["label"][tf.newaxis]
    return {
        "images": bag["images"],
        "label": tf.repeat(label, k, axis=0),
        "patient": tf.fill(k, _patient(bag)),
    }


def _patient(bag: dict) -> tf.Tensor:
    """Returns a hash of the patient's id: two patients collide with probability 5e-10."""
    return tf.cast(tf.strings.to_hash_bucket_fast(bag["patient_id"], _INT32_IDS), tf.int32)


def shuffle(examples: tf.data.Dataset, buffer: int, key: tf.Tensor, epoch: tf.Tensor):
    """Returns the examples in a random order.

    Not Dataset.shuffle: inside a flat_map its first seed serves every epoch, whatever it is given.
    The older op beneath takes the seed as it comes.

    Args:
      examples: of one epoch.
      buffer: number of examples that are buffered.
      key, epoch: int64 [], which decide the order.
    """
    spec = examples.element_spec
    parts = tf.nest.flatten(spec)
    shuffled = tf.raw_ops.ShuffleDataset(
        input_dataset=tf.data.experimental.to_variant(examples),
        buffer_size=buffer,
        seed=key,
        seed2=epoch,
        reshuffle_each_iteration=False,
        output_types=[part.dtype for part in parts],
        output_shapes=[part.shape for part in parts],
    )
    return tf.data.experimental.from_variant(shuffled, spec)


def fold(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    """Returns a stateless seed, int [2], made from a seed, int [2], and a number, int []."""
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))
