"""The cases of a split, from its index, in the order of its bags; no image is read."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import tensorflow as tf

from simclr_med.data import case_index
from simclr_med.data.labels import LabelPolicy
from simclr_med.data.prepared import Prepared


@dataclasses.dataclass(frozen=True)
class Cases:
    """The evaluated cases of a split.

    Attributes:
      ids: [n].
      patients: [n].
      labels: int [n], below 0 none; or, of several labels a case, float [n, L], NaN unknown.
      num_images: images of each case, int [n].
      metadata: {key: text of each case, [n]}, "" unknown; what images of one case disagree about
        reads "several".
      differential: shares of the labels of each case, float [n, classes], see `Bags`; None where the
        data has none, or they were not requested.
    """

    ids: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    num_images: np.ndarray
    metadata: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    differential: np.ndarray | None = None

    @property
    def labelled(self) -> np.ndarray:
        """Returns which cases have a label, bool [n]."""
        if self.labels.ndim == 2:
            return ~np.isnan(self.labels).all(axis=1)
        return self.labels >= 0

    def of(self, kept: slice | np.ndarray) -> Cases:
        """Returns some of the cases: a slice, or those `kept`, bool [n]."""
        return Cases(
            ids=self.ids[kept],
            patients=self.patients[kept],
            labels=self.labels[kept],
            num_images=self.num_images[kept],
            metadata={key: values[kept] for key, values in self.metadata.items()},
            differential=None if self.differential is None else self.differential[kept],
        )


@dataclasses.dataclass(frozen=True)
class Known:
    """Information about bags that needs none of their images.

    Attributes:
      open: the `Bags.open` that it is of: of bags that were changed since, nothing is known.
      cases: makes the cases, in the order of the bags.
      source: what identifies the images, beside the ids of cases and the number of images of each: the
        prepared dataset, and how its images are read. As JSON has it.
    """

    open: Callable[[], tf.data.Dataset]
    cases: Callable[[], Cases]
    source: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Reading:
    """How examples become cases; see `bags.open_split`.

    Attributes:
      projection: "all", or the one whose images are kept.
      by_patient: whether the cases of a patient are joined.
      policy: of several labels; None: one a case, or none.
      has_label: whether `label` is a class.
      metadata_keys: what is said of the images.
      weights: whether `label_weights` become shares.
    """

    projection: str = "all"
    by_patient: bool = False
    policy: LabelPolicy | None = None
    has_label: bool = False
    metadata_keys: tuple[str, ...] = ()
    weights: bool = False


@functools.lru_cache(maxsize=8)
def read(prepared: Prepared, tfds_split: str, reading: Reading) -> Cases:
    """Returns the cases of a split, from its index; their arrays are read-only, because they are shared.

    Args:
      prepared: dataset.
      tfds_split: a split or slice, as TFDS writes it.
      reading: how examples become cases.
    """
    table = _table(prepared, tfds_split)
    size, kept = _sizes(table, reading.projection)
    nonempty = size > 0
    ids = _texts(table["bag_id" if "bag_id" in table.column_names else "tfds_id"])
    patients = _texts(table["patient_id"]) if "patient_id" in table.column_names else ids
    labels = _labels(table, reading)
    cases = Cases(
        ids=ids,
        patients=patients,
        labels=labels,
        num_images=size,
        metadata={
            name: _of_images(table[_column(table, name)], kept) for name in reading.metadata_keys
        },
        differential=_differential(table, labels) if reading.weights else None,
    )
    cases = cases if nonempty.all() else cases.of(nonempty)
    cases = _by_patient(cases) if reading.by_patient else cases
    fixed = [cases.ids, cases.patients, cases.labels, cases.num_images, *cases.metadata.values()]
    for values in fixed + ([] if cases.differential is None else [cases.differential]):
        values.setflags(write=False)  # all who ask share them
    return cases


@functools.lru_cache(maxsize=8)
def sizes_and_patients(
    prepared: Prepared, tfds_split: str, projection: str
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the number of images, and a number for the patient, of each record: int64 [n], read-only.

    A record without an image of the projection has 0 images. Where the dataset knows no patients, all
    patient numbers are 0.

    Args:
      prepared: dataset.
      tfds_split: a split or slice, as TFDS writes it.
      projection: whose images count; "all": every image.
    """
    table = _table(prepared, tfds_split)
    sizes = _sizes(table, projection)[0].astype(np.int64)
    patients = np.zeros(table.num_rows, np.int64)
    if "patient_id" in table.column_names:
        patients = np.unique(_texts(table["patient_id"]), return_inverse=True)[1]
    for values in (sizes, patients):
        values.setflags(write=False)
    return sizes, patients


def _sizes(table: pa.Table, projection: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the images of each example, int [n], and which of all images are kept; None: all."""
    if projection == "all":
        return table["num_images"].to_numpy(), None
    offsets, projections = _ragged(table["views"])
    kept = projections == projection
    before = np.concatenate([[0], np.cumsum(kept)])
    return before[offsets[1:]] - before[offsets[:-1]], kept


@functools.lru_cache(maxsize=8)
def _table(prepared: Prepared, tfds_split: str) -> pa.Table:
    names, rows = case_index.rows_of(prepared.builder, tfds_split)
    table = pa.concat_tables([case_index.read(prepared.builder, name) for name in names])
    in_order = len(rows) == table.num_rows and (rows == np.arange(len(rows))).all()
    return (table if in_order else table.take(rows)).combine_chunks()


def shares(weights: tf.Tensor, label: tf.Tensor) -> tf.Tensor:
    """Returns the weights of cases' labels, float32 [..., classes], as shares; see `Bags`.

    Args:
      weights: of `label_weights`, float32 [..., classes].
      label: of the cases, int64 [...]; -1 for none.
    """
    total = tf.reduce_sum(weights, axis=-1, keepdims=True)
    alone = tf.one_hot(label, tf.shape(weights)[-1])  # zeros of no label, -1
    are_there = (total > 0) & (label >= 0)[..., tf.newaxis]
    return tf.where(are_there, tf.math.divide_no_nan(weights, total), alone)


def _labels(table: pa.Table, reading: Reading) -> np.ndarray:
    if (policy := reading.policy) is not None:
        stored = {
            key: tf.constant(table[f"labels/{key}"].to_numpy(), tf.float32) for key in policy.keys
        }
        return policy.apply(stored).numpy()
    if not reading.has_label:
        return np.full(table.num_rows, -1, np.int64)
    return table["label"].to_numpy().astype(np.int64)


def _differential(table: pa.Table, labels: np.ndarray) -> np.ndarray:
    _, weights = _ragged(table["label_weights"])
    weights = weights.reshape(table.num_rows, -1).astype(np.float32)
    return shares(tf.constant(weights), tf.constant(labels)).numpy()


def _column(table: pa.Table, key: str) -> str:
    return f"metadata/{key}" if f"metadata/{key}" in table.column_names else "views"


def _of_images(column: pa.ChunkedArray, kept: np.ndarray | None) -> np.ndarray:
    """Returns the text of each case, of those images that are kept, all where None."""
    offsets, values = _ragged(column)
    kept = values != "" if kept is None else kept & (values != "")
    per_case = []
    for start, end in zip(offsets[:-1], offsets[1:], strict=True):
        texts = values[start:end][kept[start:end]]
        per_case.append(one_value(texts))
    return np.array(per_case, str)


def one_value(texts) -> str:
    """Returns what the images of a case say, of their texts without ""."""
    texts = set(texts)
    return "several" if len(texts) > 1 else next(iter(texts), "")


def _by_patient(cases: Cases) -> Cases:
    """Returns one case for each run of cases of a patient, as `by_patient.join_patients` does."""
    first = np.flatnonzero(np.append(True, cases.patients[1:] != cases.patients[:-1]))
    low = np.minimum.reduceat(cases.labels, first, axis=0)  # NaN of one that is unknown
    high = np.maximum.reduceat(cases.labels, first, axis=0)
    unknown = np.nan if cases.labels.ndim == 2 else -1
    patients = cases.patients[first]
    return Cases(
        ids=patients,
        patients=patients.copy(),
        labels=np.where(low == high, low, np.array(unknown, low.dtype)),
        num_images=np.add.reduceat(cases.num_images, first),
    )


def _texts(column: pa.ChunkedArray) -> np.ndarray:
    return np.array(column.to_pylist(), str)


def _ragged(column: pa.ChunkedArray) -> tuple[np.ndarray, np.ndarray]:
    """Returns offsets [n + 1] and all values of a column of lists, as one array."""
    lists = column.combine_chunks()
    lists = lists.chunk(0) if isinstance(lists, pa.ChunkedArray) else lists
    offsets = lists.offsets.to_numpy()
    values = lists.values.to_numpy(zero_copy_only=False)
    return offsets - offsets[0], values[offsets[0] : offsets[-1]]
