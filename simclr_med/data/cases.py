"""The cases of a split: ids, patients, labels and metadata. The unit is the case, never the image."""

from __future__ import annotations

import dataclasses

import numpy as np
import tensorflow as tf

from simclr_med.data import Bags
from simclr_med.data.known import Cases, one_value
from simclr_med.errors import UserError


def read_cases(bags: Bags, max_cases: int) -> Cases:
    """Returns the cases of a split; no image is decoded.

    From the index of the split; bags that are not as `open_split` made them are read.

    Args:
      bags: as `open_split` or `open_part` returns them.
      max_cases: only the first ones; 0: all.
    """
    if (cases := bags.known_cases()) is not None:
        return cases.of(slice(max_cases or None))

    def without_images(bag):
        return {**bag, "images": tf.size(bag["images"])}

    rows = list(bags.dataset.take(max_cases or -1).map(without_images).as_numpy_iterator())
    return Cases(
        ids=np.array([row["bag_id"].decode() for row in rows]),
        patients=np.array([row["patient_id"].decode() for row in rows]),
        labels=np.array([row["label"] for row in rows]),
        num_images=np.array([row["images"] for row in rows]),
        metadata={
            key: np.array([_one_value(row["metadata"][key]) for row in rows])
            for key in rows[0].get("metadata", {})
        },
        differential=np.array([row["differential"] for row in rows])
        if "differential" in rows[0]
        else None,
    )


def count_multi(bags: Bags) -> int:
    """Returns how many bags have at least two images."""
    if (cases := bags.known_cases()) is not None:
        return int((cases.num_images > 1).sum())
    sizes = bags.dataset.map(lambda bag: tf.size(bag["images"]))
    return int(sizes.reduce(0, lambda total, size: total + tf.cast(size > 1, tf.int32)))


def with_classes(cases: Cases, in_data: tuple[str, ...], trained: tuple[str, ...]) -> Cases:
    """Returns cases of other data with their labels numbered as a fine-tuned head has them.

    A class that the head does not know becomes "Other" where the head has that. Of several labels,
    one that the data lacks is unknown.

    Args:
      cases: labelled with `in_data`.
      in_data: class names, or labels, of the data.
      trained: those of the head.

    Raises:
      UserError: a class or label that the head does not know.
    """
    if in_data == trained:
        return cases
    multilabel = cases.labels.ndim == 2
    unknown = [name for name in in_data if name not in trained]
    if (unknown and (multilabel or "Other" not in trained)) or not set(in_data) & set(trained):
        raise UserError(
            f"The run was fine-tuned for {', '.join(trained)}; the data has "
            f"{', '.join(in_data) or 'no labels'}, so {', '.join(unknown) or 'nothing'} cannot be "
            "scored. Rename labels in its manifest; for chest X-rays --label_set=chexpert5 gives "
            "both datasets the same labels."
        )
    if multilabel:
        labels = np.full((len(cases.labels), len(trained)), np.nan, cases.labels.dtype)
        labels[:, [trained.index(name) for name in in_data]] = cases.labels
    else:
        other = trained.index("Other") if "Other" in trained else -1
        number = [trained.index(name) if name in trained else other for name in in_data]
        labels = np.append(number, -1)[cases.labels]  # the last for "no label", -1
    differential = None
    if cases.differential is not None:
        differential = np.zeros((len(cases.ids), len(trained)), cases.differential.dtype)
        for column, index in zip(cases.differential.T, number):
            if index >= 0:
                differential[:, index] += column
    return dataclasses.replace(cases, labels=labels, differential=differential)


def _one_value(values: np.ndarray) -> str:
    """Returns the value that the images of a case, bytes [K], have in common."""
    return one_value({value.decode() for value in values} - {""})
