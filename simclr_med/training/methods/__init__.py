"""Methods: what a positive pair is, and which loss. One file each, listed in METHODS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from simclr_med.config import Config
from simclr_med.training.methods import finetune, micle, simclr


@dataclasses.dataclass(frozen=True)
class Method:
    """A way of training.

    Attributes:
      sample_images: (number of images of the bag, seed int32 [2]) to the V to show, int32 [V], -1 for
        none; with `whole_cases` there is a third argument, the number of places.
      keeps_bags: an example is a bag (True), or each image by itself (False).
      loss: (outputs of the model, batch, temperature, hidden_norm, nt_xent_chunk,
        same_patient_negatives, class_weights) to (loss, metrics); the outputs are those of the local
        batch's views, first views before second.
      whole_cases: the views of an example are averaged to one feature, which is classified.
      needs_labels: whether training is possible without labels.
    """

    sample_images: Callable[..., tf.Tensor]
    keeps_bags: bool
    loss: Callable[..., tuple[tf.Tensor, dict[str, tf.Tensor]]]
    needs_labels: bool = False
    whole_cases: bool = False

    @classmethod
    def of(cls, config: Config) -> Method:
        """Returns the method of a configuration."""
        return METHODS[cls.kind_of(config)]

    @staticmethod
    def kind_of(config: Config) -> str:
        """Returns its name in METHODS."""
        of_bags = config.method == "simclr" and config.train.simclr_unit == "bag"
        return "simclr_of_bags" if of_bags else config.method


METHODS: dict[str, Method] = {
    "simclr": Method(simclr.sample_images, keeps_bags=False, loss=simclr.loss),
    "simclr_of_bags": Method(simclr.sample_image_of_bag, keeps_bags=True, loss=simclr.loss),
    "micle": Method(micle.sample_images, keeps_bags=True, loss=simclr.loss),
    "finetune": Method(
        finetune.sample_images,
        keeps_bags=True,
        loss=finetune.loss,
        needs_labels=True,
        whole_cases=True,
    ),
}
