"""ResNet-v2 of Big Transfer: GroupNorm and weight standardisation, no batch statistics.

Kolesnikov et al. 2020 (arXiv:1912.11370). Parity: google-research/big_transfer, checked against NumPy
by its tests. Nothing in it depends on other images of a batch, so it trains the
same on any number of replicas.
"""

from __future__ import annotations

import tensorflow as tf

from simclr_med.keras_api import keras
from simclr_med.models.encoder import Encoder
from simclr_med.models.layers import PaddedMaxPool
from simclr_med.models.symbolic import Composite, add, is_symbolic, pad, relu, stock

UNITS_PER_GROUP: dict[int, tuple[int, ...]] = {
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}
NORM_GROUPS = 32
NORM_EPSILON = 1e-5
STANDARDIZATION_EPSILON = 1e-10  # added to the variance of a kernel


class StandardizedConv(keras.layers.Layer):
    """Convolution whose kernel is standardised per output channel (Qiao et al., arXiv:1903.10520).

    Without bias; padding depends on the kernel alone. `kernel` is float32 [k, k, in, filters], and
    is standardised in float32 under mixed precision too.
    """

    def __init__(self, filters: int, kernel_size: int, strides: int = 1):
        super().__init__()
        self.filters, self.kernel_size, self.strides = filters, kernel_size, strides

    def build(self, input_shape):
        self.kernel = self.add_weight(
            name="kernel",
            shape=[self.kernel_size, self.kernel_size, input_shape[-1], self.filters],
            initializer=keras.initializers.VarianceScaling(),
            experimental_autocast=False,
        )

    def __call__(self, x, *args, **kwargs):
        if is_symbolic(x):
            convolution = keras.layers.Conv2D(
                self.filters, self.kernel_size, self.strides, use_bias=False
            )
            _, side, *_ = self._padding()
            y = convolution(pad(x, *side) if any(side) else x)
            convolution.set_weights([self.standardized_kernel().numpy()])
            return y
        return super().__call__(x, *args, **kwargs)

    def call(self, x):
        kernel = tf.cast(self.standardized_kernel(), x.dtype)
        return tf.nn.conv2d(x, kernel, self.strides, self._padding())

    def standardized_kernel(self) -> tf.Tensor:
        """Returns the kernel with mean 0 and variance 1 for each output channel."""
        mean, variance = tf.nn.moments(self.kernel, [0, 1, 2], keepdims=True)
        return (self.kernel - mean) / tf.sqrt(variance + STANDARDIZATION_EPSILON)

    def _padding(self) -> list[list[int]]:
        before = (self.kernel_size - 1) // 2
        side = [before, self.kernel_size - 1 - before]
        return [[0, 0], side, side, [0, 0]]


class GroupNorm(keras.layers.GroupNormalization):
    """GroupNorm over 32 groups; as Keras's, without its mask of ones.

    In float32 under mixed precision too: scale and offset would cancel in bfloat16.
    """

    def __init__(self):
        super().__init__(NORM_GROUPS, epsilon=NORM_EPSILON, dtype="float32")

    def __call__(self, x, *args, **kwargs):
        if is_symbolic(x):
            return stock(keras.layers.GroupNormalization, self, x)
        return super().__call__(x, *args, **kwargs)

    def call(self, x):
        channels = x.shape[-1]
        shape = tf.shape(x)
        size = channels // self.groups
        grouped = tf.reshape(x, [shape[0], -1, self.groups, size])
        mean, variance = tf.nn.moments(grouped, [1, 3], keepdims=True)  # [n, 1, groups, 1]
        gamma = tf.reshape(self.gamma, [self.groups, size])
        beta = tf.reshape(self.beta, [self.groups, size])
        scale = gamma * tf.math.rsqrt(variance + self.epsilon)  # [n, 1, groups, size]
        return tf.reshape(scale * grouped + (beta - mean * scale), shape)


class Unit(Composite):
    """Pre-activation bottleneck, 4 * filters channels out; the stride is in the 3 x 3."""

    def __init__(self, filters: int, strides: int, *, project: bool):
        super().__init__()
        self.norms = [GroupNorm() for _ in range(3)]
        self.convs = [
            StandardizedConv(filters, 1),
            StandardizedConv(filters, 3, strides),
            StandardizedConv(4 * filters, 1),
        ]
        self.shortcut = StandardizedConv(4 * filters, 1, strides) if project else None

    def call(self, x, training):
        y = relu(self.norms[0](x))
        shortcut = self.shortcut(y) if self.shortcut else x
        y = self.convs[0](y)
        for norm, conv in zip(self.norms[1:], self.convs[1:]):
            y = conv(relu(norm(y)))
        return add(y, shortcut)


class Root(Composite):
    """7 x 7 and max-pool; no norm or ReLU before the first unit."""

    def __init__(self, filters: int):
        super().__init__()
        self.conv = StandardizedConv(filters, 7, 2)
        self.pool = PaddedMaxPool()

    def call(self, x, training):
        return self.pool(self.conv(x))


class ResNetV2(Encoder):
    """BiT's encoder: features [n, 2048 * width].

    Args:
      depth: 50, 101 or 152.
      width: multiplies every layer's channels.
      input_range, remat: see `Encoder`.
    """

    def __init__(
        self, depth: int, *, width: int = 1, input_range: str = "symmetric", remat: bool = False
    ):
        super().__init__(input_range=input_range, remat=remat)
        self.family = "bit"
        self.stem = Root(64 * width)
        self.groups = []
        for group, num_units in enumerate(UNITS_PER_GROUP[depth]):
            filters, strides = 64 * width * 2**group, 1 if group == 0 else 2
            self.groups.append(
                [Unit(filters, strides, project=True)]
                + [Unit(filters, 1, project=False) for _ in range(num_units - 1)]
            )
        self.norm = GroupNorm()
        self.num_features = 2048 * width

    def finish(self, x, training):
        return relu(self.norm(x))
