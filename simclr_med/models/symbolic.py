"""Layers that become stock Keras layers on a symbolic Keras input (`keras.Input`).

So a functional model made from them loads without simclr_med: see functional.py.
"""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from simclr_med.keras_api import keras


def is_symbolic(x) -> bool:
    """Returns whether `x` is a symbolic Keras input, or was made from one."""
    return type(x).__name__ == "KerasTensor"  # a class that Keras keeps to itself


class Composite(keras.layers.Layer):
    """A layer that only combines others: on a symbolic input it becomes those others."""

    def __call__(self, x, *args, **kwargs):
        if is_symbolic(x):
            return self.call(x, *args, **kwargs)
        return super().__call__(x, *args, **kwargs)


def pad(x, before: int, after: int):
    """Returns feature maps padded with zeros on both axes.

    Args:
      x: [n, H, W, C].
      before, after: rows at the top and at the bottom, and columns at the left and at the right.
    """
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
    """Returns the mean of feature maps [n, H, W, C] over H and W: [n, C], or [n, 1, 1, C]."""
    if is_symbolic(x):
        return keras.layers.GlobalAveragePooling2D(keepdims=keepdims)(x)
    return tf.reduce_mean(x, axis=[1, 2], keepdims=keepdims)


def scale_by(x, gate):
    """Returns x * sigmoid(gate), the gate of shape [n, 1, 1, C]."""
    if is_symbolic(x):
        return keras.layers.Multiply()([x, keras.layers.Activation("sigmoid")(gate)])
    return tf.sigmoid(gate) * x


def stock(kind: Any, layer: keras.layers.Layer, x):
    """Returns the output of a stock Keras layer with the settings and weights of `layer`.

    Args:
      kind: class of the stock layer.
      layer: built.
      x: the input.
    """
    copy = kind.from_config(layer.get_config())
    y = copy(x)
    copy.set_weights(layer.get_weights())
    return y
