"""What an encoder makes of pixels before its first layer: part of its weights, not of the data.

Everything outside an encoder gives it RGB in [0, 1]. Each family was trained on its own range, and
an encoder fed another one gives features that are plausible and wrong.
"""

from __future__ import annotations

import tensorflow as tf

# RGB order; https://github.com/BVLC/caffe models, as in keras.applications' "caffe" mode.
IMAGENET_MEANS = (123.68, 116.779, 103.939)
INPUT_RANGES = ("unit", "symmetric", "caffe")
USUAL = {"resnet": "unit", "bit": "symmetric", "keras_resnet": "caffe"}  # by --encoder


def to_range(images: tf.Tensor, input_range: str) -> tf.Tensor:
    """Returns RGB images in [0, 1], float [n, H, W, 3], as an encoder was trained to see them.

    Args:
      images: RGB in [0, 1].
      input_range: 'unit' [0, 1]; 'symmetric' [-1, 1]; 'caffe' BGR in [0, 255] less the means of
        ImageNet.
    """
    if input_range == "symmetric":
        return images * 2.0 - 1.0
    if input_range == "caffe":
        return tf.reverse(images * 255.0 - tf.constant(IMAGENET_MEANS, images.dtype), [-1])
    return images
