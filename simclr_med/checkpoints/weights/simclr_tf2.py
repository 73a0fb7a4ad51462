"""From the names in files of google-research/simclr's TF 2 code to the names in our models.

Facts of its format: a block keeps its layers in a list, whose positions count layers without
variables too (DropBlock, pooling, identities), and squeeze-and-excitation may stand at the end. So
the how-manieth with variables a layer is, is its place in our lists, with or without selective
kernels, in every stem. Checked against tests/golden/names_*.json by its tests.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_STEM = re.compile(r"resnet_model/(initial_conv_relu_max_pool)/(\d+)/(.+)")
_BLOCK = re.compile(r"resnet_model/block_groups/(\d+)/layers/(\d+)/(.+)")
_LIST = re.compile(r"(\w+_layers)/(\d+)/(.+)")
_SE = re.compile(r"(?:.+/)?se_(reduce|expand)/(\w+)")
_OF_SELECTIVE_KERNEL = (
    ("conv2d_fixed_padding/", "conv/"),
    ("batch_norm_relu/", "norm/"),
    ("batch_norm_relu_1/", "squeeze_norm/"),
    ("conv2d_0/", "squeeze/conv2d/"),
    ("conv2d_1/", "gate/conv2d/"),
)
_SHORTCUT = ("shortcut_layers", "projection_layers")


def translate_names(paths: Iterable[str]) -> dict[str, str]:
    """Returns {way from SimCLR's model to a variable: way from our `Model`}.

    What has no place in our models keeps its own name, below `encoder/` if it is of the encoder.

    Args:
      paths: as 'resnet_model/block_groups/0/layers/1/conv2d_bn_layers/3/bn/gamma'.
    """
    paths = list(paths)
    ranks = _ranks(paths)
    return {path: _translate(path, ranks) for path in paths}


def pools_shortcuts(paths: Iterable[str]) -> bool:
    """Returns whether shortcuts pool before they convolve: then the convolution is not the first."""
    matches = (re.fullmatch(r".*/(?:shortcut|projection)_layers/(\d+)/.+", path) for path in paths)
    return min((int(match[1]) for match in matches if match), default=0) > 0


def _translate(path: str, ranks: dict[tuple[str, int], int]) -> str:
    if match := _STEM.fullmatch(path):
        where, position, rest = match.groups()
        return f"encoder/stem/body/{ranks[f'resnet_model/{where}', int(position)]}/{rest}"
    if match := _BLOCK.fullmatch(path):
        group, block, rest = match.groups()
        below = f"resnet_model/block_groups/{group}/layers/{block}"
        return f"encoder/groups/{group}/{block}/{_in_block(below, rest, ranks)}"
    if path.startswith("resnet_model/"):
        return f"encoder/{path}"
    path = path.replace("_projection_head/linear_layers/", "projection_head/blocks/")
    path = path.replace("/bn_relu/", "/norm/")
    return path.replace("supervised_head/linear_layer/", "supervised_head/")


def _in_block(block: str, path: str, ranks: dict[tuple[str, int], int]) -> str:
    if match := _SE.fullmatch(path):
        return f"se/{match[1]}/{match[2]}"
    match = _LIST.fullmatch(path)
    if not match:
        return path
    where, position, rest = match.groups()
    rank = ranks[f"{block}/{where}", int(position)]
    if where in _SHORTCUT:
        return f"shortcut/{'norm' if rank else 'conv'}/{rest}"
    for reference, own in _OF_SELECTIVE_KERNEL:
        if rest.startswith(reference):
            rest = own + rest.removeprefix(reference)
            break
    return f"body/{rank}/{rest}"


def _ranks(paths: list[str]) -> dict[tuple[str, int], int]:
    """Returns {(list, position): which of the list's layers with variables it is}."""
    positions: dict[str, set[int]] = {}
    for path in paths:
        match = re.fullmatch(r"(resnet_model/.*?(?:_layers|_max_pool))/(\d+)/.+", path)
        if match:
            positions.setdefault(match[1], set()).add(int(match[2]))
    return {
        (where, position): rank
        for where, numbers in positions.items()
        for rank, position in enumerate(sorted(numbers))
    }
