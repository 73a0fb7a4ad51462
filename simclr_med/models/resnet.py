"""ResNet-18 to -200, post-activation, with width, selective kernels, SE and a small-image stem.

Parity: google-research/simclr tf2/resnet.py, checked weight for weight by tests/models/test_models.py;
`keras_style`: keras.applications' ResNet v1.
"""

from __future__ import annotations

from typing import Any

from simclr_med.keras_api import keras
from simclr_med.models.encoder import Encoder
from simclr_med.models.layers import (
    AveragePool,
    BatchNormRelu,
    Composite,
    Conv,
    NormSpec,
    PaddedMaxPool,
    SelectiveKernel,
    SqueezeExcite,
)
from simclr_med.models.symbolic import add, relu

BLOCKS_PER_GROUP: dict[int, tuple[int, ...]] = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
    200: (3, 24, 36, 3),
}
SMALL_IMAGE = 32  # px; up to here the stem keeps the resolution (SimCLR's CIFAR stem)


class ResidualBlock(Composite):
    """Two 3 x 3 convolutions (ResNet-18, -34); filters channels out."""

    expansion = 1

    def __init__(self, filters, strides, *, project, sk_ratio, se_ratio, norm):
        super().__init__()
        self.shortcut = Shortcut(filters, strides, sk_ratio, norm) if project else None
        self.body = [
            Conv(filters, 3, strides),
            BatchNormRelu(norm),
            Conv(filters, 3),
            BatchNormRelu(norm, relu=False, init_zero=True),
        ]
        self.se = SqueezeExcite(filters, filters, se_ratio) if se_ratio > 0 else None

    def call(self, x, training):
        return _residual(self, x, training)


class BottleneckBlock(Composite):
    """1 x 1, 3 x 3 (or selective kernels), 1 x 1 (ResNet-50 and up); 4 * filters channels out.

    The stride is in the second convolution, or in the first if `stride_first`.
    """

    expansion = 4

    def __init__(self, filters, strides, *, project, sk_ratio, se_ratio, norm, stride_first):
        super().__init__()
        self.shortcut = Shortcut(4 * filters, strides, sk_ratio, norm) if project else None
        first, second = (strides, 1) if stride_first else (1, strides)
        if sk_ratio > 0:
            middle = [SelectiveKernel(filters, second, sk_ratio, norm)]
        else:
            middle = [Conv(filters, 3, second), BatchNormRelu(norm)]
        self.body = [
            Conv(filters, 1, first),
            BatchNormRelu(norm),
            *middle,
            Conv(4 * filters, 1),
            BatchNormRelu(norm, relu=False, init_zero=True),
        ]
        self.se = SqueezeExcite(filters, 4 * filters, se_ratio) if se_ratio > 0 else None

    def call(self, x, training):
        return _residual(self, x, training)


class Shortcut(Composite):
    """Projection to a block's width; with selective kernels ResNet-D's (arXiv:1812.01187)."""

    def __init__(self, filters, strides, sk_ratio, norm):
        super().__init__()
        self.pool = AveragePool(strides) if sk_ratio > 0 else None
        self.conv = Conv(filters, 1, 1 if sk_ratio > 0 else strides)
        self.norm = BatchNormRelu(norm, relu=False)

    def call(self, x, training):
        x = self.pool(x) if self.pool else x
        return self.norm(self.conv(x), training=training)


class Stem(Composite):
    """From pixels to the first block: 7 x 7 and max-pool; 3 x 3 for small images; ResNet-D's."""

    def __init__(self, width, sk_ratio, small, norm, *, padded_pool):
        super().__init__()
        channels = 64 * width
        if small:
            convs = [Conv(channels, 3)]
        elif sk_ratio > 0:
            half = channels // 2
            convs = [Conv(half, 3, 2), BatchNormRelu(norm), Conv(half, 3), BatchNormRelu(norm)]
            convs.append(Conv(channels, 3))
        else:
            convs = [Conv(channels, 7, 2)]
        self.body = [*convs, BatchNormRelu(norm)]
        pool = PaddedMaxPool() if padded_pool else keras.layers.MaxPooling2D(3, 2, "same")
        self.pool = None if small else pool

    def call(self, x, training):
        x = _run(self.body, x, training)
        return self.pool(x) if self.pool else x


class ResNet(Encoder):
    """Images [n, H, W, 3] in [0, 1] to features [n, d], d = 512 (18, 34) or 2048, times width.

    Args:
      depth: a key of BLOCKS_PER_GROUP.
      width: multiplies every layer's channels.
      sk_ratio: above 0, selective kernels and ResNet-D shortcuts.
      se_ratio: above 0, squeeze and excitation.
      small_images: keep the resolution in the stem.
      norm: of the BatchNorms.
      keras_style: as in Keras applications: a group's stride is in the first 1 x 1 of its first
        block, and zeros surround what the stem pools. Bottlenecks without SK only.
      input_range, remat: see `Encoder`.
    """

    def __init__(
        self,
        depth: int,
        *,
        width: int = 1,
        sk_ratio: float = 0.0,
        se_ratio: float = 0.0,
        small_images: bool = False,
        norm: NormSpec | None = None,
        keras_style: bool = False,
        input_range: str = "unit",
        remat: bool = False,
    ):
        super().__init__(input_range=input_range, remat=remat)
        norm = norm or NormSpec()
        self.family = "keras_resnet" if keras_style else "resnet"
        self.pooled_shortcuts = sk_ratio > 0
        self.stem = Stem(width, sk_ratio, small_images, norm, padded_pool=keras_style)
        options: dict = dict(sk_ratio=sk_ratio, se_ratio=se_ratio, norm=norm)
        block: Any = ResidualBlock
        if depth >= 50:
            block, options["stride_first"] = BottleneckBlock, keras_style
        self.groups = []
        for group, num_blocks in enumerate(BLOCKS_PER_GROUP[depth]):
            filters, strides = 64 * width * 2**group, 1 if group == 0 else 2
            self.groups.append(
                [block(filters, strides, project=True, **options)]
                + [block(filters, 1, project=False, **options) for _ in range(num_blocks - 1)]
            )
        self.num_features = 512 * width * block.expansion


def _residual(block, x, training):
    shortcut = block.shortcut(x, training=training) if block.shortcut else x
    x = _run(block.body, x, training)
    x = block.se(x) if block.se else x
    return relu(add(x, shortcut))


def _run(layers, x, training):
    for layer in layers:
        x = layer(x) if isinstance(layer, Conv) else layer(x, training=training)
    return x
