"""tf.data pipelines: bags of encoded images in, batches of pixels out. Host side.

Every random decision is a function of (seed, epoch, place in the epoch) alone, so a run that stops
at step s goes on at step s with the very batches it would have seen: `start_step` skips them
while they are still encoded bytes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import joblib
import tensorflow as tf

from simclr_med.augment.crop import MIN_AREA, decode_center_crop, decode_random_crops
from simclr_med.data.bags import Bags

# Of a seed: the order of examples, the pair of a bag, the crops. Below 0, because evaluation folds the
# numbers of bags into the same root.
_USES = (-1, -2, -3)
DATA_ORDER = 2  # how a seed decides batches; runs that began with 1 go on with it, see `_keys`
_INT32_IDS, _INT64_IDS = 2**31 - 1, 2**63 - 1


def training_batches(
    bags: Bags,
    *,
    draw_views: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
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
) -> tf.data.Dataset:
    """Returns an endless dataset of global batches, the first being that of `start_step`.

    Batches are full and run across the ends of epochs. An element is {"images": uint8 [B, V,
    image_size, image_size, 3], "real": bool [B, V], "label": int64 [B] or float32 [B, L] (see
    `Bags`), "patient": int32 [B]}, and of bags that have it "differential", float32
    [B, classes]. `real` says which places hold an image (others are black: a case that has fewer);
    `patient` is a hash of the patient's id (two patients collide with probability
    5e-10).

    Args:
      bags: the split.
      draw_views: (number of images in the bag, seed int32 [2]) to the images to use, int32 [V], -1
        for a place that stays empty.
      keep_bags: an example is a bag (True) or an image, its own bag (False).
      batch_size: B.
      image_size: px.
      antialias: see `augment.resize`.
      crop_min_area: share of an image that a crop covers at least.
      seed: of the run.
      start_step: batches to leave out.
      shuffle_buffer: examples held, encoded, to shuffle them; on disk they are shuffled already
        (chest X-rays: the patients are).
      cache: keep the encoded split in memory.
      part: (i, n): only part i of n consecutive parts of each global batch, [B / n, ...]; the other
        examples pass by encoded.
      data_order: how `seed` decides, DATA_ORDER or, of a run that began before, 1.
      repeats: how often an epoch has each bag of several images, with a draw of its own each time; above
        1 with `keep_bags`, and `bags.num_multi` counted.
    """
    examples = bags.dataset.cache() if cache else bags.dataset
    num_examples = examples_per_epoch(bags, keep_bags, repeats)
    order, pair, pixels = _keys(seed, data_order)
    num_views = int(draw_views(tf.constant(1), tf.constant([seed, 0])).shape[0])
    size = batch_size // part[1]

    def one_epoch(epoch):
        if keep_bags:
            drawn = functools.partial(_draw, draw_views, tf.stack([pair, epoch]))
            buffered = (_repeated(examples, repeats) if repeats > 1 else examples).map(drawn)
        else:
            buffered = examples.map(_split).unbatch()
        return _shuffle(buffered, min(shuffle_buffer, num_examples), order, epoch)

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

    start_epoch, start_place = divmod(start_step * batch_size, num_examples)
    options = _options()
    options.deterministic = True
    options.threading.max_intra_op_parallelism = 1  # elements are enough to do at a time
    numbered = (
        tf.data.Dataset.range(start_epoch, tf.int64.max)
        .flat_map(one_epoch)
        .skip(start_place)
        .enumerate(start=start_step * batch_size)
    )
    return (
        (numbered if part[1] == 1 else numbered.filter(is_mine))
        .map(decode, num_parallel_calls=joblib.cpu_count())
        .batch(size, drop_remainder=True)
        .prefetch(2)  # left to itself it holds more and more large batches
        .with_options(options)
    )


def examples_per_epoch(bags: Bags, keep_bags: bool, repeats: int = 1) -> int:
    """Returns the number of examples of an epoch; arguments are those of `training_batches`."""
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
        pixels = decode_center_crop(encoded, image_size, antialias)
        return {"images": pixels, "bag": number, "image": image}

    padding = tf.data.Dataset.from_tensors(
        {
            "images": tf.zeros([image_size, image_size, 3]),
            "bag": tf.constant(-1, tf.int64),
            "image": tf.constant(-1),
        }
    ).repeat(batch_size - 1)
    images = numbered.flat_map(images_of_bag).map(decode, num_parallel_calls=joblib.cpu_count())
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


def _repeated(bags: tf.data.Dataset, repeats: int) -> tf.data.Dataset:
    """Returns the bags, those of several images `repeats` times, with "copy": which of them, int64."""

    def copies(bag):
        count = tf.where(tf.size(bag["images"]) > 1, repeats, 1)
        numbers = tf.data.Dataset.range(tf.cast(count, tf.int64))
        return numbers.map(lambda copy: {**bag, "copy": copy})

    return bags.flat_map(copies)


def _draw(draw_views: Callable, seed: tf.Tensor, bag: dict) -> dict:
    """Returns what is kept of a bag: the images drawn, string [V], "" where a place stays empty."""
    of_bag = tf.strings.to_hash_bucket_fast(bag["bag_id"], _INT64_IDS)
    of_bag = _fold(seed, of_bag)
    if "copy" in bag:  # the first draws what it would alone
        of_copy = _fold(of_bag, bag["copy"])
        of_bag = tf.where(bag["copy"] > 0, of_copy, of_bag)
    drawn = draw_views(tf.size(bag["images"]), of_bag)
    images = tf.where(drawn < 0, "", tf.gather(bag["images"], tf.maximum(drawn, 0)))
    kept = {"images": images, "label": bag["label"], "patient": _patient(bag)}
    return kept | ({"differential": bag["differential"]} if "differential" in bag else {})


def _split(bag: dict) -> dict:
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


def _with_pixels(example: dict, seeds: tf.Tensor, crops: Callable, size: int) -> dict:
    """Returns an example with its images decoded, cropped at random and resized.

    Args:
      example: whose "images" are string [V], or one image (string), of which all views are made.
      seeds: of the crops, int32 [V, 2].
      crops: (encoded image, seeds int32 [v, 2]) to uint8 [v, size, size, 3].
      size: px.
    """
    if example["images"].shape.rank:
        pixels, real = _pixels_of_views(example["images"], seeds, crops, size)
    else:
        pixels = crops(example["images"], seeds)
        real = tf.ones([seeds.shape[0]], tf.bool)
    return {**example, "images": pixels, "real": real}


def _pixels_of_views(encoded: tf.Tensor, seeds: tf.Tensor, crops: Callable, size: int) -> tuple:
    """Returns the pixels, uint8 [V, size, size, 3], and which views are real, bool [V].

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

        pixels = [tf.cond(real[v], lambda v=v: view(v), lambda: black) for v in range(num_views)]
        return tf.concat(pixels, axis=0)

    real = tf.strings.length(encoded) > 0
    if num_views == 1:
        return one_by_one(), real
    pixels = tf.cond(  # a bag of one image is decoded once
        tf.reduce_all(encoded == encoded[0]),
        lambda: crops(encoded[0], seeds),
        one_by_one,
    )
    return pixels, real


def _shuffle(examples: tf.data.Dataset, buffer: int, key: tf.Tensor, epoch: tf.Tensor):
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


def _keys(seed: int, data_order: int = DATA_ORDER) -> list[tf.Tensor]:
    """Returns a key, int64, for each use of a run's seed.

    Folded, then drawn: a folded seed is [draw of the seed, number], whose first word knows nothing
    of the number. The uses of `data_order` 1 had just that word, one key for all three.
    """
    root = tf.constant([seed, 0], tf.int32)
    if data_order == 1:
        return [_fold(root, 0)[0] for _ in _USES]
    return [
        tf.random.stateless_uniform([], _fold(root, use), None, None, tf.int64, "philox")
        for use in _USES
    ]


def _fold(seed: tf.Tensor, number: tf.Tensor | int) -> tf.Tensor:
    return tf.random.experimental.stateless_fold_in(seed, tf.cast(number, tf.int64))
