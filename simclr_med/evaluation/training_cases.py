"""Training cases beside the evaluated ones, to see whether the evaluation has copies of them."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from simclr_med.build import open_bags
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.data.cases import Cases, read_cases
from simclr_med.evaluation.features import case_features
from simclr_med.evaluation.report.near_duplicates import MOST_CASES
from simclr_med.models import Model

MOST_READ = 2000  # cases whose features are computed for this alone


@dataclasses.dataclass(frozen=True)
class TrainingCases:
    """The first cases of a training split.

    Attributes:
      split: its name.
      bags: of the split, more than these cases.
      ids, patients: of the n cases.
      features: of the trained encoder, float [n, d].
    """

    split: str
    bags: Bags
    ids: np.ndarray
    patients: np.ndarray
    features: np.ndarray

    @classmethod
    def of(cls, split: str, bags: Bags, cases: Cases, features: np.ndarray) -> TrainingCases:
        """Returns the first cases, as many as are compared (`near_duplicates.MOST_CASES`).

        Args:
          split: name of the split.
          bags: of the split.
          cases: of the split, or its first ones.
          features: of these cases, float [n, d].
        """
        n = min(MOST_CASES, len(features))
        return cls(split, bags, cases.ids[:n], cases.patients[:n], features[:n].copy())


def read(
    config: Config, builder, strategy: tf.distribute.Strategy, model: Model, split: str
) -> TrainingCases:
    """Returns the first 2,000 cases of a split, with the features that the model computes for this.

    Args:
      config: of the run.
      builder: of the prepared dataset.
      strategy: in whose scope the model was made.
      model: with the weights that are evaluated.
      split: that the run was trained on.
    """
    bags = open_bags(config, builder, split)
    features = case_features(config, strategy, {"": model}, bags, MOST_READ)[""]
    return TrainingCases.of(split, bags, read_cases(bags, MOST_READ), features)
