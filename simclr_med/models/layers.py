"""Building blocks of the ResNets: BatchNorm, padded convolution, selective kernels, SE.

Parity: google-research/simclr tf2/resnet.py.

On a symbolic Keras input (`keras.Input`) every layer here dissolves into stock Keras layers, so
that a functional model made from them loads where our code is not: see functional.py.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import tensorflow as tf

from simclr_med.keras_api import keras
from simclr_med.models.remat import is_recomputing


@dataclasses.dataclass(frozen=True)
class NormSpec:
    """How the BatchNorms of a model behave: decay in [0, 1], statistics over all replicas or not."""

    decay: float = 0.9
    over_replicas: bool = True
    epsilon: float = 1e-5


def is_symbolic(x) -> bool:
    """Returns whether `x` is a symbolic Keras input, or was made from one."""
    return type(x).__name__ == "KerasTensor"  # a class that Keras keeps to itself


class Composite(keras.layers.Layer):
    """A layer that is nothing but others: on a symbolic input, those others."""

    def __call__(self, x, *args, **kwargs):
        if is_symbolic(x):
            return self.call(x, *args, **kwargs)
        return super().__call__(x, *args, **kwargs)


class BatchNorm(keras.layers.BatchNormalization):
    """BatchNorm whose moving statistics move once a step, in a block that is computed twice too."""

    def __call__(self, x, *args, **kwargs):
        if is_symbolic(x):
            return stock(keras.layers.BatchNormalization, self, x)
        return super().__call__(x, *args, **kwargs)

    def add_update(self, updates):
        if not is_recomputing():
            super().add_update(updates)


def stock(kind: Any, layer: keras.layers.Layer, x):
    """Returns what a layer of Keras's own class `kind` makes of `x`, with another's settings and
    weights."""
    copy = kind.from_config(layer.get_config())
    y = copy(x)
    copy.set_weights(layer.get_weights())
    return y


class BatchNormRelu(Composite):
    """BatchNorm, then ReLU if asked. Computes statistics in float32."""

    def __init__(self, norm: NormSpec, *, relu=True, init_zero=False, center=True):
        super().__init__()
        self.relu = relu
        self.bn = BatchNorm(
            momentum=norm.decay,
            epsilon=norm.epsilon,
            center=center,
            gamma_initializer="zeros" if init_zero else "ones",
            synchronized=norm.over_replicas,
            **({} if norm.over_replicas else {"fused": False}),
        )

    def call(self, x, training):
        x = self.bn(x, training=training)
        return tf.nn.relu(x) if self.relu else x


class Conv(Composite):
    """Convolution without bias whose padding depends on the kernel alone, not on the input."""

    def __init__(self, filters: int, kernel_size: int, strides: int = 1):
        super().__init__()
        before = (kernel_size - 1) // 2
        self.padding = (before, kernel_size - 1 - before) if strides > 1 else (0, 0)
        self.conv2d = keras.layers.Conv2D(
            filters,
            kernel_size,
            strides,
            padding="same" if strides == 1 else "valid",
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(),
        )

    def call(self, x):
        if any(self.padding):
            x = tf.pad(x, [[0, 0], self.padding, self.padding, [0, 0]])
        return self.conv2d(x)


class AveragePool(Composite):
    """2 x 2 average pooling of the ResNet-D shortcut; halves the side when strides is 2."""

    def __init__(self, strides: int):
        super().__init__()
        self.pad = strides > 1
        self.pool = keras.layers.AveragePooling2D(2, strides, "valid" if self.pad else "same")

    def call(self, x):
        if self.pad:
            x = tf.pad(x, [[0, 0], [0, 1], [0, 1], [0, 0]])
        return self.pool(x)


class PaddedMaxPool(Composite):
    """3 x 3 max-pooling with stride 2 over a border of one zero (BiT, Keras applications)."""

    def __init__(self):
        super().__init__()
        self.pool = keras.layers.MaxPooling2D(3, 2, "valid")

    def call(self, x):
        return self.pool(tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]]))


class SelectiveKernel(Composite):
    """Two 3 x 3 convolutions mixed by a softmax gate (https://arxiv.org/abs/1903.06586)."""

    def __init__(self, filters: int, strides: int, sk_ratio: float, norm: NormSpec):
        super().__init__()
        self.conv = Conv(2 * filters, 3, strides)  # both streams at once
        self.norm = BatchNormRelu(norm)
        self.squeeze = Conv(max(int(filters * sk_ratio), 32), 1)
        self.squeeze_norm = BatchNormRelu(norm)
        self.gate = Conv(2 * filters, 1)

    def call(self, x, training):
        streams = tf.stack(tf.split(self.norm(self.conv(x), training=training), 2, axis=-1))
        pooled = tf.reduce_mean(tf.reduce_sum(streams, axis=0), [1, 2], keepdims=True)
        gate = self.gate(self.squeeze_norm(self.squeeze(pooled), training=training))
        gate = tf.nn.softmax(tf.stack(tf.split(gate, 2, axis=-1)), axis=0)
        return tf.reduce_sum(streams * gate, axis=0)


class SqueezeExcite(Composite):
    """Channels scaled by a gate that sees their means (https://arxiv.org/abs/1709.01507)."""

    def __init__(self, filters: int, channels: int, se_ratio: float):
        super().__init__()
        init = keras.initializers.VarianceScaling
        self.reduce = keras.layers.Conv2D(
            max(1, int(filters * se_ratio)), 1, kernel_initializer=init()
        )
        self.expand = keras.layers.Conv2D(channels, 1, kernel_initializer=init())

    def call(self, x):
        gate = tf.reduce_mean(x, [1, 2], keepdims=True)
        return tf.sigmoid(self.expand(tf.nn.relu(self.reduce(gate)))) * x
