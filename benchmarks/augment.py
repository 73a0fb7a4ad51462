"""Augmentation on the device: CPU seconds per view, simclr_med's against the reference's.

    python benchmarks/augment.py --reference PATH

simclr_med does all of it: rotation, flip, colour jitter, greyscale and blur of a batch of uint8 pixels.
The reference does less, the way its code does it: colour jitter and greyscale image by image in a
tf.data map, then blur of the batch. Both start from pixels in memory; the items are views.
"""

from __future__ import annotations

import functools
import os
import sys

from harness import Bench, Contender


def pixels(options):
    """Returns drawn photographs, uint8 [batch, 2, size, size, 3]: smooth colours with noise."""
    import numpy as np

    rng = np.random.default_rng(0)
    shape = (options.batch, 2, options.size, options.size, 3)
    coarse = rng.integers(30, 226, (*shape[:2], 8, 8, 3))
    smooth = coarse.repeat(-(-options.size // 8), 2).repeat(-(-options.size // 8), 3)
    smooth = smooth[:, :, : options.size, : options.size]
    return np.clip(smooth + rng.normal(0, 12, shape), 0, 255).astype(np.uint8)


def make_simclr_med(options, rotation_degrees=45.0):
    """Returns work that augments the same batch `options.steps` times."""
    import tensorflow as tf

    from simclr_med.augment import augment_views, device_ops

    images = tf.constant(pixels(options))
    ops = device_ops(color_jitter_strength=1.0, use_blur=True, rotation_degrees=rotation_degrees)
    step = tf.function(lambda seed: augment_views(images, ops, seed))

    def work():
        for i in range(options.steps):
            step(tf.constant([0, i]))
        return options.steps * options.batch * 2

    work()
    return work


def make_reference(options):
    """Returns the same work in the reference's code, without rotation and flip."""
    sys.path.insert(0, os.path.abspath(options.reference))
    import data_util
    import numpy as np
    import tensorflow as tf

    views = np.concatenate(pixels(options).swapaxes(0, 1)).astype(np.float32) / 255
    size = options.size

    def jitter(image):
        image = data_util.random_color_jitter(image, strength=1.0)
        return tf.clip_by_value(tf.reshape(image, [size, size, 3]), 0.0, 1.0)

    @tf.function
    def blur(images):
        return data_util.batch_random_blur(tf.split(images, 2), size, size)

    batches = iter(
        tf.data.Dataset.from_tensor_slices(views)
        .repeat()
        .map(jitter, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(2 * options.batch, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )

    def work():
        for _ in range(options.steps):
            blur(next(batches))
        return options.steps * options.batch * 2

    work()
    return work


def main():
    def add_arguments(parser):
        parser.add_argument("--size", type=int, default=224, help="px")
        parser.add_argument("--batch", type=int, default=16, help="pairs in a batch")
        parser.add_argument("--steps", type=int, default=8, help="batches in a piece of work")

    contenders = {
        "simclr_med": Contender(make_simclr_med),
        "simclr_med, no rotation": Contender(
            functools.partial(make_simclr_med, rotation_degrees=0.0)
        ),
        "reference": Contender(make_reference, needs="reference"),
    }
    bench = Bench(__doc__, contenders, add_arguments)
    results = bench.measure(*contenders)
    titles = {
        "simclr_med": "a view, all",
        "simclr_med, no rotation": "a view, without rotation",
    }
    for name, what in titles.items():
        for of in ("cpu_s", "wall_s"):
            bench.row(what, results[name], results.get("reference"), goal=1.0, of=of)
    bench.finish()


if __name__ == "__main__":
    main()
