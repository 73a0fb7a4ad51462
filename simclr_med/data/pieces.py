"""Pieces of a split: bags i to j of it, read without the files before."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_med.data.labels import LabelReading
from simclr_med.data.prepared import Prepared
from simclr_med.data.records import Records, file_starts, read_records, record_reader


@dataclasses.dataclass(frozen=True)
class Pieces:
    """How to read bags i to j of a split alone. Attributes that are functions may read the split once.

    Attributes:
      open: (i, j), int64, also tensors of a tf.function, to the bags from i up to j.
      sizes: () to the images of each bag, int64 [n].
      starts: () to the number of the record at which each bag begins, then that of the end, int64
        [n + 1]; None: a bag is a record.
      files: number of the first record of each file, then of the end, int64 [F + 1].
    """

    open: Callable[[tf.Tensor, tf.Tensor], tf.data.Dataset]
    sizes: Callable[[], np.ndarray]
    starts: Callable[[], np.ndarray] | None
    files: np.ndarray

    def record_of(self, bags: np.ndarray) -> np.ndarray:
        """Returns the number of the record at which each of some bags begins, int64."""
        return self.starts()[bags] if self.starts else bags


def pieces_of_split(
    builder,
    split: str,
    decoding: tfds.decode.PartialDecoding,
    as_bags: Callable[[tf.data.Dataset], tf.data.Dataset],
    reading: LabelReading,
    *,
    alone: bool,
) -> Pieces | None:
    """Returns the pieces of a split as it is opened; None where its files cannot be read in pieces.

    Args:
      builder: of a prepared dataset.
      split: as TFDS names it.
      decoding: which features of its records to read, and how.
      as_bags: from these records to bags.
      reading: which images, joined or not.
      alone: each bag has one image.
    """
    split_info = builder.info.splits[split]
    files, read_them = file_starts(split_info), record_reader(builder, split_info, decoding)
    if read_them is None:
        return None

    def read(first, last):
        return as_bags(read_them(first, last))

    def records() -> Records:
        return read_records(Prepared(builder), split, reading.projection)

    by_patient = reading.bag_by == "patient"
    if reading.projection == "all" and not by_patient:  # a record is a bag

        def sizes() -> np.ndarray:
            return np.ones(files[-1], np.int64) if alone else records().sizes

        return Pieces(read, sizes, None, files)

    def first_records() -> np.ndarray:  # of the bags
        counted = records()
        nonempty = np.flatnonzero(counted.sizes)
        if not by_patient:
            return nonempty
        patients = counted.patients[nonempty]
        return nonempty[np.append(True, patients[1:] != patients[:-1])]

    def starts() -> np.ndarray:
        return np.append(first_records(), files[-1])

    def open_bags(first, last):
        offsets = starts()
        return read(tf.gather(offsets, first), tf.gather(offsets, last))

    def sizes_of_bags() -> np.ndarray:
        return np.add.reduceat(records().sizes, first_records())

    return Pieces(open_bags, sizes_of_bags, starts, files)


def with_mask(
    pieces: Pieces, mask: np.ndarray
) -> Callable[[tf.Tensor, tf.Tensor], tf.data.Dataset]:
    """Returns a function (i, j) to a dataset of (bag, its value of the mask), of the bags from i up to j.

    Args:
      pieces: of n bags.
      mask: bool [n].
    """

    def read(first, last):
        return tf.data.Dataset.zip(
            (
                pieces.open(first, last),
                tf.data.Dataset.from_tensor_slices(tf.constant(mask)[first:last]),
            )
        )

    return read


def keep(pieces: Pieces, kept: np.ndarray, sizes: np.ndarray) -> Pieces:
    """Returns the pieces of some of the bags.

    Args:
      pieces: of n bags.
      kept: which ones, bool [n].
      sizes: number of images of each bag that is kept, int [kept].
    """
    indices, masked = np.flatnonzero(kept), with_mask(pieces, kept)

    def read(first, last):
        bags = masked(tf.gather(indices, first), tf.gather(indices, last - 1) + 1)
        return bags.filter(lambda _, keep: keep).map(lambda bag, _: bag)

    def starts() -> np.ndarray:
        return np.append(pieces.record_of(indices), pieces.files[-1])

    return Pieces(read, lambda: sizes, starts, pieces.files)
