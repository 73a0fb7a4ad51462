"""The projection head g(h) and the supervised head. Parity: google-research/simclr tf2/model.py."""

from __future__ import annotations

from simclr_med.keras_api import at_least_float32, keras
from simclr_med.models.layers import BatchNormRelu, NormSpec


class ProjectionLayer(keras.layers.Layer):
    """Dense without bias, then BatchNorm; the last layer's BatchNorm has no bias and no ReLU."""

    def __init__(self, units: int, *, last: bool, norm: NormSpec):
        super().__init__()
        self.dense = keras.layers.Dense(units, use_bias=False, kernel_initializer=_normal())
        self.norm = BatchNormRelu(norm, relu=not last, center=not last)

    def call(self, x, training):
        return self.norm(self.dense(x), training=training)


class ProjectionHead(keras.layers.Layer):
    """Features [n, d] to every stage of the projection, the input first and [n, p] last.

    mode 'none' has no layers (p = d), 'linear' one, 'nonlinear' `num_layers` with ReLU between;
    the inner ones keep the width d. `keep_layers` is the number of first layers to build (fine-tuning).
    """

    def __init__(
        self,
        mode: str,
        num_features: int,
        out_dim: int,
        num_layers: int,
        norm: NormSpec,
        keep_layers: int | None = None,
    ):
        super().__init__()
        units = {
            "none": [],
            "linear": [out_dim],
            "nonlinear": [num_features] * (num_layers - 1) + [out_dim],
        }[mode]
        self.out_dim = units[-1] if units else num_features
        self.blocks = [
            ProjectionLayer(u, last=i == len(units) - 1, norm=norm)
            for i, u in enumerate(units[:keep_layers])
        ]

    def call(self, x, training):
        stages = [x]
        for block in self.blocks:
            stages.append(block(stages[-1], training=training))
        return stages


class SupervisedHead(keras.layers.Layer):
    """Features [n, d] to logits [n, classes]."""

    def __init__(self, num_classes: int, zero_init: bool = False):
        super().__init__()
        initializer = "zeros" if zero_init else _normal()
        self.dense = keras.layers.Dense(num_classes, kernel_initializer=initializer)

    def call(self, x):
        return at_least_float32(self.dense(x))


def _normal():
    return keras.initializers.RandomNormal(stddev=0.01)
