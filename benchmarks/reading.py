"""Reading in streams: bytes per worker, throughput of one worker, and how well batches mix.

    python benchmarks/reading.py [--table Data_Entry_2017_v2020.csv] [--pairs 5]

6,400 bags of one photograph-like JPEG of 256 px, written by TFDS in 64 files of equal length and in
1,000, which are split between streams. Bytes are those that a process requests from the system in an
epoch of SimCLR (/proc/self/io), relative to those of the files. Throughput: two views of 224 px, all
streams against one stream, which is how the split was read before. Mixing is measured over an epoch of
`training_batches`, on NIH's real table in the order and the files of its builder (404 KB an image, from
their 45 GB), with a picture of one pixel for every X-ray. --reference has no effect.
"""

from __future__ import annotations

import functools
import gc
import hashlib
import io
import os
import tempfile

import input_paths
import numpy as np
import tensorflow_datasets as tfds
from harness import Bench, Contender
from micle_price import PricedBags

NUM_BAGS, SIZE, BATCH_SIZE, BATCHES = 6400, 256, 128, 10
FILES = {64: "64 equal files", 1000: "1,000 files"}
ORDERS = {"streams": 3, "one stream": 2}  # `data_order`
LARGE_BATCH, XRAY_BYTES = 1024, 45e9 / 112_120
_FOLDER = "READING_FOLDER"  # environment variable: where the parent has written the bags


class ReadBags(PricedBags):
    """Bags of one drawn image."""

    BUILDER_CONFIGS = tuple(tfds.core.BuilderConfig(name=f"in{k}") for k in FILES)

    def _generate_examples(self):
        images = [input_paths.photograph(seed, SIZE) for seed in range(24)]
        for bag in range(NUM_BAGS):
            encoded = io.BytesIO(images[bag % len(images)])
            ids = {"bag_id": str(bag), "patient_id": str(bag), "image_ids": [str(bag)]}
            yield bag, {**ids, "images": [encoded]}


def _batches(bags, order: int, batch_size: int = BATCH_SIZE, **options):
    """Returns SimCLR's batches of bags, read in the order `order`, a value of ORDERS."""
    from simclr_med.data import training_batches
    from simclr_med.training.methods import METHODS

    simclr = METHODS["simclr"]
    options = {"sample_images": simclr.sample_images, "keep_bags": simclr.keeps_bags, **options}
    return training_batches(bags, batch_size=batch_size, seed=0, data_order=order, **options)


def _bags(num_files: int):
    from simclr_med.data import open_split

    builder = ReadBags(config=f"in{num_files}", data_dir=os.environ[_FOLDER])
    return open_split(builder, "train"), sum(
        os.path.getsize(p) for p in builder.data_path.glob("*.tf*")
    )


def _work(options, order: int):
    """Returns work that takes batches read in the order `order`."""
    del options
    dataset = _batches(_bags(64)[0], order, image_size=224, shuffle_buffer=1280)
    return input_paths.consume(dataset, BATCH_SIZE, BATCHES)


def _bytes_read(num_files: int, part: tuple[int, int], order: int = 3) -> float:
    """Returns the bytes that a worker reads in an epoch, as a share of those of all files.

    Args:
      num_files: a key of FILES.
      part: (index of the worker, number of workers).
      order: a value of ORDERS.
    """
    bags, total = _bags(num_files)
    steps = NUM_BAGS // BATCH_SIZE
    batches = iter(_batches(bags, order, image_size=8, shuffle_buffer=1280, part=part))
    next(batches)
    before = _requested_bytes()
    for _ in range(steps):
        next(batches)
    bytes_read = _requested_bytes() - before
    del batches
    gc.collect()
    return bytes_read / total


def _requested_bytes() -> int:
    with open("/proc/self/io", encoding="utf-8") as file:
        return int(file.readline().split()[1])  # rchar


def _xrays(path: str):
    """Returns NIH's table as `Bags` of one image each, and their patients, int [n]."""
    import pandas as pd
    import tensorflow as tf

    from simclr_med.data import Bags
    from simclr_med.data.pieces import Pieces
    from tfds_builders.bag_table import shards

    table = pd.read_csv(path, usecols=["Image Index", "Patient ID"])
    table["patient_id"] = table["Patient ID"].astype(str)
    table["rank"] = [hashlib.sha256(p.encode()).digest() for p in table["patient_id"]]
    table = table.sort_values(["rank", "Image Index"], ignore_index=True)
    files = np.cumsum([0, *map(len, shards(table.assign(size=int(XRAY_BYTES))))])
    pixel = tf.io.encode_png(np.zeros([1, 1, 3], np.uint8)).numpy()
    n = len(table)
    columns = {
        "bag_id": table["Image Index"].to_numpy(),
        "patient_id": table["patient_id"].to_numpy(),
    }
    columns |= {"images": np.array([[pixel]]).repeat(n, 0), "label": np.arange(n)}

    def read(first, last):
        cut = {name: tf.constant(column.tolist())[first:last] for name, column in columns.items()}
        cut["label"] = tf.cast(cut["label"], tf.int64)
        return tf.data.Dataset.from_tensor_slices(cut)

    pieces = Pieces(read, lambda: np.ones(n, np.int64), None, files)
    bags = Bags(lambda: read(0, n), n, n, ("none",), pieces=pieces)
    return bags, table["Patient ID"].to_numpy()


def _mixing(indices: np.ndarray, patients: np.ndarray) -> dict[str, float]:
    """Returns how well batches mix.

    "distance": mean distance in stored order of two examples of a batch, as a share of all; 1/3 for a
    uniform draw. "twice": share of the examples whose patient has another one in the batch. "parts":
    share of 64 equal parts of the split that the batch has an example of.

    Args:
      indices: of the examples of each batch in stored order, int [batches, B].
      patients: of all examples in stored order, int [n].
    """
    n, size = len(patients), indices.shape[1]
    ordered, weight = np.sort(indices, 1), 2 * np.arange(size) - size + 1
    distances = (ordered * weight).sum(1) / (size * (size - 1) / 2) / n
    twice, parts = [], []
    for batch in indices:
        _, patient, counts = np.unique(patients[batch], return_inverse=True, return_counts=True)
        twice.append((counts[patient] > 1).mean())
        parts.append(len(np.unique(batch * 64 // n)) / 64)
    return {"distance": distances.mean(), "twice": np.mean(twice), "parts": np.mean(parts)}


def _mixing_table(bench: Bench, path: str) -> None:
    """Adds the rows of how well batches of the table at `path` mix."""
    bags, patients = _xrays(path)
    steps = bags.num_bags // LARGE_BATCH
    uniform = np.random.default_rng(0).permutation(bags.num_bags)[: steps * LARGE_BATCH]
    uniform_mixing = _mixing(uniform.reshape(steps, LARGE_BATCH), patients)
    for buffer, name in ((10_000, "one stream"), (10_000, "streams"), (40_000, "streams")):
        options = {"image_size": 1, "shuffle_buffer": buffer}
        batches = _batches(bags, ORDERS[name], LARGE_BATCH, **options)
        indices = [batch["label"].numpy() for batch in batches.take(steps)]
        assert len(np.unique(indices)) > 0.99 * steps * LARGE_BATCH  # an epoch
        for what, value in _mixing(np.array(indices), patients).items():
            title = f"{name}, --shuffle_buffer={buffer}: {what}"
            compared = {"unit": "share", "goal": None, "against": "uniform"}
            bench.add(title, value, uniform_mixing[what], value / uniform_mixing[what], **compared)


def main() -> None:
    """Writes the bags, measures, prints."""
    contenders = {
        name: Contender(functools.partial(_work, order=order)) for name, order in ORDERS.items()
    }
    bench = Bench(
        __doc__, contenders, lambda parser: parser.add_argument("--table", help="NIH's, for mixing")
    )
    with tempfile.TemporaryDirectory() as folder:
        os.environ[_FOLDER] = folder
        for files in FILES:
            config = tfds.download.DownloadConfig(num_shards=files)
            ReadBags(config=f"in{files}", data_dir=folder).download_and_prepare(
                download_config=config
            )
        results = bench.measure(*ORDERS)
        for of in ("cpu_s", "wall_s", "peak_mib"):
            other = {"against": "one stream", "goal": 1.0 if of != "peak_mib" else None}
            bench.row("an image, two views, one worker", *results.values(), of=of, **other)
        for files, title in FILES.items():
            for count in (1, 2, 4):
                largest = max(_bytes_read(files, (i, count)) for i in range(count))
                against = {"unit": "of all", "goal": 1.1, "against": f"1/{count}"}
                bench.add(
                    f"{title}: bytes of one of {count}",
                    largest,
                    1 / count,
                    largest * count,
                    **against,
                )
        before = _bytes_read(64, (1, 4), ORDERS["one stream"])
        against = {"unit": "of all", "goal": None, "against": "1/4"}
        bench.add("in one stream: bytes of one of 4", before, 1 / 4, before * 4, **against)
    if bench.options.table:
        _mixing_table(bench, bench.options.table)
    bench.finish()


if __name__ == "__main__":
    main()
