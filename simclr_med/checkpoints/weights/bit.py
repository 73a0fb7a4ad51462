"""BiT: its .npz files, and its names wherever else they appear.

Names of google-research/big_transfer: root_block/standardized_conv2d/kernel,
block1/unit01/a/group_norm/gamma, ..., below any prefix. REMEDIS (medical-ai-research-foundations)
wraps BiT's hub modules and feeds them 2x - 1, so its SavedModels should have these names too; its
weights require an agreement, and have not been tried here.
"""

from __future__ import annotations

import functools
import re
import zipfile
from collections.abc import Iterable

import numpy as np

from simclr_med.checkpoints.weights.content import HEAD, Entry, Weights, translate_read_errors
from simclr_med.errors import UserError

# Big Transfer's input_pipeline_tf2_or_jax.py: tf.image.resize(im, ...), whose antialias is off; REMEDIS's
# data_util.py: tf.image.resize_bicubic, which has none.
ANTIALIAS = "false"
_ROOT = "root_block/standardized_conv2d/kernel"
_UNIT = re.compile(r"block(\d+)/unit(\d+)/(.+)")
# An optimizer's, as .../kernel/Momentum: its name goes on after that of a variable.
_BELOW_VARIABLE = re.compile(r"/(kernel|gamma|beta)/")
# a, b, c are the three convolutions of a unit; each is preceded by its norm.
_CONV = re.compile(r"([abc])/standardized_conv2d/kernel")
_NORM = re.compile(r"([abc])/group_norm/(gamma|beta)")


def translate_names(path: str, names: Iterable[str]) -> dict[str, str]:
    """Returns {name in a file: name below `Model`} of the BiT in it; {} if there is none.

    TensorFlow's ':0', and the numbers by which it tells layers of equal names apart
    (group_norm_3), do not count.

    Args:
      path: of the file, for the error message.
      names: of its variables or arrays.

    Raises:
      UserError: the file holds more than one BiT, or names that are equal but for numbers.
    """
    plain = {name: _plain(name) for name in names}
    roots = [name for name in plain.values() if name == _ROOT or name.endswith(f"/{_ROOT}")]
    if not roots:
        return {}
    prefix = roots[0].removesuffix(_ROOT)
    translated = {
        name: _translate(short.removeprefix(prefix))
        for name, short in plain.items()
        if short.startswith(prefix)
    }
    matched = {name: own for name, own in translated.items() if own}
    if len(roots) > 1 or len(set(matched.values())) < len(matched):
        raise UserError(
            f"--checkpoint={path} has BiT's names more than once ({len(roots)} variables end in "
            f"{_ROOT}); which ones are meant cannot be told. Save the encoder alone."
        )
    return matched


def _plain(name: str) -> str:
    name = re.sub(r":\d+$", "", name)
    return re.sub(r"(standardized_conv2d|group_norm)_\d+(?=/)", r"\1", name)


def _translate(name: str) -> str | None:
    """Returns the name in `Model` of a variable; None where it does not belong to a BiT."""
    if name == _ROOT:
        return "encoder/stem/conv/kernel"
    if match := re.fullmatch(r"group_norm/(gamma|beta)", name):
        return f"encoder/norm/{match[1]}"
    if match := re.fullmatch(r"head/(?:conv2d|dense)/(kernel|bias)", name):
        return f"{HEAD}{match[1]}"
    match = _UNIT.fullmatch(name)
    if not match or _BELOW_VARIABLE.search(name):
        return None
    prefix = f"encoder/groups/{int(match[1]) - 1}/{int(match[2]) - 1}"
    rest = match[3]
    if rest == "a/proj/standardized_conv2d/kernel":
        return f"{prefix}/shortcut/kernel"
    if conv := _CONV.fullmatch(rest):
        return f"{prefix}/convs/{'abc'.index(conv[1])}/kernel"
    if norm := _NORM.fullmatch(rest):
        return f"{prefix}/norms/{'abc'.index(norm[1])}/{norm[2]}"
    return f"{prefix}/{rest}"


def open_npz(path: str) -> Weights:
    """Returns the content of a BiT .npz; shapes come from the headers, arrays are read on demand.

    Raises:
      UserError: no BiT, pickled objects (which are code, and never run), or a damaged file.
    """
    with translate_read_errors(path):
        file = zipfile.ZipFile(path)
        members = [name for name in file.namelist() if name.endswith(".npy")]
        headers = {name.removesuffix(".npy"): _header(file, name) for name in members}
    names = translate_names(path, headers)
    if not names:
        raise UserError(
            f"--checkpoint={path} holds no BiT: none of its {len(headers)} arrays is named "
            f"{_ROOT}. Of zipped files only the .npz of Big Transfer are read."
        )
    pickled = [name for name in headers if headers[name][1].hasobject]
    if pickled:
        raise UserError(
            f"--checkpoint={path}: {pickled[0]} is a pickled Python object, not numbers. Opening it "
            "could run any code, so it is not opened; get the file from BiT's own site."
        )
    entries = {
        own_name: Entry(headers[name][0], functools.partial(_read, path, name))
        for name, own_name in names.items()
    }
    return Weights(
        path,
        "BiT .npz",
        entries,
        encoder="bit",
        input_range="symmetric",
        antialias=ANTIALIAS,
        num_other=len(headers) - len(entries),
    )


def _header(file: zipfile.ZipFile, member: str) -> tuple[tuple[int, ...], np.dtype]:
    """Returns shape and dtype of an array, reading its first bytes only."""
    with file.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }[version]
        shape, _, dtype = read(stream)
    return shape, dtype


def _read(path: str, name: str) -> np.ndarray:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays[name]
