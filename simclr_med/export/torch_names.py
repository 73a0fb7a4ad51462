"""Which network of timm an encoder equals, and its weights under the names that PyTorch has for them.

timm's ResNets have torchvision's names and layers. Both are "v1.5": a group's stride is in the 3 x 3
convolution of its first block, as in SimCLR's code.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from simclr_med.errors import UserError
from simclr_med.models.input_range import IMAGENET_MEANS
from simclr_med.models.resnet import SMALL_IMAGE

# Mean and standard deviation that normalise RGB in [0, 1] as input_range.py does. PyTorch code passes
# RGB: for BGR ("caffe") the first kernel is reversed instead.
NORMALIZATION = {
    "unit": {"mean": [0.0] * 3, "std": [1.0] * 3},
    "symmetric": {"mean": [0.5] * 3, "std": [0.5] * 3},
    "caffe": {"mean": [mean / 255.0 for mean in IMAGENET_MEANS], "std": [1.0 / 255.0] * 3},
}
_SE_RATIO = 0.25  # of seresnet: 1/16 of a block's output is 1/4 of its inner width
_DEPTHS = (50, 101, 152, 200)


def twin(facts: dict[str, Any]) -> str:
    """Returns the name in timm of the network that computes what an encoder computes.

    Args:
      facts: from `network.facts`.

    Raises:
      UserError: there is none.
    """
    if reason := _difference(facts):
        raise UserError(
            f"--export_formats=torch: {reason}, so PyTorch would give other features. Leave torch out; "
            "saved_model holds every encoder."
        )
    depth, width = facts["resnet_depth"], facts["width_multiplier"]
    if facts["encoder"] == "bit":
        return f"resnetv2_{depth}x{width}_bit"
    return f"{'se' if facts['se_ratio'] else ''}resnet{depth}"


def _difference(facts: dict[str, Any]) -> str | None:
    """Returns how an encoder differs from all of timm's and torchvision's; None if from none."""
    depth, size = facts["resnet_depth"], facts["image_size"]
    width, sk_ratio, se_ratio = (
        facts[name] for name in ("width_multiplier", "sk_ratio", "se_ratio")
    )
    if facts["encoder"] == "bit":
        return None
    if facts["encoder"] == "keras_resnet":
        return (
            "--encoder=keras_resnet has its strides in 1 x 1 convolutions, timm's and torchvision's "
            "ResNets have them in the 3 x 3 ones"
        )
    if sk_ratio:
        return (
            f"neither timm nor torchvision has SimCLR's selective kernels (--sk_ratio={sk_ratio:g})"
        )
    if se_ratio and (se_ratio != _SE_RATIO or depth == 200):
        return (
            f"timm has ResNets with squeeze and excitation of --se_ratio={_SE_RATIO:g} and depth 50, 101 "
            f"and 152; this one has --se_ratio={se_ratio:g} and depth {depth}"
        )
    if depth not in _DEPTHS:
        return (
            f"SimCLR's ResNet-{depth} has a convolution in the shortcut of its very first block, timm's "
            "and torchvision's have none there"
        )
    if width != 1:
        return (
            f"neither timm nor torchvision has a ResNet {width} times as wide in every layer (their "
            "wide_resnet is wider inside its blocks only)"
        )
    if size <= SMALL_IMAGE:
        return (
            f"for images up to {SMALL_IMAGE} px (--image_size={size}) this encoder has a stem that keeps "
            "the resolution, timm's and torchvision's ResNets have no such stem"
        )
    if not _pools_alike(size):
        other = next(larger for larger in range(size, size + 4) if _pools_alike(larger))
        return (
            f"at --image_size={size} TensorFlow's SAME padding of the first max-pooling is at the bottom "
            "and on the right only, PyTorch's on all sides (they agree at 4k + 1 and 4k + 2 px: "
            f"--checkpoint=RUN --image_size={other} in place of --model_dir=RUN exports the encoder for "
            f"{other} px)"
        )
    return None


def _pools_alike(size: int) -> bool:
    """Returns whether SAME padding of a 3 x 3 pooling with stride 2 is symmetric after the first
    convolution, which gives ceil(size / 2) px: an odd number needs one pixel on each side, an even
    number one at the end."""
    return -(-size // 2) % 2 == 1


def weights(encoder: Any) -> dict[str, np.ndarray]:
    """Returns the weights by their names in PyTorch, float32; kernels [out, in, height, width].

    Args:
      encoder: with a `twin`; float32.
    """
    tensors = dict(_of_bit(encoder) if encoder.family == "bit" else _of_resnet(encoder))
    if encoder.input_range == "caffe":
        first = "stem.conv.weight" if encoder.family == "bit" else "conv1.weight"
        tensors[first] = np.ascontiguousarray(tensors[first][:, ::-1])
    return tensors


def head_weights(dense: Any, twin_name: str) -> dict[str, np.ndarray]:
    """Returns a classifier's weights by their names in PyTorch.

    Args:
      dense: Keras's Dense layer.
      twin_name: of the network in timm, from `twin`.
    """
    weight, bias = dense.kernel.numpy().T, dense.bias.numpy()
    if twin_name.startswith("resnetv2"):  # a 1 x 1 convolution there
        return {
            "head.fc.weight": np.ascontiguousarray(weight[:, :, None, None]),
            "head.fc.bias": bias,
        }
    return {"fc.weight": np.ascontiguousarray(weight), "fc.bias": bias}


_Named = Iterator[tuple[str, np.ndarray]]


def _of_resnet(encoder) -> _Named:
    convolution, norm = encoder.stem.body
    yield _kernel("conv1", convolution.conv2d)
    yield from _batch_norm("bn1", norm)
    for number, group in enumerate(encoder.groups, 1):
        for index, block in enumerate(group):
            prefix = f"layer{number}.{index}"
            pairs = zip(block.body[::2], block.body[1::2])
            for position, (convolution, norm) in enumerate(pairs, 1):
                yield _kernel(f"{prefix}.conv{position}", convolution.conv2d)
                yield from _batch_norm(f"{prefix}.bn{position}", norm)
            if block.shortcut is not None:
                yield _kernel(f"{prefix}.downsample.0", block.shortcut.conv.conv2d)
                yield from _batch_norm(f"{prefix}.downsample.1", block.shortcut.norm)
            if block.se is not None:
                for name, gate in (("fc1", block.se.reduce), ("fc2", block.se.expand)):
                    yield _kernel(f"{prefix}.se.{name}", gate)
                    yield f"{prefix}.se.{name}.bias", gate.bias.numpy()


def _of_bit(encoder) -> _Named:
    """Kernels as trained, before standardisation: PyTorch standardises them too."""
    yield _kernel("stem.conv", encoder.stem.conv)
    for number, group in enumerate(encoder.groups):
        for index, unit in enumerate(group):
            prefix = f"stages.{number}.blocks.{index}"
            for position, (norm, convolution) in enumerate(zip(unit.norms, unit.convs), 1):
                yield from _scale_and_offset(f"{prefix}.norm{position}", norm)
                yield _kernel(f"{prefix}.conv{position}", convolution)
            if unit.shortcut is not None:
                yield _kernel(f"{prefix}.downsample.conv", unit.shortcut)
    yield from _scale_and_offset("norm", encoder.norm)


def _kernel(name: str, layer) -> tuple[str, np.ndarray]:
    return f"{name}.weight", np.ascontiguousarray(layer.kernel.numpy().transpose(3, 2, 0, 1))


def _batch_norm(name: str, layer) -> _Named:
    yield from _scale_and_offset(name, layer.bn)
    yield f"{name}.running_mean", layer.bn.moving_mean.numpy()
    yield f"{name}.running_var", layer.bn.moving_variance.numpy()


def _scale_and_offset(name: str, norm) -> _Named:
    yield f"{name}.weight", norm.gamma.numpy()
    yield f"{name}.bias", norm.beta.numpy()
