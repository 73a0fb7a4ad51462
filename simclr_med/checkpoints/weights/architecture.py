"""Which encoder a set of variables belongs to, from names and shapes alone, and its flags."""

from __future__ import annotations

import dataclasses
import re

from simclr_med.models.bit import UNITS_PER_GROUP
from simclr_med.models.resnet import BLOCKS_PER_GROUP, SMALL_IMAGE

Shapes = dict[str, tuple[int, ...]]

_FAMILIES = {"resnet": "SimCLR ResNet", "bit": "BiT ResNet", "keras_resnet": "Keras ResNet"}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """An encoder.

    Attributes:
      family: 'resnet', 'bit' or 'keras_resnet'; None: one of the first and the last.
      depth: of a ResNet with so many blocks; None: there is none.
      width: multiplier of the channels.
      sk_ratio, se_ratio: 0 without.
      small_images: the stem that keeps the resolution.
    """

    family: str | None
    depth: int | None
    width: int
    sk_ratio: float
    se_ratio: float
    small_images: bool

    def words(self) -> str:
        """Returns for instance 'a BiT ResNet-50, width 3'."""
        parts = [f"a {_FAMILIES.get(self.family or '', 'ResNet')}-{self.depth}, width {self.width}"]
        parts += [f"sk_ratio {self.sk_ratio:g}"] * bool(self.sk_ratio)
        parts += [f"se_ratio {self.se_ratio:g}"] * bool(self.se_ratio)
        parts += [f"made for images up to {SMALL_IMAGE} px"] * self.small_images
        return ", ".join(parts)

    def flags(self, configured: Architecture) -> str:
        """Returns the flags that make this encoder, coming from the configured one."""
        said = [f"--encoder={self.family}"] * (self.family not in (None, configured.family))
        said += [f"--resnet_depth={self.depth}", f"--width_multiplier={self.width}"]
        for name in ("sk_ratio", "se_ratio"):
            value = getattr(self, name)
            said += [f"--{name}={value:g}"] * (value != getattr(configured, name))
        if self.small_images != configured.small_images:
            limit = "of at most" if self.small_images else "above"
            said.append(f"an --image_size {limit} {SMALL_IMAGE}")
        return " ".join(said)


def architecture(shapes: Shapes, family: str | None) -> Architecture | None:
    """Returns the encoder that has these variables; None if they are those of no ResNet.

    Args:
      shapes: {name below our `Model`: shape}.
      family: if known; a BiT is known by its names.
    """
    if "encoder/stem/conv/kernel" in shapes:
        family, first = "bit", "encoder/groups/0/0/convs/0/kernel"
    else:
        first = "encoder/groups/0/0/body/0/conv2d/kernel"
    if len(shapes.get(first, ())) != 4:
        return None
    filters = shapes[first][-1]  # of the first group
    places = {
        tuple(map(int, re.findall(r"\d+", name)[:2])) for name in shapes if _GROUP.match(name)
    }
    groups = 1 + max(place[0] for place in places)
    blocks = tuple(sum(place[0] == group for place in places) for group in range(groups))
    widest = filters * 2 ** (groups - 1)
    return Architecture(
        family=family,
        depth=_depth(blocks, shapes[first][0] == 1, family),
        width=max(1, filters // 64),
        sk_ratio=_ratio(shapes, groups, "body/2/squeeze/conv2d/kernel", widest),
        se_ratio=_ratio(shapes, groups, "se/reduce/kernel", widest),
        small_images=_is_small(shapes),
    )


_GROUP = re.compile(r"encoder/groups/\d+/\d+/")


def _depth(blocks: tuple[int, ...], bottleneck: bool, family: str | None) -> int | None:
    if family == "bit":
        return next((d for d, units in UNITS_PER_GROUP.items() if units == blocks), None)
    for depth, known in BLOCKS_PER_GROUP.items():
        if tuple(known) == blocks and (depth >= 50) == bottleneck:
            return depth
    return None


def _ratio(shapes: Shapes, groups: int, layer: str, filters: int) -> float:
    """Returns the ratio behind a layer's width; rounding is least where it is widest: at the end."""
    shape = shapes.get(f"encoder/groups/{groups - 1}/0/{layer}")
    return shape[-1] / filters if shape else 0.0


def _is_small(shapes: Shapes) -> bool:
    kernel = shapes.get("encoder/stem/body/0/conv2d/kernel", (7,))
    return kernel[0] == 3 and "encoder/stem/body/2/conv2d/kernel" not in shapes
