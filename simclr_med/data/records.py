"""The records of a prepared split: what each holds, and reading some of them without the files before."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import io
import os
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_med.data.prepared import Prepared

# TensorFlow's own. TFDS's 8 MiB would be held by each of the files that are open at a time.
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

    def counts(self) -> dict[str, int]:
        """Returns {"bags", "images", "patients"} of the records that have an image."""
        there = self.sizes > 0
        patients = len(np.unique(self.patients[there]))
        return {"bags": int(there.sum()), "images": int(self.sizes.sum()), "patients": patients}


@functools.lru_cache(maxsize=64)
def read_records(prepared: Prepared, split: str, views: str) -> Records:
    """Returns the records of a split, which is read once: a whole split once and for all.

    What a whole split holds is stored beside it, in records_SPLIT.npz: numbers of images and of
    patients, no names. Where that cannot be written it is read again by the next process.

    Args:
      prepared: a dataset of bags.
      split: as TFDS names it.
      views: that are read; "all": every image.
    """
    builder = prepared.builder
    columns = _stored(builder, split)
    if columns is None:
        columns = _read(builder, split)
        if split in builder.info.splits:
            _store(builder, split, columns)
    nothing = np.zeros_like(columns["patients"])
    return Records(columns.get(f"images_{views}", nothing), columns["patients"])


def _read(builder, split: str) -> dict[str, np.ndarray]:
    """Returns {"patients", "images_all", "images_VIEW" of each view: int64 [n]} of a split."""
    features = builder.info.features
    wanted = [name for name in ("image_ids", "views", "patient_id") if name in features]
    sizes: collections.defaultdict[str, dict[int, int]] = collections.defaultdict(dict)
    patients: list[int] = []
    numbers: dict[bytes | None, int] = {}
    dataset = builder.as_dataset(
        split=split,
        decoders=tfds.decode.PartialDecoding(dict.fromkeys(wanted, True)),
        read_config=tfds.ReadConfig(try_autocache=False),
    )
    for record, example in enumerate(tfds.as_numpy(dataset)):
        sizes["all"][record] = len(example["image_ids"])
        for view, count in collections.Counter(example.get("views", ())).items():
            sizes[view.decode()][record] = count
        patients.append(numbers.setdefault(example.get("patient_id"), len(numbers)))
    columns = {"patients": np.array(patients, np.int64)}
    for view, found in sizes.items():
        columns[f"images_{view}"] = np.zeros(len(patients), np.int64)
        columns[f"images_{view}"][list(found)] = list(found.values())
    return columns


def _file(builder, split: str) -> str:
    return os.path.join(os.fspath(builder.data_path), f"records_{split}.npz")


def _stored(builder, split: str) -> dict[str, np.ndarray] | None:
    """Returns what `_read` would, from the files of the whole splits; None if one is missing."""
    splits = builder.info.splits
    parts = tfds.core.ReadInstruction.from_spec(split).to_absolute(dict(splits))
    tables = []
    for part in parts:
        path = _file(builder, part.splitname)
        if not tf.io.gfile.exists(path):
            return None
        with tf.io.gfile.GFile(path, "rb") as file, np.load(io.BytesIO(file.read())) as table:
            if len(table["patients"]) != splits[part.splitname].num_examples:
                return None
            tables.append({name: table[name][part.from_ : part.to] for name in table})
    end, of_parts = 0, []
    for table in tables:  # a patient is in one split
        of_parts.append(table["patients"] + end)
        end = max(end, int(of_parts[-1].max(initial=0)) + 1)
    columns = {"patients": np.concatenate(of_parts)}
    for name in {name for table in tables for name in table} - {"patients"}:
        none = [np.zeros_like(table["patients"]) for table in tables]
        columns[name] = np.concatenate([t.get(name, z) for t, z in zip(tables, none, strict=True)])
    return columns


def _store(builder, split: str, columns: dict[str, np.ndarray]) -> None:
    """Writes what `_read` returned, in one piece; nothing where the folder cannot be written."""
    path = _file(builder, split)
    mine, content = f"{path}.{os.getpid()}", io.BytesIO()
    np.savez_compressed(content, **columns)
    with contextlib.suppress(OSError, tf.errors.OpError):
        with tf.io.gfile.GFile(mine, "wb") as file:
            file.write(content.getvalue())
        tf.io.gfile.rename(mine, path, overwrite=True)


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
    """Returns (i, j) to the records from i up to j of a split, as `builder.as_dataset` gives them.

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
        there = tf.where(end > begin)[:, 0]
        of_files = (paths, names, skips + begin - starts[:-1], end - begin)
        wanted = tuple(tf.gather(column, there) for column in of_files)
        return tf.data.Dataset.from_tensor_slices(wanted).flat_map(of_file)

    return read
