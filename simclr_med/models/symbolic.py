"""Layers that dissolve into stock Keras layers on a symbolic Keras input (`keras.Input`).

So a functional model made from them loads where our code is not: see functional.py.
"""

from __future__ import annotations

from typing import Any

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


def stock(kind: Any, layer: keras.layers.Layer, x):
    """Returns what a layer of Keras's own class `kind` makes of `x`, with another's settings and
    weights."""
    copy = kind.from_config(layer.get_config())
    y = copy(x)
    copy.set_weights(layer.get_weights())
    return y
