"""Which encoder a set of variables belongs to, from names and shapes alone, and its flags."""

from __future__ import annotations

import dataclasses
import re

from simclr_med.models.bit import UNITS_PER_GROUP
from simclr_med.models.resnet import BLOCKS_PER_GROUP, SMALL_IMAGE

Shapes = dict[str, tuple[int, ...]]

ANY_SK = 0.0625  # as SimCLR recommends
_FAMILIES = {"resnet": "SimCLR ResNet", "bit": "BiT ResNet", "keras_resnet": "Keras ResNet"}


@dataclasses.dataclass(frozen=True)
class Architecture:
    """An encoder.

    Attributes:
      family: 'resnet', 'bit' or 'keras_resnet'; None: one of the first and the last.
      depth: of the ResNet with this number of blocks; None: there is none.
      width: multiplier of the channels.
      sk_ratio, se_ratio: 0 without. The blocks of a ResNet-18 or -34 have no selective kernels; any
        `sk_ratio` above 0 gives it ResNet-D's stem and shortcuts, and ANY_SK stands for it here.
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
        if self.sk_ratio:
            parts.append(
                "any sk_ratio above 0" if self._is_basic else f"sk_ratio {self.sk_ratio:g}"
            )
        parts += [f"se_ratio {self.se_ratio:g}"] * bool(self.se_ratio)
        parts += [f"made for images up to {SMALL_IMAGE} px"] * self.small_images
        return ", ".join(parts)

    @property
    def _is_basic(self) -> bool:
        return (self.depth or 50) < 50

    def flags(self, configured: Architecture) -> str:
        """Returns the flags that turn the configured encoder into this one."""
        parts = [f"--encoder={self.family}"] * (self.family not in (None, configured.family))
        parts += [f"--resnet_depth={self.depth}", f"--width_multiplier={self.width}"]
        for name in ("sk_ratio", "se_ratio"):
            value = getattr(self, name)
            parts += [f"--{name}={value:g}"] * (value != getattr(configured, name))
        if self.small_images != configured.small_images:
            limit = "of at most" if self.small_images else "above"
            parts.append(f"an --image_size {limit} {SMALL_IMAGE}")
        return " ".join(parts)


def architecture(
    shapes: Shapes, family: str | None, pooled_shortcuts: bool = False
) -> Architecture | None:
    """Returns the encoder that has these variables; None if they are not those of a ResNet.

    Args:
      shapes: {name below our `Model`: shape}.
      family: if known; a BiT is known by its names.
      pooled_shortcuts: whether they are ResNet-D's. Needed of a ResNet-18 or -34 for images up to
        32 px, whose variables do not tell.
    """
    if "encoder/stem/conv/kernel" in shapes:
        family, first = "bit", "encoder/groups/0/0/convs/0/kernel"
    else:
        first = "encoder/groups/0/0/body/0/conv2d/kernel"
    if len(shapes.get(first, ())) != 4:
        return None
    filters = shapes[first][-1]  # of the first group
    positions = {
        tuple(map(int, re.findall(r"\d+", name)[:2])) for name in shapes if _GROUP.match(name)
    }
    groups = 1 + max(position[0] for position in positions)
    blocks = tuple(sum(position[0] == group for position in positions) for group in range(groups))
    widest = filters * 2 ** (groups - 1)
    bottleneck = family == "bit" or shapes[first][0] == 1
    sk_ratio = _ratio(shapes, groups, "body/2/squeeze/conv2d/kernel", widest)
    small = _is_small(shapes)
    if not bottleneck and (pooled_shortcuts if small else _has_three_convs(shapes)):
        sk_ratio = ANY_SK
    return Architecture(
        family=family,
        depth=_depth(blocks, bottleneck, family),
        width=max(1, filters // 64),
        sk_ratio=sk_ratio,
        se_ratio=_ratio(shapes, groups, "se/reduce/kernel", widest),
        small_images=small,
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
    return kernel[0] == 3 and not _has_three_convs(shapes)


def _has_three_convs(shapes: Shapes) -> bool:
    """Returns whether the stem is ResNet-D's."""
    return "encoder/stem/body/2/conv2d/kernel" in shapes
