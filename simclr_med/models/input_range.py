"""The pixel range that an encoder's first layer expects: part of its weights, not of the data.

All callers of an encoder pass RGB in [0, 1]. Each family was trained on its own range, and an encoder
fed with another one gives features that are plausible and wrong.
"""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from simclr_med.keras_api import keras
from simclr_med.models.symbolic import is_symbolic

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
    if is_symbolic(images):
        return _symbolic(images, input_range)
    if input_range == "symmetric":
        return images * 2.0 - 1.0
    if input_range == "caffe":
        return tf.reverse(images * 255.0 - tf.constant(IMAGENET_MEANS, images.dtype), [-1])
    return images


def _symbolic(images, input_range: str):
    """Returns the same by stock Keras layers; 'caffe' by a 1 x 1 convolution that is never trained."""
    if input_range == "symmetric":
        return keras.layers.Rescaling(2.0, -1.0)(images)
    if input_range == "caffe":
        convolution = keras.layers.Conv2D(3, 1, trainable=False)
        y = convolution(images)
        kernel = 255.0 * np.eye(3)[::-1]  # RGB to BGR
        convolution.set_weights([kernel.reshape(1, 1, 3, 3), -np.array(IMAGENET_MEANS[::-1])])
        return y
    return images
