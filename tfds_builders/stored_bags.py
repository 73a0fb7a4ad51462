"""Reads the bags of a prepared dataset back, images undecoded, and puts their labels into words.

Uses only the features that all builders here share: bag_id, patient_id, images, image_ids; label
(one a bag) or labels (several: 1 positive, 0 negative, -1 uncertain, NaN blank); views.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow_datasets as tfds


def read_encoded(
    builder: tfds.core.DatasetBuilder, split: str, features: list[str]
) -> Iterator[dict[str, Any]]:
    """Yields the examples of `split`, in order, with images undecoded.

    Args:
      builder: of a prepared dataset.
      split: as TFDS names it, slices included.
      features: to read, if the dataset has them.
    """
    partial = tfds.decode.PartialDecoding(
        {name: True for name in features if name in builder.info.features},
        decoders={"images": tfds.decode.SkipDecoding()} if "images" in features else None,
    )
    config = tfds.ReadConfig(try_autocache=False)
    dataset = builder.as_dataset(split=split, decoders=partial, read_config=config)
    yield from tfds.as_numpy(dataset)


def label_state(value: float) -> str:
    """Returns positive, negative, uncertain or blank, of one of several labels."""
    if np.isnan(value):
        return "blank"
    return {1.0: "positive", 0.0: "negative", -1.0: "uncertain"}[float(value)]


def label_text(builder: tfds.core.DatasetBuilder, example: Mapping[str, Any]) -> str:
    """Returns the label of a bag in words, "" where it has none; uncertain ones end with "?".

    Args:
      builder: of the dataset.
      example: of `read_encoded`.
    """
    if "label" in example:
        label = int(example["label"])
        return builder.info.features["label"].int2str(label) if label >= 0 else ""
    marks = {"positive": "", "uncertain": "?"}
    states = {name: label_state(value) for name, value in example.get("labels", {}).items()}
    return ", ".join(name + marks[state] for name, state in states.items() if state in marks)
