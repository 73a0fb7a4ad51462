"""Features of cases: the mean over a case's images, never an image alone."""

from __future__ import annotations

import contextlib
import functools
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import tensorflow as tf

from simclr_med import distribution, out_of_memory
from simclr_med.augment.crop import decode_center_crop
from simclr_med.config import Config
from simclr_med.data import Bags, evaluation_batches
from simclr_med.evaluation import feature_store
from simclr_med.models import Model

_ROWS = 4096  # cases classified at once
EVERY_IMAGE = 2**31 - 1  # of a case


def case_features(
    config: Config,
    strategy: tf.distribute.Strategy,
    models: dict,
    bags: Bags,
    max_cases: int = 0,
    on_batch: Callable[[int], None] = lambda num_images: None,
) -> dict[str, np.ndarray]:
    """Returns {name of the model: features of every case, float32 [n, d]}.

    One pass over the images serves all models. At most `--max_bag_size` images of a case are used.
    Features that --features_dir holds are read from there, read-only; the others are stored in it.

    Args:
      config: of the run.
      strategy: in whose scope the models were made.
      models: {name: built `Model`}.
      bags: the split.
      max_cases: maximum number of cases, the first ones; 0: all.
      on_batch: called with the number of images of each batch, once it is done.
    """
    num_cases = min(bags.num_bags, max_cases or bags.num_bags)
    store = feature_store.of_cases(config, strategy, bags, num_cases)
    stored = {name: store.read(model) for name, model in models.items()} if store else {}
    result = {name: features for name, features in stored.items() if features is not None}
    missing = {name: model for name, model in models.items() if name not in result}
    if result:
        print(
            f"Features of {num_cases:,} cases are read from {config.eval.features_dir}.", flush=True
        )
    if missing:
        with contextlib.ExitStack() as stack:
            growing = {
                name: stack.enter_context(store.growing(model, num_cases))
                if store
                else feature_store.Growing(num_cases)
                for name, model in missing.items()
            }
            _compute(config, strategy, missing, growing, bags, max_cases, on_batch)
        for name, model in missing.items():
            rows = store.read(model) if store else None
            rows = growing[name].rows if rows is None else rows
            assert rows is not None  # a split has cases
            result[name] = rows
    return {name: result[name] for name in models}


def _compute(config, strategy, models, growing: dict, bags: Bags, max_cases: int, on_batch) -> None:
    """Adds what is missing to the features of each model.

    Args:
      config, strategy, models, bags, max_cases, on_batch: as in `case_features`.
      growing: {name of the model: `feature_store.Growing`}.
    """
    first = min(features.num_done for features in growing.values())
    skipped = 0  # images
    if first:
        known = bags.known_cases()
        assert known is not None  # or nothing would have been stored
        skipped = int(known.num_images[:first].clip(max=config.data.max_bag_size).sum())
        print(
            f"Features of {first:,} of {len(known.ids[: max_cases or None]):,} cases were computed "
            f"before this was interrupted, and are read from {config.eval.features_dir}.",
            flush=True,
        )
    functions = {name: functools.partial(features_of, model) for name, model in models.items()}
    batches = forward(
        config, strategy, functions, bags, config.data.max_bag_size, max_cases, skipped
    )
    for start, means in _means_of_cases(batches, first, on_batch):
        for name, rows in means.items():
            growing[name].add(start, rows)


def _means_of_cases(batches, first: int, on_batch) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yields (number of the first of some cases, {name: mean of each one's rows, float32 [m, d]}).

    Args:
      batches: from `forward`; those of a case follow each other.
      first: number of the first case that is wanted.
      on_batch: as in `case_features`.
    """
    start, counts = first, np.zeros((1, 1), np.float32)  # of the last case, which may go on
    sums: dict[str, np.ndarray] = {}

    def means(number: int) -> dict[str, np.ndarray]:
        return {name: total[:number] / counts[:number] for name, total in sums.items()}

    for values, bag, _ in batches:
        on_batch(len(bag))
        wanted = bag >= first
        if not wanted.any():
            continue
        place, more = bag[wanted] - start, int(bag[-1]) - start + 1 - len(counts)
        counts = np.pad(counts, ((0, more), (0, 0)))
        np.add.at(counts, place, 1)
        for name, value in values.items():
            total = sums.get(name, np.zeros((1, value.shape[1]), np.float32))
            sums[name] = np.pad(total, ((0, more), (0, 0)))
            np.add.at(sums[name], place, value[wanted])
        if done := len(counts) - 1:
            yield start, means(done)
            start, counts = start + done, counts[done:]
            sums = {name: total[done:] for name, total in sums.items()}
    yield start, means(1)


def image_features(
    config: Config,
    strategy: tf.distribute.Strategy,
    model,
    bags: Bags,
    on_batch: Callable[[int], None] = lambda num_images: None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features of every image, float32 [n, d], and the indices of its case and in it, int [n].

    All images of a case are used, regardless of --max_bag_size, in the order of the split.

    Args:
      config: of the run.
      strategy: in whose scope the model was made.
      model: a built `Model`.
      bags: the split.
      on_batch: called with the number of images of each batch, once it is done.
    """
    parts = []
    functions = {"": functools.partial(features_of, model)}
    for features, bag, image in forward(config, strategy, functions, bags, EVERY_IMAGE):
        parts.append((features[""], bag, image))
        on_batch(len(bag))
    features, bag, image = (np.concatenate(part) for part in zip(*parts))
    order = np.lexsort((image, bag))
    return features[order], bag[order], image[order]


def features_of(model: Model, images: tf.Tensor) -> tf.Tensor:
    """Returns the features of images, float32 [n, d].

    Args:
      model: with its weights.
      images: float32 [n, H, W, 3] in [0, 1].
    """
    return model(images, training=False)["features"]


def forward(
    config: Config,
    strategy: tf.distribute.Strategy,
    functions: Mapping[str, Callable[[tf.Tensor], tf.Tensor]],
    bags: Bags,
    max_bag_size: int,
    max_cases: int = 0,
    skipped_images: int = 0,
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
    """Yields ({name: output of its function [m, d]}, case [m], index in the case [m]) of each batch.

    In the order of the cases; the images of a case come in any order.

    Args:
      config: of the run.
      strategy: in whose scope the models were made.
      functions: map images, float32 [m, H, W, 3] in [0, 1], to a row each; run on the devices.
      bags: the split.
      max_bag_size: images of a case, drawn at random from larger ones; EVERY_IMAGE: all.
      max_cases: maximum number of cases, the first ones; 0: all.
      skipped_images: number of images, the first ones, of which no output is needed: their whole batches
        are left out. The others have the same output as without.

    Raises:
      UserError: memory did not suffice; says which flags help.
    """
    replicas = strategy.num_replicas_in_sync
    batch_size = math.ceil(config.eval.eval_batch_size / replicas) * replicas
    batches_of = functools.partial(
        evaluation_batches,
        bags,
        batch_size=batch_size,
        image_size=config.augment.image_size,
        antialias=config.augment.is_antialiased,
        max_bag_size=max_bag_size,
        max_bags=max_cases,
        seed=config.run.seed,
        skip_batches=skipped_images // batch_size,
    )

    def on_replica(batch):
        return {name: function(batch["images"]) for name, function in functions.items()}

    @tf.function(autograph=False)
    def on_replicas(batch):
        return strategy.run(on_replica, (batch,)), batch["bag"], batch["image"]

    def joined(value):
        return distribution.join_replicas(strategy, value).numpy()

    with out_of_memory.explained_in_evaluation(config, replicas):
        for batch in distribution.distribute(batches_of, strategy):
            features, bag, image = on_replicas(batch)
            bag, image = joined(bag), joined(image)
            valid = bag >= 0
            yield (
                {name: joined(value)[valid] for name, value in features.items()},
                bag[valid],
                image[valid],
            )


def case_probabilities(model, features: np.ndarray, multilabel: bool) -> np.ndarray:
    """Returns the probabilities of the supervised head, float [n, classes].

    Args:
      model: with a supervised head.
      features: of the cases, float32 [n, d].
      multilabel: a sigmoid for each label, else a softmax over the classes.
    """
    probabilities = tf.sigmoid if multilabel else tf.nn.softmax
    parts = [
        probabilities(model.classify(tf.constant(features[start : start + _ROWS]))).numpy()
        for start in range(0, len(features), _ROWS)
    ]
    return np.concatenate(parts).astype(float)


def case_pictures(
    bags: Bags, cases: set[int], size: int, antialias: bool = True
) -> dict[int, np.ndarray]:
    """Returns {index of the case in the split: its first image, uint8 [size, size, 3]}.

    Args:
      bags: the split.
      cases: indices of the cases.
      size: of the centre crop, px.
      antialias: when it is reduced.
    """
    last = max(cases, default=-1)
    numbered = bags.dataset.take(last + 1).enumerate()
    pictures = {}
    keys = tf.constant(sorted(cases) or [-1], tf.int64)
    for number, image in (
        numbered.filter(lambda number, _: tf.reduce_any(number == keys))
        .map(lambda number, bag: (number, decode_center_crop(bag["images"][0], size, antialias)))
        .as_numpy_iterator()
    ):
        pictures[int(number)] = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return pictures
