"""views.png: pairs as the network sees them."""

from __future__ import annotations

import tensorflow as tf

from simclr_med.augment import augment_views
from simclr_med.run_folder import figures, gfile

_PAIRS, _VIEWS_ACROSS, _GAP = 24, 8, 8


def save(path: str, batch: dict, ops: dict[str, tuple], seed: int) -> tf.Tensor:
    """Writes up to 24 examples of a batch, augmented, each example's views side by side.

    Args:
      path: of the PNG.
      batch: with "images" uint8 [B, V, H, W, 3].
      ops: from `augment.device_ops`.
      seed: of the augmentation.

    Returns:
      The picture, uint8 [height, width, 3].
    """
    images = batch["images"][:_PAIRS]
    n, num_views, size = images.shape[0], images.shape[1], images.shape[2]
    augmented = augment_views(images, ops, tf.constant([seed, 0]))
    augmented = tf.reshape(augmented, [num_views, n, size, size, 3])
    pairs = tf.concat(tf.unstack(augmented), axis=2)  # [n, H, V W, 3]
    columns = max(1, _VIEWS_ACROSS // num_views)
    pairs = tf.pad(pairs, [[0, -n % columns], [0, _GAP], [0, _GAP], [0, 0]], constant_values=1.0)
    rows = tf.reshape(pairs, [-1, columns, *pairs.shape[1:]])
    picture = tf.concat(tf.unstack(tf.concat(tf.unstack(rows, axis=1), axis=2)), axis=0)
    picture = tf.image.convert_image_dtype(picture, tf.uint8, saturate=True)
    with figures.drawn(path):
        gfile.write(path, tf.io.encode_png(picture).numpy())
    return picture
