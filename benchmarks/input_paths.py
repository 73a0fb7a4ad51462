"""What the benchmarks of the input share: images drawn by code, both host pipelines, honest counting."""

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
    """Returns a JPEG of 78 KB at 512 px: structure of every scale, colours, some noise."""
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
    """Returns a drawn chest X-ray, grey, sides of 2,000 to 3,000 px: lungs, ribs, noise.

    Args:
      seed: decides size and drawing.
      kind: "JPEG" (quality 90) or "PNG".
      long_side: px of the longer side after the builders' own resize (as --build_long_side asks for);
        0 for as it was drawn.
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
        drawn = Image.fromarray(image[..., 0].clip(0, 255).astype(np.uint8))
        drawn.save(file, kind, quality=90)
        file.flush()
        return pixels.load_encoded(file.name, long_side).images[0]


def endless(bags):
    """Returns the same bags over and over, as if they were many: no epoch ends."""
    return dataclasses.replace(
        bags,
        open=lambda: bags.dataset.repeat(_REPEATS),
        num_bags=bags.num_bags * _REPEATS,
        num_images=bags.num_images * _REPEATS,
    )


def ours(images: list[bytes], batch_size: int):
    """Returns our dataset of SimCLR's batches of `images`, over and over."""
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
    many = endless(Bags(lambda: dataset, n, n, ("none",)))
    return batches(many, batch_size, method="simclr", shuffle_buffer=10 * batch_size)


def batches(bags, batch_size: int, *, method: str, shuffle_buffer: int):
    """Returns our dataset of the batches that a method makes of bags."""
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


def reference(folder: str, images: list[bytes], batch_size: int):
    """Returns the dataset of the reference's data.py, unmodified; TFDS's part is played here.

    A TFDS builder decodes a file's bytes with `decode_image`, in parallel; that is all it does.
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
        """The two things data.py asks a builder for."""

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
    # Its slack option sleeps as long as a batch has waited: here, for the turn of the other contender.
    options = tf.data.Options()
    options.experimental_slack = False
    return build(tf.distribute.InputContext()).with_options(options)


def consume(dataset, batch_size: int, batches: int) -> Callable[[], int]:
    """Returns work that takes `batches` batches and waits until the pipeline rests again.

    So what was prefetched before is paid for: every piece starts and ends with full buffers.
    """
    iterator = iter(dataset)

    def work() -> int:
        for _ in range(batches):
            next(iterator)
        _rest()
        return batches * batch_size

    work()
    return work


def _rest() -> None:
    idle = 0
    while idle < 4:
        before = time.process_time()
        time.sleep(0.05)
        idle = idle + 1 if time.process_time() - before < 0.002 else 0
