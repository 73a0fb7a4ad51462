"""Bags of one-pixel colours in memory, for tests of batches."""

import tensorflow as tf

from simclr_med.data import Bags

SIZES = [1, 2, 3, 4, 1, 6, 2]  # images in each bag


def png(value):
    """Returns a PNG of one grey."""
    return tf.io.encode_png(tf.fill([8, 8, 3], tf.cast(value, tf.uint8))).numpy()


def make_bags():
    """Returns `Bags` in memory: bag k holds images of grey 30 k, 30 k + 1, ...; its label is k."""
    rows = [(k, [png(30 * k + i) for i in range(size)]) for k, size in enumerate(SIZES)]

    def generate():
        for k, images in rows:
            yield {"bag_id": f"b{k}", "patient_id": f"p{k}", "images": images, "label": k}

    signature = {
        "bag_id": tf.TensorSpec((), tf.string),
        "patient_id": tf.TensorSpec((), tf.string),
        "images": tf.TensorSpec((None,), tf.string),
        "label": tf.TensorSpec((), tf.int64),
    }
    dataset = tf.data.Dataset.from_generator(generate, output_signature=signature)
    return Bags(lambda: dataset, len(SIZES), sum(SIZES), tuple("abcdefg"))
