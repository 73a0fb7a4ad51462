"""An encoder as a functional Keras model of stock layers, which loads without simclr_med."""

from __future__ import annotations

from simclr_med.keras_api import keras
from simclr_med.models.encoder import Encoder


def functional(encoder: Encoder) -> keras.Model:
    """Returns RGB images float32 [n, H, W, 3] in [0, 1] -> features [n, d], with its own weights.

    The input range of the encoder is part of it. BiT's kernels are exported after standardisation: the
    features are the same, but further training is not.

    Args:
      encoder: built, under the float32 policy.
    """
    images = keras.Input([None, None, 3], name="images")
    shared = keras.Model(images, encoder(images, training=None), name="encoder")
    model = keras.models.clone_model(shared)
    model.set_weights(shared.get_weights())
    return model
