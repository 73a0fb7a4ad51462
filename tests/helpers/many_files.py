"""Prepared datasets of drawn bags in as many files as a test asks for, stored patient by patient."""

import numpy as np
import tensorflow_datasets as tfds

NUM_TRAIN, NUM_BAGS = 498, 600
VIEWS = ("frontal", "lateral")


def size(bag: int) -> int:
    """Returns the number of images of a bag."""
    return 1 + (bag * 7 % 11) % 3


def patient(bag: int) -> int:
    """Returns the number of the patient of a bag: 1 to 3 bags each, side by side."""
    return bag // 6 * 3 + (0, 0, 0, 1, 2, 2)[bag % 6]


def view(bag: int, image: int) -> str:
    """Returns the view of an image."""
    return VIEWS[(bag + image) % 5 == 0]


class DrawnBags(tfds.core.GeneratorBasedBuilder):
    """Bag k has label k and `size(k)` noisy images of 12 x 9 px, of `patient(k)`."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        text = tfds.features.Text()
        features = {
            "bag_id": text,
            "patient_id": text,
            "images": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
            "image_ids": tfds.features.Sequence(text),
            "views": tfds.features.Sequence(text),
            "label": tfds.features.ClassLabel(num_classes=NUM_BAGS),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager):
        return {
            "train": self._generate_examples(0, NUM_TRAIN),
            "test": self._generate_examples(NUM_TRAIN, NUM_BAGS),
        }

    def _generate_examples(self, first: int, last: int):
        rng = np.random.default_rng(first)
        for bag in range(first, last):
            images = [rng.integers(0, 256, (9, 12, 3), np.uint8) for _ in range(size(bag))]
            yield (
                bag - first,
                {
                    "bag_id": f"b{bag}",
                    "patient_id": f"p{patient(bag)}",
                    "images": images,
                    "image_ids": [f"{bag}_{i}" for i in range(len(images))],
                    "views": [view(bag, i) for i in range(len(images))],
                    "label": bag,
                },
            )


def prepare(folder, num_files: int) -> tfds.core.DatasetBuilder:
    """Returns the builder, its splits prepared in `num_files` files each."""
    builder = DrawnBags(data_dir=folder)
    builder.download_and_prepare(download_config=tfds.download.DownloadConfig(num_shards=num_files))
    return builder
