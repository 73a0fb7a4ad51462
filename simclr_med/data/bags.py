"""Opens a prepared TFDS dataset as bags of *encoded* images.

Three kinds of dataset are understood: tfds_builders' with one label a bag (`images`, `label`), with
several (`images`, `labels`, `views`), and plain image classification (`image`: a bag of one).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_med.data import case_index, known
from simclr_med.data.by_patient import join_patients
from simclr_med.data.case_index import KeepEncoded
from simclr_med.data.known import Cases, Known, Reading
from simclr_med.data.labels import AS_STORED, LabelPolicy, LabelReading, make_policy
from simclr_med.data.pieces import Pieces, pieces_of_split
from simclr_med.data.prepared import Prepared
from simclr_med.errors import UserError

NO_LABEL = -1


@dataclasses.dataclass(frozen=True)
class Bags:
    """A split of a dataset.

    Attributes:
      open: makes `dataset`, a new one each time.
      dataset: yields {"bag_id": string, "patient_id": string, "images": string [K], "label"} and,
        on request, "metadata": {key: string [K]}, "image_ids": string [K] and, where the dataset
        has it, "differential": float32 [classes], shares that add up to 1 (0 without a label), all of
        it on the label where a case has no other. `label` is int64,
        NO_LABEL where there is none; or, of `multilabel` datasets, float32 [L], each 1, 0 or NaN
        (unknown). Images of one bag may differ in size.
      num_bags: elements of `dataset`.
      num_images: images over all bags.
      num_multi: bags of at least two images; None where they were not counted.
      pieces: how to read some of the bags alone, where that is possible; of a copy with another `open`
        it has to be replaced too.
      class_names: of the classes, or of the L labels; () where the dataset has no labels.
      multilabel: whether a bag has several labels.
      known: what is known without reading images, while its `open` is that of the bags.
    """

    open: Callable[[], tf.data.Dataset]
    num_bags: int
    num_images: int
    class_names: tuple[str, ...]
    multilabel: bool = False
    num_multi: int | None = None
    pieces: Pieces | None = None
    known: Known | None = None

    @property
    def dataset(self) -> tf.data.Dataset:
        """The bags, read by whichever host asks: a dataset cannot be handed to another."""
        return self.open()

    def known_cases(self) -> Cases | None:
        """Returns what is known of the bags without reading them; None: they have to be read."""
        if self.known is None or self.known.open is not self.open:
            return None
        return self.known.cases()

    def changed(
        self, open: Callable[[], tf.data.Dataset], change: Callable[[Cases], Cases], **also: Any
    ) -> Bags:
        """Returns changed bags, and keeps what is known of them without reading.

        Args:
          open: makes the changed `dataset`.
          change: does the same to the cases, from those of the bags to those of the changed ones.
          also: other attributes to replace.
        """
        known = None
        if self.known is not None and self.known.open is self.open:
            before = self.known.cases
            known = Known(open, lambda: change(before()), self.known.source)
        return dataclasses.replace(self, open=open, known=known, **also)


def open_split(
    builder: tfds.core.DatasetBuilder,
    split: str,
    reading: LabelReading = AS_STORED,
    *,
    with_metadata: bool = False,
    with_image_ids: bool = False,
    with_differential: bool = False,
) -> Bags:
    """Returns the bags of a split, in the order in which they are stored.

    Args:
      builder: of a prepared dataset.
      split: a split, a named part of one (CheXpert's paper_train), a slice as TFDS writes them,
        such as "train[:10%]", or "all": every split, one after the other.
      reading: which images and labels, and what these mean.
      with_metadata: yield what is known of each image, for subgroups (not of joined bags).
      with_image_ids: yield the images' names where the dataset has them (not of joined bags).
      with_differential: yield the shares of a case's labels where the dataset has them.

    Raises:
      UserError: no such split, a dataset without images, or one that cannot be read so.
    """
    info, projection = builder.info, reading.projection
    split_info, tfds_split = find_split(builder, split)
    key, by_patient = _image_feature(info), reading.bag_by == "patient"
    _check_reading(info, reading)
    policy = _policy(builder, reading)
    class_names = policy.names if policy else _class_names(info.features)
    has_label = bool(_class_names(info.features))
    keys = () if by_patient or not with_metadata else _metadata_keys(info.features)
    named = with_image_ids and not by_patient
    read = ["bag_id", "patient_id", key, "label", "labels"]  # what is not read costs nothing
    read += (
        ["label_weights"] * with_differential
        + ["image_ids"] * named
        + ["metadata", "views"] * bool(keys)
        + ["views"] * (projection != "all")
    )
    read = [name for name in read if name in info.features]

    decoding = tfds.decode.PartialDecoding(dict.fromkeys(read, True), {key: KeepEncoded()})

    def as_bags(dataset: tf.data.Dataset) -> tf.data.Dataset:
        if projection != "all":
            dataset = dataset.map(lambda example: _keep_projection(example, projection))
            dataset = dataset.filter(lambda example: tf.size(example["images"]) > 0)
        dataset = dataset.map(lambda example: _as_bag(example, policy, has_label, keys, named))
        return join_patients(dataset) if by_patient else dataset

    def read_split() -> tf.data.Dataset:
        config = tfds.ReadConfig(try_autocache=False, add_tfds_id=True)
        options = {"decoders": decoding, "shuffle_files": False, "read_config": config}
        return as_bags(builder.as_dataset(split=tfds_split, **options))

    with_shares = "label_weights" in read and not by_patient
    case_reading = Reading(projection, by_patient, policy, has_label, keys, with_shares)
    counts = _count(builder, split, split_info, projection)
    if not counts["bags"]:
        raise UserError(
            f"--projection={projection} leaves no image in split '{split}' of {info.full_name}."
        )
    num_bags = counts["patients" if by_patient else "bags"]
    return Bags(
        read_split,
        num_bags,
        counts["images"],
        class_names,
        multilabel=policy is not None,
        pieces=pieces_of_split(
            builder,
            tfds_split,
            decoding,
            as_bags,
            reading,
            alone=counts["images"] == counts["bags"],
        ),
        known=Known(
            read_split,
            lambda: known.read(Prepared(builder), tfds_split, case_reading),
            {**case_index.identity(builder), "projection": projection, "by_patient": by_patient},
        ),
    )


def find_split(builder: tfds.core.DatasetBuilder, split: str) -> tuple[Any, str]:
    """Returns TFDS's SplitInfo of a split, a named part or a slice, and TFDS's name for it.

    Args:
      builder: of a prepared dataset.
      split: as in `open_split`.

    Raises:
      UserError: there is no such split, or nothing is in it.
    """
    named = (builder.info.metadata or {}).get("named_splits", {})
    tfds_split = named.get(split, split)
    try:
        info = builder.info.splits[tfds_split]
    except (KeyError, ValueError, NotImplementedError) as error:  # the last: all[:10%]
        names = ", ".join((*builder.info.splits, *named)) or "none"
        raise UserError(
            f"Dataset {builder.info.full_name} has no split '{split}'; it has: {names}, and all of "
            "them as 'all'. Choose with --train_split and --eval_split."
        ) from error
    if not info.num_examples:
        raise UserError(f"Split '{split}' of {builder.info.full_name} is empty.")
    return info, tfds_split


def _image_feature(info) -> str:
    """Returns the feature that holds the images: of a bag, or of plain image classification.

    Raises:
      UserError: there is none.
    """
    for key in ("images", "image"):
        if key in info.features:
            return key
    raise UserError(
        f"Dataset {info.full_name} has no feature 'images' or 'image' but "
        f"{', '.join(info.features)}."
    )


def _check_reading(info, reading: LabelReading) -> None:
    """Refuses projections and joined bags where a dataset does not know them."""
    if reading.projection != "all" and "views" not in info.features:
        raise UserError(
            f"--projection={reading.projection}: {info.full_name} does not say which of them an image is."
        )
    patient_by_patient = info.disable_shuffling and "patient_id" in info.features
    if reading.bag_by == "patient" and not patient_by_patient:
        raise UserError(
            f"--bag_by=patient: {info.full_name} is not stored patient by patient; chexpert and "
            "nih_cxr14 are."
        )


def _policy(builder, reading: LabelReading) -> LabelPolicy | None:
    """Returns how to read several labels; None for a dataset that has one a bag, or none."""
    features = builder.info.features
    if "labels" not in features or not isinstance(features["labels"], tfds.features.FeaturesDict):
        for flag in ("label_set", "uncertain_policy", "blank_policy"):
            if (value := getattr(reading, flag)) != getattr(LabelReading, flag):
                raise UserError(f"--{flag}={value}: {builder.info.full_name} is not multi-label.")
        return None
    return make_policy(
        tuple(features["labels"]),
        reading,
        renamed=dict((builder.info.metadata or {}).get("chexpert5", {})),
        dataset=builder.info.full_name,
    )


def _keep_projection(example: dict, projection: str) -> dict:
    kept = example["views"] == projection

    def of_kept(values):
        return tf.boolean_mask(values, kept)

    per_image = {"images": example["images"], "views": example["views"]}
    per_image |= {key: example[key] for key in ("metadata", "image_ids") if key in example}
    return {**example, **tf.nest.map_structure(of_kept, per_image)}


def _metadata_keys(features) -> tuple[str, ...]:
    """Returns what an example says of its images, "view" last."""
    if "images" not in features:  # not tfds_builders': "metadata" could be anything
        return ()
    keys = tuple(features["metadata"]) if "metadata" in features else ()
    return (*keys, *(("view",) if "views" in features and "view" not in keys else ()))


def _as_bag(
    example: dict,
    policy: LabelPolicy | None,
    has_label: bool,
    metadata_keys: tuple[str, ...],
    named: bool,
) -> dict:
    """Returns the parts of a TFDS example that training and evaluation use."""
    tfds_id = example["tfds_id"]
    label = tf.cast(example["label"] if has_label else NO_LABEL, tf.int64)
    stored = example.get("metadata", {})
    metadata = {key: stored[key] if key in stored else example["views"] for key in metadata_keys}
    return {
        "bag_id": example.get("bag_id", tfds_id),
        "patient_id": example.get("patient_id", example.get("bag_id", tfds_id)),
        "images": example["images"] if "images" in example else example["image"][tf.newaxis],
        "label": policy.apply(example["labels"]) if policy else label,
        **({"metadata": metadata} if metadata else {}),
        **({"image_ids": example["image_ids"]} if named and "image_ids" in example else {}),
        **(
            {"differential": known.shares(example["label_weights"], label)}
            if "label_weights" in example
            else {}
        ),
    }


def _count(builder, split: str, split_info, projection: str) -> dict[str, int]:
    """Returns {"bags", "images", "patients"} of a split, from what its builder counted.

    What it did not count (a slice, another builder's dataset) is counted in the index of its cases.
    """
    metadata = builder.info.metadata or {}
    if split == "all" and split not in builder.info.splits:  # patients are in one split each
        parts = [
            _count(builder, name, info, projection) for name, info in builder.info.splits.items()
        ]
        return {
            key: sum(part[key] for part in parts)
            for key in parts[0]
            if all(key in p for p in parts)
        }
    if split in (by_views := metadata.get("num_by_views", {})):
        return by_views[split][projection]
    features = builder.info.features
    if "images" not in features:
        return {"bags": split_info.num_examples, "images": split_info.num_examples}
    if split in (num_images := metadata.get("num_images", {})):
        return {"bags": split_info.num_examples, "images": num_images[split]}
    cases = known.read(
        Prepared(builder), find_split(builder, split)[1], Reading(projection=projection)
    )
    return {
        "bags": len(cases.ids),
        "images": int(cases.num_images.sum()),
        "patients": len(set(cases.patients)),
    }


def _class_names(features) -> tuple[str, ...]:
    label = features["label"] if "label" in features else None
    return tuple(label.names) if isinstance(label, tfds.features.ClassLabel) else ()
