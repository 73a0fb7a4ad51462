"""Encoder, projection head and supervised head, joined in one `Model`."""

from __future__ import annotations

import re

import tensorflow as tf

from simclr_med.config import ModelConfig
from simclr_med.keras_api import at_least_float32, keras
from simclr_med.models.bit import UNITS_PER_GROUP, ResNetV2
from simclr_med.models.encoder import Encoder
from simclr_med.models.heads import ProjectionHead, SupervisedHead
from simclr_med.models.input_range import USUAL
from simclr_med.models.layers import NormSpec
from simclr_med.models.resnet import BLOCKS_PER_GROUP, SMALL_IMAGE, ResNet

BIT_SIZES = ((50, 1), (50, 3), (101, 1), (101, 3), (152, 2), (152, 4))  # those published
KERAS_EPSILON = 1.001e-5  # of BatchNorm in keras.applications' ResNets

ENCODERS = (
    *(f"resnet{depth}" for depth in BLOCKS_PER_GROUP),
    *(f"bit_r{depth}x{width}" for depth, width in BIT_SIZES),
    *(f"keras_resnet{depth}" for depth in UNITS_PER_GROUP),
)


def build_encoder(
    name: str,
    width: int = 1,
    sk_ratio: float = 0.0,
    se_ratio: float = 0.0,
    *,
    small_images: bool = False,
    batch_norm_decay: float = 0.9,
    global_bn: bool = True,
    input_range: str | None = None,
    remat: bool = False,
) -> Encoder:
    """Returns an encoder: images float [n, H, W, 3] in [0, 1] to features [n, d].

    Args:
      name: 'resnet18' to 'resnet200' (SimCLR's), 'bit_r50x1' to 'bit_r152x4' (Big Transfer's: of
        depth 50, 101 or 152, the last number being the width), 'keras_resnet50', '...101', '...152'
        (Keras applications').
      width: of 'resnet': multiplies every layer's channels.
      sk_ratio: of 'resnet': above 0, selective kernels and ResNet-D shortcuts.
      se_ratio: of 'resnet': above 0, squeeze and excitation.
      small_images: of 'resnet': keep the resolution in the stem (inputs up to 32 px).
      batch_norm_decay: of the moving statistics.
      global_bn: statistics over all replicas.
      input_range: what the first layer sees, see input_range.py; None: as is usual for the name.
      remat: recompute blocks in the backward pass.

    Raises:
      ValueError: unknown name.

    Examples:
        >>> encoder = build_encoder("resnet18")
        >>> encoder(tf.zeros([2, 64, 64, 3]), training=False).shape.as_list()
        [2, 512]
    """
    match = re.fullmatch(r"(resnet|keras_resnet|bit_r)(\d+)(?:x(\d+))?", name)
    family, depth = (match[1].removesuffix("_r"), int(match[2])) if match else ("", 0)
    depths = BLOCKS_PER_GROUP if family == "resnet" else UNITS_PER_GROUP
    if not match or depth not in depths or (family == "bit") != bool(match[3]):
        raise ValueError(f"Unknown encoder {name!r}; there are {', '.join(ENCODERS)}.")
    shared: dict = dict(input_range=input_range or USUAL[family], remat=remat)
    if family == "bit":
        return ResNetV2(depth, width=int(match[3]), **shared)
    if family == "keras_resnet":
        norm = NormSpec(batch_norm_decay, global_bn, epsilon=KERAS_EPSILON)
        return ResNet(depth, norm=norm, keras_style=True, **shared)
    return ResNet(
        depth,
        width=width,
        sk_ratio=sk_ratio,
        se_ratio=se_ratio,
        small_images=small_images,
        norm=NormSpec(batch_norm_decay, global_bn),
        **shared,
    )


def encoder_name(config: ModelConfig) -> str:
    """Returns the name of the configured encoder, for `build_encoder`."""
    if config.encoder == "bit":
        return f"bit_r{config.resnet_depth}x{config.width_multiplier}"
    return f"{config.encoder}{config.resnet_depth}"


class Model(keras.Model):
    """Encoder with projection head and, where there are classes, a supervised head.

    Args:
      config: options of the model.
      image_size: px; decides the stem.
      num_classes: 0 means no supervised head.
      with_projection: fine-tuning keeps just the layers below `ft_proj_selector`.
      zero_init_logits: start the supervised head at zero.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        image_size: int,
        num_classes: int = 0,
        with_projection: bool = True,
        zero_init_logits: bool = False,
    ):
        super().__init__()
        self.encoder = build_encoder(
            encoder_name(config),
            config.width_multiplier,
            config.sk_ratio,
            config.se_ratio,
            small_images=image_size <= SMALL_IMAGE,
            batch_norm_decay=config.batch_norm_decay,
            global_bn=config.global_bn,
            input_range=None if config.input_range == "auto" else config.input_range,
            remat=config.remat,
        )
        selector = config.ft_proj_selector
        self.projection_head = ProjectionHead(
            config.proj_head_mode,
            self.encoder.num_features,
            config.proj_out_dim,
            config.num_proj_layers,
            NormSpec(config.batch_norm_decay, config.global_bn),
            keep_layers=None if with_projection or selector == -1 else selector,
        )
        self.selected_stage = selector
        self.supervised_head = (
            SupervisedHead(num_classes, zero_init_logits) if num_classes else None
        )
        self.with_projection = with_projection

    def call(self, images, training=False, case_of_image=None, num_cases=None):
        """Returns {"features": [n, selected width], "projection": [n, p], "logits": [n, classes]}.

        While pretraining the supervised head sees features cut off from its gradient, so labels
        cannot reach the encoder. Without classes there are no logits.

        Args:
          images: float [n, H, W, 3] in [0, 1].
          training: BatchNorm uses, and moves, its statistics.
          case_of_image: int [n], -1 for padding: features and logits are those of cases, [num_cases,
            ...], from the mean feature over a case's images. None: those of images.
          num_cases: with `case_of_image`.
        """
        stages = self.projection_head(self.encoder(images, training=training), training=training)
        selected = stages[self.selected_stage]
        if case_of_image is not None:
            selected = at_least_float32(selected)
            selected = mean_over_cases(selected, case_of_image, num_cases)
        outputs = {
            "features": at_least_float32(selected),
            "projection": at_least_float32(stages[-1]),
        }
        if self.supervised_head is not None:
            head_input = tf.stop_gradient(selected) if self.with_projection else selected
            outputs["logits"] = self.supervised_head(head_input)
        return outputs

    @property
    def output_widths(self) -> dict[str, int]:
        """Width of the rows of "projection" and, where there are classes, of "logits"."""
        widths = {"projection": self.projection_head.out_dim}
        if self.supervised_head is not None:
            widths["logits"] = self.supervised_head.dense.units
        return widths

    def classify(self, features):
        """Returns the supervised head's logits of features [n, selected width], [n, classes]."""
        return self.supervised_head(features)

    def build_weights(self, image_size: int) -> None:
        """Creates the variables, in a fixed order, by a forward pass of one black image."""
        self(tf.zeros([1, image_size, image_size, 3]), training=False)


def mean_over_cases(features: tf.Tensor, case_of_image: tf.Tensor, num_cases: int) -> tf.Tensor:
    """Returns the mean feature of each case, [num_cases, d], 0 for a case without images.

    Args:
      features: of the images, [n, d].
      case_of_image: int [n] in [0, num_cases), or -1: no part of any case.
      num_cases: cases.
    """
    sums = tf.math.unsorted_segment_sum(features, case_of_image, num_cases)
    ones = tf.ones([tf.shape(features)[0], 1], features.dtype)
    counts = tf.math.unsorted_segment_sum(ones, case_of_image, num_cases)
    return sums / tf.maximum(counts, 1)
