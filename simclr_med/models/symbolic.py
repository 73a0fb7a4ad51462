"""Layers that dissolve into stock Keras layers on a symbolic Keras input (`keras.Input`).

So a functional model made from them loads where our code is not: see functional.py.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from simclr_med.keras_api import keras


def is_symbolic(x) -> bool:
    """Returns whether `x` is a symbolic Keras input, or was made from one."""
    return type(x).__name__ == "KerasTensor"  # a class that Keras keeps to itself


class Composite(keras.layers.Layer):
    """A layer that is nothing but others: on a symbolic input, those others."""

    def __call__(self, x, *args, **kwargs):
        if is_symbolic(x):
            return self.call(x, *args, **kwargs)
        return super().__call__(x, *args, **kwargs)


def pad(x, before: int, after: int):
    """Returns feature maps [n, H, W, C] padded with rows and columns of zeros."""
    sides = (before, after)
    if is_symbolic(x):
        return keras.layers.ZeroPadding2D((sides, sides))(x)
    return tf.pad(x, [[0, 0], sides, sides, [0, 0]])


def relu(x):
    """Returns max(x, 0)."""
    return keras.layers.ReLU()(x) if is_symbolic(x) else tf.nn.relu(x)


def add(x, y):
    """Returns x + y, of equal shapes."""
    return keras.layers.Add()([x, y]) if is_symbolic(x) else x + y


def mean_over_image(x, keepdims: bool = False):
    """Returns the mean over the places of feature maps [n, H, W, C]: [n, C], or [n, 1, 1, C]."""
    if is_symbolic(x):
        return keras.layers.GlobalAveragePooling2D(keepdims=keepdims)(x)
    return tf.reduce_mean(x, axis=[1, 2], keepdims=keepdims)


def scale_by(x, gate):
    """Returns x * sigmoid(gate), the gate of shape [n, 1, 1, C]."""
    if is_symbolic(x):
        return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(gate)])
    return tf.sigmoid(gate) * x


def stock(kind: Any, layer: keras.layers.Layer, x):
    """Returns what a layer of Keras's own class `kind` makes of `x`, with another's settings and
    weights."""
    copy = kind.from_config(layer.get_config())
    y = copy(x)
    copy.set_weights(layer.get_weights())
    return y
