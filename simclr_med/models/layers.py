"""Building blocks of the ResNets: BatchNorm, padded convolution, selective kernels, SE.

Parity: google-research/simclr tf2/resnet.py.

On a symbolic Keras input every layer here becomes stock Keras layers: see symbolic.py.
"""

from __future__ import annotations

import dataclasses

import tensorflow as tf

from simclr_med import distribution
from simclr_med.keras_api import keras
from simclr_med.models.conv2d import Conv2D
from simclr_med.models.remat import is_recomputing
from simclr_med.models.symbolic import (
    Composite,
    is_symbolic,
    mean_over_image,
    pad,
    relu,
    scale_by,
    stock,
)

_FUSED = (tf.float32, tf.bfloat16, tf.float16)  # what the fused BatchNorm computes in


@dataclasses.dataclass(frozen=True)
class NormSpec:
    """How the BatchNorms of a model behave: decay in [0, 1], statistics over all replicas or not."""

    decay: float = 0.9
    over_replicas: bool = True
    epsilon: float = 1e-5


class BatchNorm(keras.layers.BatchNormalization):
    """BatchNorm whose moving statistics move once a step, in a block that is computed twice too.

    Where one replica's statistics are all there are, images train through TensorFlow's fused
    kernel: less time and memory, the same numbers. The kernel's variance is the unbiased one (over
    n - 1); the moving variance keeps the biased one (over n), as in SimCLR's code.
    """

    def __call__(self, x, *args, **kwargs):
        if is_symbolic(x):
            return stock(keras.layers.BatchNormalization, self, x)
        return super().__call__(x, *args, **kwargs)

    def call(self, x, training=None):
        local = not self.synchronized or distribution.num_replicas() == 1
        if training and self.trainable and local and x.shape.rank == 4 and x.dtype in _FUSED:
            return self._fused_training(x)
        return super().call(x, training=training)

    def _sync_calculate_mean_and_var(self, x, reduction_axes, keep_dims, mask=None):
        """Two passes, two sums over replicas. Keras makes one pass and takes the mean of squares less
        the square of the mean: where images are alike, as those of a projection head that begins,
        float32 has no digits left of such a difference."""
        del keep_dims, mask
        channels = x.shape[-1]
        count = tf.cast(tf.size(x) // channels, x.dtype)
        sums = tf.concat([tf.reduce_sum(x, reduction_axes), count[tf.newaxis]], axis=0)
        sums = distribution.sum_over_replicas(sums)
        mean, count = sums[:-1] / sums[-1], sums[-1]
        # The variance does not move with the mean: the deviations from it add up to 0.
        deviations = tf.math.squared_difference(x, tf.stop_gradient(mean))
        total = distribution.sum_over_replicas(tf.reduce_sum(deviations, reduction_axes))
        return mean, total / count

    def add_update(self, updates):
        if not is_recomputing():
            super().add_update(updates)

    def _fused_training(self, x):
        channels = x.shape[-1]
        gamma = self.gamma if self.scale else tf.ones([channels])
        beta = self.beta if self.center else tf.zeros([channels])
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=gamma,
            offset=beta,
            mean=tf.zeros([0]),
            variance=tf.zeros([0]),
            epsilon=self.epsilon,
            is_training=True,
        )
        n = tf.cast(tf.size(x) // channels, tf.float32)
        biased = variance * (n - 1.0) / n

        def move(moving, value):
            moving.assign_sub((moving - value) * (1.0 - self.momentum))

        self.add_update(lambda: move(self.moving_mean, mean))
        self.add_update(lambda: move(self.moving_variance, biased))
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
        return relu(x) if self.relu else x


class Conv(Composite):
    """Convolution without bias whose padding depends on the kernel alone, not on the input."""

    def __init__(self, filters: int, kernel_size: int, strides: int = 1):
        super().__init__()
        before = (kernel_size - 1) // 2
        self.padding = (before, kernel_size - 1 - before) if strides > 1 else (0, 0)
        self.conv2d = Conv2D(
            filters,
            kernel_size,
            strides,
            padding="same" if strides == 1 else "valid",
            use_bias=False,
            kernel_initializer=keras.initializers.VarianceScaling(),
        )

    def call(self, x):
        if any(self.padding):
            x = pad(x, *self.padding)
        return self.conv2d(x)


class AveragePool(Composite):
    """2 x 2 average pooling of the ResNet-D shortcut; halves the side when strides is 2."""

    def __init__(self, strides: int):
        super().__init__()
        self.pad = strides > 1
        self.pool = keras.layers.AveragePooling2D(2, strides, "valid" if self.pad else "same")

    def call(self, x):
        if self.pad:
            x = pad(x, 0, 1)
        return self.pool(x)


class PaddedMaxPool(Composite):
    """3 x 3 max-pooling with stride 2 over a border of one zero (BiT, Keras applications)."""

    def __init__(self):
        super().__init__()
        self.pool = keras.layers.MaxPooling2D(3, 2, "valid")

    def call(self, x):
        return self.pool(pad(x, 1, 1))


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
        gate = relu(self.reduce(mean_over_image(x, keepdims=True)))
        return scale_by(x, self.expand(gate))
