"""Opens a prepared TFDS dataset as bags of *encoded* images; what a bag is, the builder decides.

Two kinds of dataset are understood: ours (`images`: the encoded images of one bag) and plain image
classification (`image`: one image, a bag of one).
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_med.errors import UserError

NO_LABEL = -1


@dataclasses.dataclass(frozen=True)
class Bags:
    """A split of a dataset.

    Attributes:
      dataset: yields {"bag_id": string, "patient_id": string, "images": string [K], "label":
        int64}, label NO_LABEL where there is none. Images of one bag may differ in size.
      num_bags: elements of `dataset`.
      num_images: images over all bags.
      class_names: () where the dataset has no labels.
    """

    dataset: tf.data.Dataset
    num_bags: int
    num_images: int
    class_names: tuple[str, ...]


def open_split(builder: tfds.core.DatasetBuilder, split: str) -> Bags:
    """Returns the bags of a split, in the order in which they are stored.

    Raises:
      UserError: no such split, or a dataset without images.
    """
    if split not in builder.info.splits:
        names = ", ".join(builder.info.splits) or "none"
        raise UserError(
            f"Dataset {builder.info.full_name} has no split '{split}'; it has: {names}. "
            "Choose with --train_split and --eval_split."
        )
    features = builder.info.features
    key = "images" if "images" in features else "image"
    if key not in features:
        raise UserError(
            f"Dataset {builder.info.full_name} has no feature 'images' or 'image' but "
            f"{', '.join(features)}."
        )
    dataset = builder.as_dataset(
        split=split,
        decoders={key: tfds.decode.SkipDecoding()},
        shuffle_files=False,
        read_config=tfds.ReadConfig(try_autocache=False, add_tfds_id=True),
    )
    num_bags = builder.info.splits[split].num_examples
    num_images = (builder.info.metadata or {}).get("num_images", {}).get(split, num_bags)
    return Bags(
        dataset=dataset.map(_as_bag),
        num_bags=num_bags,
        num_images=num_images,
        class_names=_class_names(features),
    )


def _as_bag(example: dict) -> dict:
    """Returns the parts of a TFDS example that training and evaluation use."""
    tfds_id = example["tfds_id"]
    return {
        "bag_id": example.get("bag_id", tfds_id),
        "patient_id": example.get("patient_id", example.get("bag_id", tfds_id)),
        "images": example["images"] if "images" in example else example["image"][tf.newaxis],
        "label": tf.cast(example.get("label", NO_LABEL), tf.int64),
    }


def _class_names(features) -> tuple[str, ...]:
    label = features["label"] if "label" in features else None
    return tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()
