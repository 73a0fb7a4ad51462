"""How unlike its training images a new image is: by colour, and by what the first layer sees of it.

The mean and the standard deviation of each channel of the encoder's stem, over the image, are compared
with those of training images: Mahalanobis distance (Lee et al. 2018, "A Simple Unified Framework for
Detecting Out-of-Distribution Samples") with the shrunk covariance of Ledoit and Wolf (2004). The stem,
because later layers are trained to ignore what is looked for here: with a classifier of HAM10000
(ResNet-18, 64 px) the distance of the last features (cosine, to the fifth nearest case) put 2 of 1,001
chest X-rays beyond 99 % of other photographs, that of the stem 76 %. And an image without any colour
is noted where training images have colour, which catches all of these.

It notices another modality and other light. It does not notice a disease that is new.
"""

from __future__ import annotations

import dataclasses
import functools
import io
import os

import numpy as np
import sklearn.covariance
import tensorflow as tf

from simclr_med.build import open_bags
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.evaluation.features import EVERY_IMAGE, forward
from simclr_med.models import Model
from simclr_med.run_folder import files, gfile

FILE = "likeness.npz"
MOST_CASES = 1000  # whose images are compared with, and as many that the limit is taken from
FEWEST = 10  # images on either side; with fewer the limit is meaningless
SHARE = 0.99  # of known images that are within the limit
RARE = 0.01  # share of the training images that may be grey where a grey one is still noted
_GREY = 0.005  # mean difference between the largest and smallest channel; 1.3 of 255 levels


@dataclasses.dataclass(frozen=True)
class Likeness:
    """What the training images as a whole look like to the first layer.

    Attributes:
      mean, scale: of their looks, [d]; the scale is the standard deviation.
      precision: inverse of the shrunk covariance of looks on that scale, [d, d].
      limit: the distance that SHARE of `basis` does not exceed.
      basis: which images these are, in words.
      grey: share of the training images that have no colour.
    """

    mean: np.ndarray
    scale: np.ndarray
    precision: np.ndarray
    limit: float
    basis: str
    grey: float

    def distances(self, looks: np.ndarray) -> np.ndarray:
        """Returns the Mahalanobis distance of each image, float [n], of looks [n, d + 1]."""
        deviation = (looks[:, :-1] - self.mean) / self.scale
        return np.sqrt(
            np.maximum(np.einsum("nd,de,ne->n", deviation, self.precision, deviation), 0.0)
        )

    def notes(self, looks: np.ndarray) -> list[str]:
        """Returns a note on each image; "" for one that looks like the training images.

        Args:
          looks: from `looks`, [n, d + 1].
        """
        notes = []
        for distance, colour in zip(self.distances(looks), looks[:, -1]):
            reasons = []
            if colour < _GREY and self.grey < RARE:
                reasons.append("no colour, and training images have")
            if colour >= _GREY and self.grey > 1 - RARE:
                reasons.append("colour, and training images have none")
            if distance > self.limit:
                reasons.append(
                    f"unlike training images (distance {distance:.1f} > {self.limit:.1f})"
                )
            notes.append(", ".join(reasons))
        return notes

    @classmethod
    def of(cls, training: np.ndarray, known: np.ndarray, basis: str) -> Likeness:
        """Returns the likeness to training images, with a limit that most of the `known` keep.

        Args:
          training: looks of training images, [n, d + 1].
          known: looks of images of the same kind, [m, d + 1].
          basis: which images `known` are, in words.
        """
        values = training[:, :-1].astype(float)
        mean, scale = values.mean(axis=0), values.std(axis=0)
        scale[scale == 0] = 1  # a channel that is off for all of them
        fitted = sklearn.covariance.LedoitWolf(assume_centered=True).fit((values - mean) / scale)
        grey = float(np.mean(training[:, -1] < _GREY))
        likeness = cls(mean, scale, fitted.precision_, np.inf, basis, grey)
        limit = float(np.quantile(likeness.distances(known), SHARE))
        return dataclasses.replace(likeness, limit=limit)

    @classmethod
    def read(cls, model_dir: str, identity: str | None) -> Likeness | None:
        """Returns what `write` wrote for the checkpoint of this identity; None if it wrote nothing.

        Args:
          model_dir: of the run.
          identity: of the checkpoint's content, from `checkpoints.files.identity`.
        """
        path = os.path.join(model_dir, FILE)
        if not gfile.exists(path):
            return None
        with np.load(io.BytesIO(gfile.read(path)), allow_pickle=False) as stored:
            if str(stored["identity"]) != identity:
                return None
            values = {field.name: stored[field.name] for field in dataclasses.fields(cls)}
        return cls(**{name: v if v.ndim else v.item() for name, v in values.items()})

    def write(self, model_dir: str, identity: str | None) -> None:
        """Writes likeness.npz, which holds nothing about any single image.

        Args:
          model_dir: of the run.
          identity: of the content of the checkpoint whose first layer was used.
        """
        values = {**dataclasses.asdict(self), "identity": str(identity)}
        with files.writing(os.path.join(model_dir, FILE)) as local:
            np.savez(local, **values)


def looks(model: Model, images: tf.Tensor) -> tf.Tensor:
    """Returns what the first layer sees of images, and how much colour they have, float32 [n, d + 1].

    Args:
      model: with its weights.
      images: float32 [n, H, W, 3] in [0, 1].
    """
    activations = tf.cast(model.encoder.first_layer(images), tf.float32)
    mean, variance = tf.nn.moments(activations, axes=[1, 2])
    colour = tf.reduce_max(images, axis=-1) - tf.reduce_min(images, axis=-1)
    colour = tf.reduce_mean(colour, axis=[1, 2])[:, tf.newaxis]
    return tf.concat([mean, tf.sqrt(variance), colour], axis=1)


def measure(
    config: Config, builder, strategy: tf.distribute.Strategy, model: Model
) -> Likeness | None:
    """Returns the likeness to the training images of a run; None of too few. Labels are not used.

    The limit is taken from the selection split or, without one, from the evaluation split.

    Args:
      config: of the run.
      builder: of the prepared dataset that it was trained on.
      strategy: in whose scope the model was made.
      model: with the weights that are evaluated.
    """
    held_out = config.data.selection_split or config.data.eval_split
    training, known = (
        _of_split(config, strategy, model, open_bags(config, builder, split))
        for split in (config.data.train_split, held_out)
    )
    if min(len(training), len(known)) < FEWEST:
        return None
    return Likeness.of(training, known, f"{len(known):,} images of split '{held_out}'")


def _of_split(config: Config, strategy, model: Model, bags: Bags) -> np.ndarray:
    """Returns the looks of the images of the first MOST_CASES cases, [n, d + 1]."""
    functions = {"": functools.partial(looks, model)}
    batches = forward(config, strategy, functions, bags, EVERY_IMAGE, MOST_CASES)
    return np.concatenate([batch_looks[""] for batch_looks, _, _ in batches])
