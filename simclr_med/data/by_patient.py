"""Bags by patient: joins the bags of a patient, which are stored side by side."""

from __future__ import annotations

import tensorflow as tf

_END = "\0end"  # no patient's id


def join_patients(bags: tf.data.Dataset) -> tf.data.Dataset:
    """Returns one bag for each run of bags with equal `patient_id`: all their images in one.

    The bag's id is the patient's. A label in which the patient's bags differ becomes unknown: NaN
    where there are several labels, -1 where there is one.

    Args:
      bags: yields {"bag_id", "patient_id": string, "images": string [K], "label": int64 or
        float32 [L]}, ordered by patient.
    """
    spec = bags.element_spec
    end = {
        "bag_id": tf.constant(_END),
        "patient_id": tf.constant(_END),
        "images": tf.zeros([0], tf.string),
        "label": tf.zeros(spec["label"].shape, spec["label"].dtype),
    }
    unknown = tf.constant(float("nan") if spec["label"].dtype.is_floating else -1)
    unknown = tf.cast(unknown, spec["label"].dtype)

    def step(buffered: dict, bag: dict):
        """Emits the buffered bag when the next patient begins."""
        same = buffered["patient_id"] == bag["patient_id"]
        joined = {
            "bag_id": bag["patient_id"],
            "patient_id": bag["patient_id"],
            "images": tf.concat(
                [buffered["images"][: tf.where(same, 2**31 - 1, 0)], bag["images"]], 0
            ),
            "label": tf.where(
                tf.logical_or(~same, buffered["label"] == bag["label"]), bag["label"], unknown
            ),
        }
        return joined, (~same & (buffered["patient_id"] != _END), buffered)

    # The sentinel after the last bag pushes the last patient out.
    stream = bags.concatenate(tf.data.Dataset.from_tensors(end))
    return stream.scan(end, step).filter(lambda whole, _: whole).map(lambda _, bag: bag)
