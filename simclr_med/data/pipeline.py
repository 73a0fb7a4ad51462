"""tf.data pipelines: bags of encoded images in, batches of pixels out. Host side.

Every random decision is a function of (seed, stream, epoch, place in the epoch) alone, so a run that
stops at step s goes on at step s with the very batches it would have seen: `start_step` skips them
while they are still encoded bytes. Streams: see `data.streams`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import joblib
import numpy as np
import tensorflow as tf

from simclr_med.augment.crop import MIN_AREA, decode_center_crop, decode_random_crops
from simclr_med.data.bags import Bags
from simclr_med.data.examples import draw, fold, repeated, shuffle, split
from simclr_med.data.streams import Streams, numbered_examples, streams_of

# Of a seed: the order of examples, the pair of a bag, the crops. Below 0, because evaluation folds the
# numbers of bags into the same root.
_USES = (-1, -2, -3)
# How a seed decides batches; runs that began with another number go on with it. 1: see `_keys`. 2: one
# stream of every split, as 3 has it of a split in one file.
DATA_ORDER = 3


def training_batches(
    bags: Bags,
    *,
    sample_images: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
    keep_bags: bool,
    batch_size: int,
    image_size: int,
    antialias: bool = True,
    crop_min_area: float = MIN_AREA,
    seed: int,
    start_step: int = 0,
    shuffle_buffer: int = 10000,
    cache: bool = False,
    part: tuple[int, int] = (0, 1),
    data_order: int = DATA_ORDER,
    repeats: int = 1,
    num_streams: int | None = None,
) -> tf.data.Dataset:
    """Returns an endless dataset of global batches, the first being that of `start_step`.

    A batch is B / S examples of each of the S streams of the split, one after the other. A stream is
    a fixed part of it, read over and over without an end, shuffled again each time: each of its
    examples appears once in every `length` that follow one another from its start on. Streams are
    equally long, but for one example (or the images of one bag), so this is an epoch of the split up
    to those. With one stream it is exactly that.

    Batches are full and run across the ends of epochs. An element is {"images": uint8 [B, V,
    image_size, image_size, 3], "real": bool [B, V], "label": int64 [B] or float32 [B, L] (see
    `Bags`), "patient": int32 [B]}, and of bags that have it "differential", float32
    [B, classes]. `real` says which places hold an image (others are black: a case that has fewer);
    `patient` is a hash of the patient's id (two patients collide with probability
    5e-10).

    Args:
      bags: the split.
      sample_images: (number of images in the bag, seed int32 [2]) to the images to use, int32 [V], -1
        for a place that stays empty.
      keep_bags: an example is a bag (True) or an image, its own bag (False).
      batch_size: B.
      image_size: px.
      antialias: see `augment.resize`.
      crop_min_area: share of an image that a crop covers at least.
      seed: of the run.
      start_step: batches to leave out. Of a stream's epochs before, nothing is read; of the one in
        which it goes on, what comes before is read, encoded, since it decides what the buffer holds.
      shuffle_buffer: examples held, encoded, to shuffle them, by all streams together; on disk they
        are shuffled already (chest X-rays: the patients are).
      cache: keep the encoded split, or the streams that are read of it, in memory.
      part: (i, n): only part i of n consecutive parts of each global batch, [B / n, ...]. The streams
        that it is of are read, and no other; a stream that is another part's too is read by both.
      data_order: how `seed` decides, DATA_ORDER or, of a run that began before, 1 or 2.
      repeats: how often an epoch has each bag of several images, with a draw of its own each time; above
        1 with `keep_bags`, and `bags.num_multi` counted.
      num_streams: S, of a run that has begun; None: see `streams_of`. Always 1 of a `data_order` below 3.
    """
    num_examples = examples_per_epoch(bags, keep_bags, repeats)
    if data_order < 3:
        num_streams = 1
    streams = streams_of(bags, num_examples, batch_size, keep_bags, repeats, num_streams)
    order, pair, pixels = _keys(seed, data_order)
    num_views = int(sample_images(tf.constant(1), tf.constant([seed, 0])).shape[0])
    own, size = streams.of_part(part), batch_size // part[1]
    buffers = np.minimum(-(-shuffle_buffer // streams.count), streams.lengths)

    def epochs_of(stream):
        examples = _open(bags, streams, stream)
        if cache:
            examples = examples.cache()

        def one_epoch(epoch):
            if keep_bags:
                drawn = functools.partial(draw, sample_images, tf.stack([pair, epoch]))
                buffered = (repeated(examples, repeats) if repeats > 1 else examples).map(drawn)
            else:
                buffered = examples.map(split).unbatch()
            number = epoch * streams.count + stream  # of this epoch of this stream, among all
            return shuffle(buffered, tf.gather(buffers, stream), order, number)

        return one_epoch

    def is_mine(number, example):
        del example
        return number % batch_size // size == part[0]

    def decode(number, example):  # the number counts on from epoch to epoch
        seeds = tf.random.stateless_uniform(
            [num_views, 2], tf.stack([pixels, number]), None, None, tf.int32, "philox"
        )
        crops = functools.partial(
            decode_random_crops, size=image_size, antialias=antialias, min_area=crop_min_area
        )
        return _with_pixels(example, seeds, crops, image_size)

    options = _options()
    options.deterministic = True
    options.threading.max_intra_op_parallelism = 1  # elements are enough to do at a time
    numbered = numbered_examples(streams, own, epochs_of, batch_size, start_step)
    return (
        (numbered if len(own) * batch_size == size * streams.count else numbered.filter(is_mine))
        .map(decode, num_parallel_calls=joblib.cpu_count())
        .batch(size, drop_remainder=True)
        .prefetch(2)  # the default buffers more and more large batches
        .with_options(options)
    )


def _open(bags: Bags, streams: Streams, stream: tf.Tensor) -> tf.data.Dataset:
    """Returns the bags of a stream, as they are stored."""
    if bags.pieces is None or streams.count == 1:
        return bags.dataset
    return bags.pieces.open(tf.gather(streams.cuts, stream), tf.gather(streams.cuts, stream + 1))


def examples_per_epoch(bags: Bags, keep_bags: bool, repeats: int = 1) -> int:
    """Returns the number of examples of an epoch.

    Args:
      bags: those that are trained on.
      keep_bags: an example is a bag (True), or an image.
      repeats: of each bag of several images; above 1 `bags.num_multi` has to be known.
    """
    if not keep_bags:
        return bags.num_images
    if repeats == 1:
        return bags.num_bags
    if bags.num_multi is None:
        raise ValueError("Bags of several images are repeated, and were not counted.")
    return bags.num_bags + (repeats - 1) * bags.num_multi


def evaluation_batches(
    bags: Bags,
    *,
    batch_size: int,
    image_size: int,
    max_bag_size: int,
    max_bags: int,
    seed: int,
    antialias: bool = True,
    skip_batches: int = 0,
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
      max_bags: maximum number of bags; 0: all.
      seed: of that draw.
      antialias: see `augment.resize`.
      skip_batches: number of batches, the first ones, to leave out; their images are not decoded.
    """
    root = tf.constant([seed, 0], tf.int32)
    numbered = bags.dataset.take(max_bags if max_bags else -1).enumerate()

    def images_of_bag(number, example):
        encoded = example["images"]
        draws = tf.random.stateless_uniform(tf.shape(encoded), fold(root, number), alg="philox")
        drawn = tf.argsort(draws)[:max_bag_size]
        images = tf.data.Dataset.from_tensor_slices((tf.gather(encoded, drawn), drawn))
        return images.map(lambda e, image: (e, number, image))

    def decode(encoded, number, image):
        pixels = decode_center_crop(encoded, image_size, antialias)
        return {"images": pixels, "bag": number, "image": image}

    padding = tf.data.Dataset.from_tensors(
        {
            "images": tf.zeros([image_size, image_size, 3]),
            "bag": tf.constant(-1, tf.int64),
            "image": tf.constant(-1),
        }
    ).repeat(batch_size - 1)
    encoded = numbered.flat_map(images_of_bag).skip(skip_batches * batch_size)
    images = encoded.map(decode, num_parallel_calls=joblib.cpu_count())
    batches = images.concatenate(padding).batch(batch_size, drop_remainder=True).prefetch(2)
    return batches.with_options(_options())


def _options() -> tf.data.Options:
    """Returns options without autotuning.

    Its thread sleeps longer and longer, up to a minute, and to give an iterator up waits for it: a
    training on two cores ended up to 50 s after its last step (TensorFlow 2.21). Nothing here
    needs it: elements decode as many at a time as there are CPUs.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return options


def _with_pixels(example: dict, seeds: tf.Tensor, crops: Callable, size: int) -> dict:
    """Returns an example with its images decoded, cropped at random and resized.

    Args:
      example: whose "images" are string [V], or one image (string), of which all views are made.
      seeds: of the crops, int32 [V, 2].
      crops: (encoded image, seeds int32 [v, 2]) to uint8 [v, size, size, 3].
      size: px.
    """
    if example["images"].shape.rank:
        pixels, valid = _pixels_of_views(example["images"], seeds, crops, size)
    else:
        pixels = crops(example["images"], seeds)
        valid = tf.ones([seeds.shape[0]], tf.bool)
    return {**example, "images": pixels, "real": valid}


def _pixels_of_views(encoded: tf.Tensor, seeds: tf.Tensor, crops: Callable, size: int) -> tuple:
    """Returns the pixels, uint8 [V, size, size, 3], and which views are valid, bool [V].

    Args:
      encoded: string [V]; "" gives a black view, which is not real.
      seeds: of the crops, int32 [V, 2].
      crops: see `_with_pixels`.
      size: px.
    """
    num_views = seeds.shape[0]

    def one_by_one():
        black = tf.zeros([1, size, size, 3], tf.uint8)

        def view(v):
            return crops(encoded[v], seeds[v : v + 1])

        pixels = [tf.cond(valid[v], lambda v=v: view(v), lambda: black) for v in range(num_views)]
        return tf.concat(pixels, axis=0)

    valid = tf.strings.length(encoded) > 0
    if num_views == 1:
        return one_by_one(), valid
    pixels = tf.cond(  # a bag of one image is decoded once
        tf.reduce_all(encoded == encoded[0]),
        lambda: crops(encoded[0], seeds),
        one_by_one,
    )
    return pixels, valid


def _keys(seed: int, data_order: int = DATA_ORDER) -> list[tf.Tensor]:
    """Returns a key, int64, for each use of a run's seed.

    Folded, then drawn: a folded seed is [draw of the seed, number], whose first word knows nothing
    of the number. The uses of `data_order` 1 had just that word, one key for all three.
    """
    root = tf.constant([seed, 0], tf.int32)
    if data_order == 1:
        return [fold(root, 0)[0] for _ in _USES]
    return [
        tf.random.stateless_uniform([], fold(root, use), None, None, tf.int64, "philox")
        for use in _USES
    ]
