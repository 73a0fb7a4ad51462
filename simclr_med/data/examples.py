"""Bags to examples that are still encoded: which images are drawn, in which order they come."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

_INT32_IDS, _INT64_IDS = 2**31 - 1, 2**63 - 1


def repeated(bags: tf.data.Dataset, repeats: int) -> tf.data.Dataset:
    """Returns the bags, those of several images `repeats` times, with "copy": which of them, int64."""

    def copies(bag):
        count = tf.where(tf.size(bag["images"]) > 1, repeats, 1)
        numbers = tf.data.Dataset.range(tf.cast(count, tf.int64))
        return numbers.map(lambda copy: {**bag, "copy": copy})

    return bags.flat_map(copies)


def draw(sample_images: Callable, seed: tf.Tensor, bag: dict) -> dict:
    """Returns what is kept of a bag: the images drawn, string [V], "" where a place stays empty."""
    of_bag = tf.strings.to_hash_bucket_fast(bag["bag_id"], _INT64_IDS)
    of_bag = fold(seed, of_bag)
    if "copy" in bag:  # the first draws what it would alone
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
    """Returns the examples in a random order that `key` and `epoch`, int64, decide; holds `buffer`.

    Not Dataset.shuffle: inside a flat_map its first seed serves every epoch, whatever it is given.
    The older op beneath takes the seed as it comes.
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
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))
