"""tf.data pipelines: bags of encoded images in, batches of pixels out. Host side.

Every random decision is a function of (seed, epoch, place in the epoch) alone, so a run that stops
at step s goes on at step s with the very batches it would have seen: `start_step` skips them
while they are still encoded bytes.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

from simclr_med.augment.crop import decode_center_crop, decode_random_crop
from simclr_med.augment.image_ops import random_rotate
from simclr_med.data.bags import Bags

_ORDER, _PAIR, _PIXELS = range(3)  # what a seed is folded for
_INT32_IDS = 2**31 - 1


def training_batches(
    bags: Bags,
    *,
    draw_views: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    keep_bags: bool,
    batch_size: int,
    image_size: int,
    seed: int,
    start_step: int = 0,
    shuffle_buffer: int = 10000,
    rotation_degrees: float = 0.0,
    cache: bool = False,
) -> tf.data.Dataset:
    """Returns an endless dataset of global batches, the first being that of `start_step`.

    Batches are full and run across the ends of epochs. An element is {"images": uint8 [B, V,
    image_size, image_size, 3], "real": bool [B, V], "label": int64 [B] or float32 [B, L] (see
    `Bags`), "patient": int32 [B]}. `real` says which places hold an image (others are black: a case
    that has fewer); `patient` is a hash of the patient's id (two patients collide with probability
    5e-10).

    Args:
      bags: the split.
      draw_views: (images string [K], seed int32 [2]) to the V encoded images to use, string [V], ""
        for a place that stays empty.
      keep_bags: an example is a bag (True) or an image, its own bag (False).
      batch_size: B.
      image_size: px.
      seed: of the run.
      start_step: batches to leave out.
      shuffle_buffer: examples held, encoded, to shuffle them; on disk they are shuffled already
        (chest X-rays: the patients are).
      rotation_degrees: largest rotation of a view.
      cache: keep the encoded split in memory.
    """
    examples = bags.dataset
    if cache:
        examples = examples.cache()
    if not keep_bags:
        examples = examples.flat_map(_split_bag)
    num_examples = bags.num_bags if keep_bags else bags.num_images
    start_epoch, start_place = divmod(start_step * batch_size, num_examples)
    root = tf.constant([seed, 0], tf.int32)

    def one_epoch(epoch):
        order = _fold(_fold(root, _ORDER), epoch)
        shuffled = _shuffle(examples, min(shuffle_buffer, num_examples), order)
        return shuffled.enumerate().map(lambda place, example: (epoch, place, example))

    def views(epoch, place, example):
        own = _fold(_fold(root, epoch), place)
        encoded = draw_views(example["images"], _fold(own, _PAIR))  # [V] string
        real = tf.strings.length(encoded) > 0

        def view(v):
            view_seed = _fold(_fold(own, _PIXELS), v)
            pixels = decode_random_crop(encoded[v], view_seed, image_size)
            if rotation_degrees > 0:
                pixels = random_rotate(pixels, _fold(view_seed, 1), rotation_degrees)
            return tf.image.convert_image_dtype(pixels, tf.uint8, saturate=True)

        black = tf.zeros([image_size, image_size, 3], tf.uint8)
        pixels = [
            tf.cond(real[v], lambda v=v: view(v), lambda: black) for v in range(encoded.shape[0])
        ]
        return {
            "images": tf.stack(pixels),
            "real": real,
            "label": example["label"],
            "patient": tf.cast(
                tf.strings.to_hash_bucket_fast(example["patient_id"], _INT32_IDS), tf.int32
            ),
        }

    epochs = tf.data.Dataset.range(start_epoch, tf.int64.max)
    options = tf.data.Options()
    options.deterministic = True
    return (
        epochs.flat_map(one_epoch)
        .skip(start_place)
        .map(views, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
        .with_options(options)
    )


def evaluation_batches(
    bags: Bags, *, batch_size: int, image_size: int, max_bag_size: int, max_bags: int, seed: int
) -> tf.data.Dataset:
    """Returns the images of a split, centre-cropped, in full batches.

    An element is {"images": float32 [B, image_size, image_size, 3] in [0, 1], "bag": int64 [B],
    "image": int32 [B]}; `bag` is the place of the image's bag in the split, -1 for the padding of the
    last batch, `image` its place in the bag.

    Args:
      bags: the split.
      batch_size: images in a batch.
      image_size: px.
      max_bag_size: a larger bag gives a random draw of this many images.
      max_bags: stop after so many bags; 0 means all.
      seed: of that draw.
    """
    root = tf.constant([seed, 0], tf.int32)
    numbered = bags.dataset.take(max_bags if max_bags else -1).enumerate()

    def images_of_bag(number, example):
        encoded = example["images"]
        draws = tf.random.stateless_uniform(tf.shape(encoded), _fold(root, number), alg="philox")
        drawn = tf.argsort(draws)[:max_bag_size]
        images = tf.data.Dataset.from_tensor_slices((tf.gather(encoded, drawn), drawn))
        return images.map(lambda e, image: (e, number, image))

    def decode(encoded, number, image):
        return {"images": decode_center_crop(encoded, image_size), "bag": number, "image": image}

    padding = tf.data.Dataset.from_tensors(
        {
            "images": tf.zeros([image_size, image_size, 3]),
            "bag": tf.constant(-1, tf.int64),
            "image": tf.constant(-1),
        }
    ).repeat(batch_size - 1)
    images = numbered.flat_map(images_of_bag).map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return images.concatenate(padding).batch(batch_size, drop_remainder=True).prefetch(2)


def _shuffle(examples: tf.data.Dataset, buffer: int, seed: tf.Tensor) -> tf.data.Dataset:
    """Returns the examples in a random order that `seed`, int32 [2], decides, buffer by buffer.

    Not Dataset.shuffle: inside a flat_map its first seed serves every epoch, whatever it is given.
    """

    def permute(number, held):
        draws = tf.random.stateless_uniform(
            tf.shape(held["bag_id"]), _fold(seed, number), alg="philox"
        )
        order = tf.argsort(draws)
        held = {name: tf.gather(value, order) for name, value in held.items()}
        return tf.data.Dataset.from_tensor_slices(held)

    return examples.ragged_batch(buffer).enumerate().flat_map(permute)


def _split_bag(bag: dict) -> tf.data.Dataset:
    """Returns the bags of one image that a bag's images make."""
    images = bag["images"]
    k = tf.shape(images)[0]
    repeated = {
        name: tf.repeat(bag[name][tf.newaxis], k, axis=0)
        for name in ("bag_id", "patient_id", "label")
    }
    return tf.data.Dataset.from_tensor_slices({**repeated, "images": images[:, tf.newaxis]})


def _fold(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))
