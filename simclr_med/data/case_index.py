"""An index of a split's examples without their images: written once at build, then read at once.

TFDS reads all bytes of an example, its images too, to tell whose it is. `write` puts everything else
into a Parquet file beside the prepared data, a row per example in the order of the files. Where it is
missing (data prepared before, TFDS's own datasets) the records are read, once in a process. A file that
is not of these data is never used.
"""

from __future__ import annotations

import functools
import itertools
import json
import time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import tensorflow as tf
import tensorflow_datasets as tfds

from simclr_med.data.prepared import Prepared

_KEY = b"simclr_med_case_index"  # of the file's metadata: what it was made of
_FORMAT = 1
_AT_ONCE = 4096  # examples as Python objects, 2 to 3 KB each
_LONG = 10  # seconds of reading that are worth a line
_PER_EXAMPLE = ("bag_id", "patient_id", "label", "labels", "label_weights")
# What else may have these names, in TFDS's own datasets, is not read.
_KINDS = {"label": tfds.features.ClassLabel, "labels": tfds.features.FeaturesDict}
_PER_IMAGE = ("views", "metadata", "image_ids")


class KeepEncoded(tfds.decode.SkipDecoding):
    """Leaves images encoded; TFDS's own copies those of a bag one by one, 0.3 ms for six photographs."""

    def decode_batch_example(self, serialized_example: tf.Tensor) -> tf.Tensor:
        """Returns the encoded images of a bag, string [K], as they are."""
        return serialized_example


def path_of(builder, split: str):
    """Returns the path of the index of a stored split, etils.epath.Path."""
    return builder.data_path / f"case_index-{split}.parquet"


def exists(builder) -> bool:
    """Returns whether every split of a dataset has an index."""
    return all(path_of(builder, split).exists() for split in builder.info.splits)


def write(builder) -> None:
    """Writes the index of every split of a dataset that was just prepared.

    Raises:
      OSError: the disk is full, or another fault of it.
    """
    _read.cache_clear()
    for split in builder.info.splits:
        table = _from_records(builder, split)
        about = {_KEY: json.dumps(_made_of(builder, split)).encode()}
        sink = pa.BufferOutputStream()
        pq.write_table(table.replace_schema_metadata(about), sink)
        path = path_of(builder, split)
        temporary = path.with_name(f"{path.name}.tmp")
        temporary.write_bytes(sink.getvalue().to_pybytes())
        temporary.replace(path)


def read(builder, split: str) -> pa.Table:
    """Returns a row per example of a stored split, in the order of its files.

    Columns: bag_id, patient_id, tfds_id: string, those that there are; num_images: int; label: int;
    labels/NAME: float; label_weights: list of float; views, metadata/KEY: list of string.

    Args:
      builder: of a prepared dataset.
      split: a split that is stored; no slice.
    """
    return _read(Prepared(builder), split)


@functools.lru_cache(maxsize=16)
def _read(prepared: Prepared, split: str) -> pa.Table:
    builder = prepared.builder
    path = path_of(builder, split)
    why = "there is no index of them"
    if path.exists():
        try:
            table = pq.read_table(pa.BufferReader(path.read_bytes()))
            about = json.loads((table.schema.metadata or {}).get(_KEY, b"null"))
        except (pa.ArrowException, ValueError) as error:
            why = f"{path} cannot be read ({str(error).splitlines()[0]})"
        else:
            made_of = _made_of(builder, split)
            if about == made_of and table.num_rows == made_of["examples"]:
                return table
            why = f"{path} is of other data"
        print(f"Note: {why}: the records are read in its place.", flush=True)
    start = time.monotonic()
    table = _from_records(builder, split)
    if (took := time.monotonic() - start) > _LONG:
        print(
            f"Note: {took:.0f} s went into reading the ids and labels of {table.num_rows:,} cases of "
            f"split '{split}' ({why}); --mode=build writes one beside the data.",
            flush=True,
        )
    return table


def identity(builder) -> dict:
    """Returns what tells a prepared dataset from others, wherever it is stored, as JSON has it."""
    splits = {split: _of_split(builder, split) for split in sorted(builder.info.splits)}
    return {"dataset": builder.info.full_name, "splits": splits}


def _made_of(builder, split: str) -> dict:
    """Returns what an index depends on, as JSON has it."""
    return {"format": _FORMAT, **_of_split(builder, split)}


def _of_split(builder, split: str) -> dict:
    """Returns what tells the data of a split from others."""
    info = builder.info.splits[split]
    return {
        "examples": info.num_examples,
        "shards": list(info.shard_lengths),
        "bytes": info.num_bytes,
        "fingerprint": (builder.info.metadata or {}).get("fingerprint"),
    }


def _from_records(builder, split: str) -> pa.Table:
    """Returns what `read` does, from the records; no image is decoded."""
    features = builder.info.features
    images = next((key for key in ("images", "image") if key in features), None)
    own_layout = images == "images"  # else "metadata" and others could be anything
    columns = [
        key
        for key in _PER_EXAMPLE
        if key in features and isinstance(features[key], _KINDS.get(key, object))
    ]
    columns += [key for key in _PER_IMAGE if key in features and own_layout]
    if images and (own_layout and "image_ids" not in features or not columns):
        columns.append(images)  # something has to be read
    dataset = builder.as_dataset(
        split=split,
        decoders=tfds.decode.PartialDecoding(
            dict.fromkeys(columns, True), {images: KeepEncoded()} if images in columns else None
        ),
        shuffle_files=False,
        read_config=tfds.ReadConfig(
            try_autocache=False, add_tfds_id=True, interleave_cycle_length=1
        ),  # file by file
    )
    tables: list[pa.Table] = []
    examples = dataset.map(_sized).as_numpy_iterator()
    while rows := [_row(example) for example in itertools.islice(examples, _AT_ONCE)]:
        schema = tables[0].schema if tables else None
        tables.append(pa.Table.from_pylist(rows, schema=schema))
    return pa.concat_tables(tables)


def _sized(example: dict) -> dict:
    """Returns an example with the number of its images in their place."""
    one_each = [example[key] for key in ("images", "image_ids") if key in example]
    left_out = {"image", "images", "image_ids", *(["tfds_id"] if "bag_id" in example else [])}
    kept = {key: value for key, value in example.items() if key not in left_out}
    return {**kept, "num_images": tf.size(one_each[0]) if one_each else tf.constant(1)}


def _row(example: dict) -> dict:
    """Returns the cells of an example, whose dictionaries are columns of their own."""
    row: dict = {}
    for key, value in example.items():
        if isinstance(value, dict):
            row |= {f"{key}/{name}": _cell(v) for name, v in value.items()}
        else:
            row[key] = _cell(value)
    return row


def _cell(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, np.ndarray) and value.dtype == object:
        return [item.decode() for item in value]
    return value.tolist()


def rows_of(builder, tfds_split: str) -> tuple[list[str], np.ndarray]:
    """Returns the stored splits that a split or slice is of, and its rows of their joined tables, [n].

    The rows are in the order in which `as_dataset` yields them: file by file, or of a dataset that was
    shuffled TFDS's interleaving of files.

    Args:
      builder: of a prepared dataset.
      tfds_split: a split or slice, as TFDS writes it.
    """
    first_row: dict[str, int] = {}
    of_file: dict[str, tuple[str, int]] = {}
    for name, info in builder.info.splits.items():
        start = 0
        for file in info.file_instructions:
            of_file[str(file.filename)] = name, start
            start += file.take
    instructions = builder.info.splits[tfds_split].file_instructions
    names = list(dict.fromkeys(of_file[str(file.filename)][0] for file in instructions))
    total = 0
    for name in names:
        first_row[name] = total
        total += builder.info.splits[name].num_examples
    starts = []
    for file in instructions:
        name, start = of_file[str(file.filename)]
        starts.append(first_row[name] + start + file.skip)
    takes = [file.take for file in instructions]
    if builder.info.disable_shuffling or len(instructions) == 1:
        pieces = [np.arange(start, start + n) for start, n in zip(starts, takes, strict=True)]
        return names, np.concatenate(pieces)
    default = tfds.ReadConfig()
    numbers = tf.data.Dataset.from_tensor_slices((np.int64(starts), np.int64(takes))).interleave(
        lambda start, n: tf.data.Dataset.range(start, start + n),
        cycle_length=16,  # TFDS's own where it is free to choose (core/reader.py)
        block_length=default.interleave_block_length,
        num_parallel_calls=default.num_parallel_calls_for_interleave_files,
        deterministic=True,
    )
    return names, np.concatenate(list(numbers.batch(65536).as_numpy_iterator()))
