"""The records of a prepared split: what each holds, and reading some of them without the files before."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_med.data import known
from simclr_med.data.prepared import Prepared

# TensorFlow's default. Each file that is open would buffer TFDS's 8 MiB.
_BUFFER_BYTES = 256 * 1024


@dataclasses.dataclass(frozen=True)
class Records:
    """What the records of a split hold, [n], in the order in which they are stored.

    Attributes:
      sizes: images of the view that is read, int.
      patients: a number for the patient, int; all 0 where the dataset knows none.
    """

    sizes: np.ndarray
    patients: np.ndarray


def read_records(prepared: Prepared, split: str, projection: str) -> Records:
    """Returns the records of a split, from its index (`case_index`), no image.

    Args:
      prepared: a dataset of bags.
      split: as TFDS names it.
      projection: that is read; "all": every image.
    """
    return Records(*known.sizes_and_patients(prepared, split, projection))


def file_starts(split_info) -> np.ndarray:
    """Returns the number of the first record of each file of a split, then their total, int64 [F + 1].

    Args:
      split_info: TFDS's, of a split or of a slice; records are counted within it.
    """
    takes = [file.take for file in split_info.file_instructions]
    return np.cumsum([0, *takes], dtype=np.int64)


def record_reader(
    builder, split_info, decoding: tfds.decode.PartialDecoding
) -> Callable[[tf.Tensor, tf.Tensor], tf.data.Dataset] | None:
    """Returns a function (i, j) to the records from i up to j, as `builder.as_dataset` yields them.

    Only the files that hold them are opened; of the first of those, what is before i is skipped
    (TFRecord has no table of contents), by its length where records are longer than the buffer. The
    numbers may be tensors of a tf.function: TFDS, which takes only Python's, would have to trace its
    parser for each part. None: of files that are not TFRecord's.

    Args:
      builder: of a prepared dataset.
      split_info: TFDS's, of a split or of a slice.
      decoding: which features to read, and how.
    """
    if builder.info.file_format != tfds.core.FileFormat.TFRECORD:
        return None
    files = split_info.file_instructions
    paths = [os.fspath(file.filename) for file in files]
    names = [os.path.basename(path) for path in paths]
    skips, starts = np.array([file.skip for file in files], np.int64), file_starts(split_info)
    features = decoding.extract_features(builder.info.features)

    def of_file(path, name, skip, take):
        records = tf.data.TFRecordDataset(path, buffer_size=_BUFFER_BYTES).skip(skip).take(take)

        def parse(number, record):
            example = features.deserialize_example(record, decoders=decoding.decoders)
            return {
                **example,
                "tfds_id": tf.strings.join([name, tf.strings.as_string(number)], "__"),
            }

        return tf.data.Dataset.zip((tf.data.Dataset.range(skip, skip + take), records)).map(parse)

    def read(first, last):
        begin, end = tf.maximum(starts[:-1], first), tf.minimum(starts[1:], last)  # [F]
        nonempty = tf.where(end > begin)[:, 0]
        of_files = (paths, names, skips + begin - starts[:-1], end - begin)
        selected = tuple(tf.gather(column, nonempty) for column in of_files)
        return tf.data.Dataset.from_tensor_slices(selected).flat_map(of_file)

    return read
