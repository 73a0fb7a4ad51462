"""Features of cases: the mean over a case's images, never an image alone."""

from __future__ import annotations

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
    seen: Callable[[int], None] = lambda num_images: None,
) -> dict[str, np.ndarray]:
    """Returns {name of the model: features of every case, float32 [n, d]}.

    One pass over the images serves all models. At most `--max_bag_size` images of a case are seen. What
    --features_dir holds is read from there, read-only, and the rest is kept in it.

    Args:
      config: of the run.
      strategy: in whose scope the models were made.
      models: {name: built `Model`}.
      bags: the split.
      max_cases: maximum number of cases, the first ones; 0: all.
      seen: told the number of images of each batch, once it is done.
    """
    num_cases = min(bags.num_bags, max_cases or bags.num_bags)
    store = feature_store.of_cases(config, strategy, bags, num_cases)
    kept = {name: store.read(model) for name, model in models.items()} if store else {}
    found = {name: features for name, features in kept.items() if features is not None}
    missing = {name: model for name, model in models.items() if name not in found}
    if found:
        print(
            f"Features of {num_cases:,} cases are read from {config.eval.features_dir}.", flush=True
        )
    if missing:
        found |= _computed(config, strategy, missing, bags, num_cases, max_cases, seen)
    if store:
        found |= {name: store.keep(model, found[name]) for name, model in missing.items()}
    return {name: found[name] for name in models}


def _computed(config, strategy, models, bags: Bags, num_cases: int, max_cases: int, seen) -> dict:
    """Returns `case_features` of models that are none of the kept ones."""
    sums: dict[str, np.ndarray] = {}
    counts = np.zeros((num_cases, 1), np.float32)
    functions = {name: functools.partial(features_of, model) for name, model in models.items()}
    for features, bag, _ in forward(
        config, strategy, functions, bags, config.data.max_bag_size, max_cases
    ):
        np.add.at(counts, bag, 1)
        for name, value in features.items():
            if name not in sums:
                sums[name] = np.zeros((num_cases, value.shape[1]), np.float32)
            np.add.at(sums[name], bag, value)
        seen(len(bag))
    for total in sums.values():
        total /= counts  # in place: of 167,000 cases 1.4 GB an encoder
    return sums


def image_features(
    config: Config,
    strategy: tf.distribute.Strategy,
    model,
    bags: Bags,
    seen: Callable[[int], None] = lambda num_images: None,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns features of every image, float32 [n, d], its case's and its own place, int [n].

    All images of a case are seen, whatever --max_bag_size says; in the order of the split. Arguments
    are those of `case_features`.
    """
    parts = []
    functions = {"": functools.partial(features_of, model)}
    for features, bag, image in forward(config, strategy, functions, bags, EVERY_IMAGE):
        parts.append((features[""], bag, image))
        seen(len(bag))
    features, bag, image = (np.concatenate(part) for part in zip(*parts))
    order = np.lexsort((image, bag))
    return features[order], bag[order], image[order]


def features_of(model: Model, images: tf.Tensor) -> tf.Tensor:
    """Returns the features of images, float32 [n, d]."""
    return model(images, training=False)["features"]


def forward(
    config: Config,
    strategy: tf.distribute.Strategy,
    functions: Mapping[str, Callable[[tf.Tensor], tf.Tensor]],
    bags: Bags,
    max_bag_size: int,
    max_cases: int = 0,
) -> Iterator[tuple[dict[str, np.ndarray], np.ndarray, np.ndarray]]:
    """Yields ({name: what its function gives [m, d]}, case [m], place in the case [m]) of a batch.

    In the order of the cases; images of a case are in an order of their own.

    Args:
      config: of the run.
      strategy: in whose scope the models were made.
      functions: of images, float32 [m, H, W, 3] in [0, 1], with a row for each; computed on the devices.
      bags: the split.
      max_bag_size: images of a case, drawn at random from larger ones; EVERY_IMAGE: all.
      max_cases: maximum number of cases, the first ones; 0: all.

    Raises:
      UserError: memory did not suffice; says which flags help.
    """
    replicas = strategy.num_replicas_in_sync
    batches_of = functools.partial(
        evaluation_batches,
        bags,
        batch_size=math.ceil(config.eval.eval_batch_size / replicas) * replicas,
        image_size=config.augment.image_size,
        antialias=config.augment.is_antialiased,
        max_bag_size=max_bag_size,
        max_bags=max_cases,
        seed=config.run.seed,
    )

    def on_one(batch):
        return {name: function(batch["images"]) for name, function in functions.items()}

    @tf.function(autograph=False)
    def on_all(batch):
        return strategy.run(on_one, (batch,)), batch["bag"], batch["image"]

    def joined(value):
        return distribution.join_replicas(strategy, value).numpy()

    with out_of_memory.explained_in_evaluation(config, replicas):
        for batch in distribution.distribute(batches_of, strategy):
            features, bag, image = on_all(batch)
            bag, image = joined(bag), joined(image)
            real = bag >= 0
            yield (
                {name: joined(value)[real] for name, value in features.items()},
                bag[real],
                image[real],
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
    bags: Bags, wanted: set[int], size: int, antialias: bool = True
) -> dict[int, np.ndarray]:
    """Returns {place of the case in the split: its first image, uint8 [size, size, 3]}."""
    last = max(wanted, default=-1)
    numbered = bags.dataset.take(last + 1).enumerate()
    found = {}
    keys = tf.constant(sorted(wanted) or [-1], tf.int64)
    for number, image in (
        numbered.filter(lambda number, _: tf.reduce_any(number == keys))
        .map(lambda number, bag: (number, decode_center_crop(bag["images"][0], size, antialias)))
        .as_numpy_iterator()
    ):
        found[int(number)] = (np.clip(image, 0, 1) * 255).round().astype(np.uint8)
    return found
