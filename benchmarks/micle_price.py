"""Cost of MICLe: CPU seconds per pair and peak memory, by bag size and at a batch of 1,024.

    python benchmarks/micle_price.py [--reference PATH]

Bags of 2, 6 and 24 photograph-like JPEGs of 512 px, written and read by TFDS as the builders' are,
through `training_batches`: a bag gives two views, so its other images only cost reading past them. A
peak that varies by 10 % counts as independent of the bag: the allocator alone causes as much variation.
The reference has no bags, so PATH has no effect.
"""

from __future__ import annotations

import functools
import io
import os
import tempfile

import input_paths
import tensorflow_datasets as tfds
from harness import Bench, Contender

SIZE, NUM_BAGS, BATCH_SIZE, BATCHES = 512, 48, 32, 8
BAG_SIZES = (2, 6, 24)
SHUFFLE_BUFFER = 400
LARGE_BATCH = 1024
_FOLDER = "MICLE_PRICE_FOLDER"  # environment variable: where the parent has written the bags


class PricedBags(tfds.core.GeneratorBasedBuilder):
    """Bags of drawn images; the name of the config gives their number."""

    VERSION = tfds.core.Version("1.0.0")
    BUILDER_CONFIGS = tuple(tfds.core.BuilderConfig(name=f"of{k}") for k in BAG_SIZES)

    def _info(self):
        features = {
            "bag_id": tfds.features.Text(),
            "patient_id": tfds.features.Text(),
            "images": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
            "image_ids": tfds.features.Sequence(tfds.features.Text()),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        bag_size = int(self.builder_config.name.removeprefix("of"))
        images = [input_paths.photograph(seed, SIZE) for seed in range(24)]
        for bag in range(NUM_BAGS):
            names = [str((bag + i) % len(images)) for i in range(bag_size)]
            encoded = [io.BytesIO(images[int(name)]) for name in names]
            name = str(bag)
            ids = {"bag_id": name, "patient_id": name, "image_ids": names}
            yield bag, {**ids, "images": encoded}


def _work(options, bag_size: int, method: str = "micle", batch_size: int = BATCH_SIZE):
    """Returns work that takes batches of a method's pairs from bags of `bag_size` images."""
    del options
    from simclr_med.data import open_split

    builder = PricedBags(config=f"of{bag_size}", data_dir=os.environ[_FOLDER])
    bags = input_paths.endless(open_split(builder, "train"))
    dataset = input_paths.batches(bags, batch_size, method=method, shuffle_buffer=SHUFFLE_BUFFER)
    return input_paths.consume(dataset, batch_size, max(1, BATCH_SIZE * BATCHES // batch_size))


def main() -> None:
    """Writes the bags, measures, prints."""
    contenders = {f"{k}": Contender(functools.partial(_work, bag_size=k)) for k in BAG_SIZES}
    for method in ("micle", "simclr"):
        make = functools.partial(_work, bag_size=6, method=method, batch_size=LARGE_BATCH)
        contenders[method] = Contender(make)
    bench = Bench(__doc__, contenders)
    with tempfile.TemporaryDirectory() as folder:
        os.environ[_FOLDER] = folder
        for k in BAG_SIZES:
            PricedBags(config=f"of{k}", data_dir=folder).download_and_prepare()
        results = bench.measure(*map(str, BAG_SIZES))
        for k in BAG_SIZES[1:]:
            for of, goal, what in (
                ("cpu_s", 1.05 if k == 6 else None, "a pair"),
                ("peak_mib", 1.1, "peak memory of the process"),
            ):
                options = {"against": "bags of 2", "of": of, "goal": goal}
                bench.row(f"bags of {k}: {what}", results[str(k)], results["2"], **options)
        results = bench.measure("micle", "simclr")
        for of, goal, what in (  # a pair is of two photographs, not two crops of one
            ("cpu_s", 2.0, "a pair"),
            ("peak_mib", 1.1, "peak memory of the process"),
        ):
            options = {"against": "SimCLR", "of": of, "goal": goal}
            bench.row(
                f"batch of {LARGE_BATCH}: {what}", results["micle"], results["simclr"], **options
            )
    bench.finish()


if __name__ == "__main__":
    main()
