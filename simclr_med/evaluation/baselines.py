"""What a pretrained encoder is measured beside: itself untrained, and itself before its run.

An untrained network's BatchNorm knows nothing of the images: its moving statistics are those of a
standard normal. One pass over training images sets them to what those images have, so that the row
says what random weights are worth, and not what wrong statistics cost.
"""

from __future__ import annotations

import contextlib
import functools
import io

import numpy as np
import tensorflow as tf

from simclr_med import checkpoints, distribution, out_of_memory
from simclr_med.build import make_model, open_bags
from simclr_med.checkpoints.weights import initial
from simclr_med.config import Config
from simclr_med.data import Bags, evaluation_batches
from simclr_med.errors import UserError
from simclr_med.keras_api import keras

BEFORE, UNTRAINED = "before this run", "untrained"
_MOST_IMAGES = 4096  # of the pass


def untrained(config: Config, builder, bags: Bags, strategy, num_classes: int) -> tuple:
    """Returns (the model with the random weights of `--seed`, what result.json says of it).

    BatchNorm is calibrated on images of the training split; where that cannot be opened (other data,
    without one), on those of `bags`, which are evaluated.

    Args:
      config: of the run.
      builder: of the prepared dataset.
      bags: that are evaluated.
      strategy: from `build.set_up`.
      num_classes: of the model's supervised head; 0 without.
    """
    with strategy.scope():
        # Moving statistics that are the last batch's.
        model = make_model(config.replace(batch_norm_decay=0.0), num_classes)
    try:
        split = config.data.train_split
        bags = open_bags(config, builder, split)
    except UserError:
        split = config.data.eval_split
    count = calibrate(config, strategy, model, bags)
    return model, {"batch_norm_images": count, "batch_norm_split": split} if count else {}


def before_run(config: Config, model_dir: str, strategy, num_classes: int) -> tuple:
    """Returns (the model as the run began at --checkpoint, or None; what result.json says of it).

    None where those weights are gone, or are no longer the ones that the run began with; it is
    printed. "verified" is False for a run that kept no record of its first weights.

    Args:
      config: of the run, with --checkpoint.
      model_dir: of the run.
      strategy: from `build.set_up`.
      num_classes: of the model's supervised head; 0 without.
    """
    path = str(config.run.checkpoint)
    with strategy.scope():
        model = make_model(config, num_classes)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # the table of what matched
            checkpoints.load(model, path)
    except UserError as error:
        problem = f"they are gone, or do not load any more ({error})"
    else:
        recorded = initial.read(model_dir)
        verified = recorded is not None
        if not verified:
            print(
                f"Note: this run kept no record of the weights it began with, so '{BEFORE}' trusts "
                f"that {path} is unchanged."
            )
        if not verified or recorded == initial.digest(model):
            return model, {"checkpoint": path, "verified": verified}
        problem = "they are not those that the run began with"
    print(f"Note: no row '{BEFORE}': of the weights of --checkpoint={path}, {problem}.")
    return None, {"checkpoint": path, "problem": problem}


def calibrate(config: Config, strategy, model, bags: Bags) -> int:
    """Sets BatchNorm's moving statistics to those of images, and returns of how many.

    One pass in training mode over the first images of a split, centre-cropped as in evaluation. A
    statistic becomes that of all these images (the batches are of one size): the mean of means, and
    the mean of variances plus the variance of means. Returns 0, and changes nothing, for features
    without BatchNorm.

    Args:
      config: of the run.
      strategy: in whose scope the model was made.
      model: built with `batch_norm_decay` 0.
      bags: of the split.
    """
    batch_norms = norms(model)
    if not batch_norms:
        return 0
    replicas = strategy.num_replicas_in_sync
    of_replica = max(1, min(config.eval.eval_batch_size, bags.num_bags) // replicas)
    batches_of = functools.partial(
        evaluation_batches,
        bags,
        batch_size=of_replica * replicas,  # a bag has an image: the first batch is full
        image_size=config.augment.image_size,
        antialias=config.augment.is_antialiased,
        max_bag_size=config.data.max_bag_size,
        max_bags=_MOST_IMAGES,
        seed=config.run.seed,
    )

    @tf.function(autograph=False)
    def move(batch):
        strategy.run(lambda images: model(images, training=True), (batch["images"],))
        return batch["bag"]

    # Of the means and of the means of squares.
    sums = [np.zeros((2, norm.moving_mean.shape[0])) for norm in batch_norms]
    count = 0
    with out_of_memory.explained_in_evaluation(config, replicas):
        for batch in distribution.distribute(batches_of, strategy):
            # The last batch, if it is padded, moves the statistics as well; it is not counted.
            if (distribution.join_replicas(strategy, move(batch)).numpy() < 0).any():
                break
            for total, norm in zip(sums, batch_norms):
                mean, variance = (_value(v) for v in (norm.moving_mean, norm.moving_variance))
                total += mean, variance + mean**2
            count += 1
            if (count + 1) * of_replica * replicas > _MOST_IMAGES:
                break
    for total, norm in zip(sums, batch_norms):
        mean, square = total / count if count else np.stack([0 * total[0], 0 * total[0] + 1])
        norm.moving_mean.assign(mean)
        norm.moving_variance.assign(np.maximum(square - mean**2, 0))
    return count * of_replica * replicas


def norms(model) -> list:
    """Returns the BatchNorms that the features pass, those of the encoder and of its projection."""
    parts = [model.encoder, *([model.projection_head] if model.selected_stage else [])]
    kind = keras.layers.BatchNormalization
    return [norm for part in parts for norm in part.submodules if isinstance(norm, kind)]


def _value(variable: tf.Variable) -> np.ndarray:
    return tf.convert_to_tensor(variable).numpy().astype(float)
