"""Shared by the benchmarks of the input: images drawn by code, both host pipelines, complete counting."""

from __future__ import annotations

import dataclasses
import statistics
import sys
import tempfile
import time
import types
from collections.abc import Callable

import numpy as np

IMAGE_SIZE = 224
_REPEATS = 10_000
median = statistics.median


def photograph(seed: int, size: int) -> bytes:
    """Returns a JPEG with structure at every scale, colours and some noise; 78 KB at 512 px.

    Args:
      seed: of the drawing.
      size: side, px.
    """
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    image = np.full((size, size, 3), 128.0)
    for cells, amplitude in ((4, 70), (16, 30), (64, 15), (256, 9)):
        grey, colour = rng.normal(size=(cells, cells, 1)), rng.normal(size=(cells, cells, 3))
        noise = amplitude * (0.8 * grey + 0.4 * colour)
        image += tf.image.resize(noise, [size, size], method="bicubic").numpy()
    image += rng.normal(size=(size, size, 1)) * 4
    return tf.io.encode_jpeg(image.clip(0, 255).astype(np.uint8), quality=90).numpy()


def radiograph(seed: int, kind: str, long_side: int = 0) -> bytes:
    """Returns a file with a drawn chest X-ray, grey, sides of 2,000 to 3,000 px: lungs, ribs, noise.

    Args:
      seed: decides size and drawing.
      kind: "JPEG" (quality 90) or "PNG".
      long_side: px of the longer side after the builders' own resize (as with --build_long_side); 0
        for the original size.
    """
    import tensorflow as tf
    from PIL import Image

    from tfds_builders import pixels

    rng = np.random.default_rng(seed)
    height, width = rng.integers(2000, 3001, 2)
    y, x = np.mgrid[-1:1:375j, -1:1:375j]
    body = 60 + 110 * np.exp(-((x / 0.25) ** 2)) + 20 * y
    for side in (-1, 1):
        body -= 45 * np.exp(-(((x - 0.45 * side) / 0.3) ** 4) - ((y / 0.7) ** 4))
        body += 14 * np.sin(26 * (y + 0.5 * (x - 0.2 * side) ** 2)) * (side * x > 0.1)
    body += 8 * rng.normal(size=body.shape)
    image = tf.image.resize(body[..., np.newaxis], [height, width], method="bicubic").numpy()
    image += 3 * rng.standard_normal(image.shape, np.float32)
    with tempfile.NamedTemporaryFile(suffix=kind) as file:
        picture = Image.fromarray(image[..., 0].clip(0, 255).astype(np.uint8))
        picture.save(file, kind, quality=90)
        file.flush()
        return pixels.load_encoded(file.name, long_side).images[0]


def endless(bags):
    """Returns the same bags repeated so often that no epoch ends."""
    return dataclasses.replace(
        bags,
        open=lambda: bags.dataset.repeat(_REPEATS),
        num_bags=bags.num_bags * _REPEATS,
        num_images=bags.num_images * _REPEATS,
    )


def simclr_med_dataset(images: list[bytes], batch_size: int):
    """Returns simclr_med's dataset of SimCLR's batches of `images` (encoded), repeated."""
    import tensorflow as tf

    from simclr_med.data import Bags

    n = len(images)
    names = [f"bag{i}" for i in range(n)]
    dataset = tf.data.Dataset.from_tensor_slices(
        {
            "bag_id": names,
            "patient_id": names,
            "images": np.array(images, object)[:, np.newaxis],
            "label": np.zeros(n, np.int64),
        }
    )
    endless_bags = endless(Bags(lambda: dataset, n, n, ("none",)))
    return batches(endless_bags, batch_size, method="simclr", shuffle_buffer=10 * batch_size)


def batches(bags, batch_size: int, *, method: str, shuffle_buffer: int):
    """Returns simclr_med's dataset of a method's batches of bags.

    Args:
      bags: a `simclr_med.data.Bags`.
      batch_size: pairs per batch.
      method: a key of METHODS.
      shuffle_buffer: examples.
    """
    from simclr_med.data import training_batches
    from simclr_med.training.methods import METHODS

    return training_batches(
        bags,
        sample_images=METHODS[method].sample_images,
        keep_bags=METHODS[method].keeps_bags,
        batch_size=batch_size,
        image_size=IMAGE_SIZE,
        seed=0,
        shuffle_buffer=shuffle_buffer,
    )


def reference_dataset(folder: str, images: list[bytes], batch_size: int):
    """Returns the dataset of the reference's data.py, unmodified, with a stand-in for its TFDS builder.

    A TFDS builder decodes a file's bytes with `decode_image`, in parallel, and does nothing else here.

    Args:
      folder: tf2/ of the reference.
      images: encoded.
      batch_size: images per batch.
    """
    import tensorflow as tf
    from absl import flags

    sys.path.insert(0, folder)
    import data

    flags.DEFINE_integer("image_size", IMAGE_SIZE, "")
    flags.DEFINE_float("color_jitter_strength", 1.0, "")
    flags.DEFINE_string("train_mode", "pretrain", "")
    flags.DEFINE_string("train_split", "train", "")
    flags.DEFINE_boolean("cache_dataset", False, "")
    flags.FLAGS(["reference"])

    class Builder:
        """The two members of a builder that data.py uses."""

        info = types.SimpleNamespace(features={"label": types.SimpleNamespace(num_classes=2)})

        def as_dataset(self, **_) -> tf.data.Dataset:
            """Returns decoded images and labels."""

            def decode(encoded):
                image = tf.image.decode_image(encoded, channels=3)
                image.set_shape([None, None, 3])
                return image, tf.constant(0, tf.int64)

            dataset = tf.data.Dataset.from_tensor_slices(images)
            return dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE)

    build = data.build_input_fn(Builder(), batch_size, None, is_training=True)
    # Its slack option sleeps as long as a batch has waited, which here includes the other's turn.
    options = tf.data.Options()
    options.experimental_slack = False
    return build(tf.distribute.InputContext()).with_options(options)


def consume(dataset, batch_size: int, batches: int) -> Callable[[], int]:
    """Returns work that takes `batches` batches and waits until the pipeline is idle again.

    So prefetching is counted in full: every piece starts and ends with full buffers.

    Args:
      dataset: of batches.
      batch_size: items per batch.
      batches: number of batches in a piece of work.
    """
    iterator = iter(dataset)

    def work() -> int:
        for _ in range(batches):
            next(iterator)
        _wait_until_idle()
        return batches * batch_size

    work()
    return work


def _wait_until_idle() -> None:
    idle = 0
    while idle < 4:
        before = time.process_time()
        time.sleep(0.05)
        idle = idle + 1 if time.process_time() - before < 0.002 else 0
