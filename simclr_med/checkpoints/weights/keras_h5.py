"""ResNet-50, -101 and -152 (v1) of Keras applications, in HDF5.

Weights alone (`save_weights`, the published files, with or without the top) or a whole model; both
in the layout of Keras 2, LAYER/LAYER/kernel:0. There convolutions have a bias and a BatchNorm after
it; simclr_med's have none. BatchNorm takes the mean off again, so a bias equals a lower moving mean.
"""

from __future__ import annotations

import functools
import re

import h5py
import numpy as np

from simclr_med.checkpoints.weights.content import HEAD, Entry, Weights, translate_read_errors
from simclr_med.errors import UserError

_LAYER = re.compile(r"conv(\d+)(?:_block(\d+)_(\d))?_(conv|bn)")


def open_h5(path: str) -> Weights:
    """Returns the content of an .h5 of Keras applications; arrays are read on demand.

    Raises:
      UserError: another model, another layout of HDF5, or a damaged file.
    """
    with translate_read_errors(path), h5py.File(path, "r") as file:
        shapes: dict[str, tuple[int, ...]] = {}

        def note(name: str, item) -> None:
            if isinstance(item, h5py.Dataset):
                shapes[name] = tuple(item.shape)

        file.visititems(note)
    datasets = {}  # (layer, part): name in the file
    for name in shapes:
        if name.startswith("optimizer_weights/"):
            continue
        parts = name.removeprefix("model_weights/").split("/")
        if len(parts) > 1:
            datasets[parts[-2], parts[-1].split(":")[0]] = name
    layers = {layer for layer, _ in datasets}
    _check_kind(path, layers, len(shapes))
    entries: dict[str, Entry] = {}
    for (layer, part), name in datasets.items():
        own_name = _translate(layer, part)
        if own_name is None or (layer.endswith("_conv") and part == "bias"):
            continue
        bias = None
        if part == "moving_mean":
            bias = datasets.get((re.sub("_bn$", "_conv", layer), "bias"))
        entries[own_name] = Entry(shapes[name], functools.partial(_read, path, name, bias))
    num_biases = sum(layer.endswith("_conv") and part == "bias" for layer, part in datasets)
    return Weights(
        path,
        "Keras applications .h5, biases folded into BatchNorm",
        entries,
        encoder="keras_resnet",
        input_range="caffe",
        num_other=len(shapes) - len(entries) - num_biases,
    )


def _check_kind(path: str, layers: set[str], num_arrays: int) -> None:
    if any(layer.endswith("_preact_bn") for layer in layers) and "conv1_bn" not in layers:
        raise UserError(
            f"--checkpoint={path} is a ResNet V2 of Keras applications; of those only V1 is read "
            "(ResNet50, ResNet101, ResNet152)."
        )
    if not {"conv1_conv", "conv1_bn"} <= layers:
        raise UserError(
            f"--checkpoint={path} holds no ResNet of Keras applications: among its {num_arrays} "
            "arrays there is no layer conv1_conv with conv1_bn. Save it with Keras 2 (tf_keras), "
            "model.save_weights('NAME.h5'), not '.weights.h5' or Keras 3."
        )


def _translate(layer: str, part: str) -> str | None:
    """Returns the name in `Model` of an array; None where `Model` has no such variable."""
    match = _LAYER.fullmatch(layer)
    if match is None:
        return f"{HEAD}{part}" if layer in ("predictions", "probs") else None
    stage, block, position, kind = match.groups()
    variable = f"conv2d/{part}" if kind == "conv" else f"bn/{part}"
    if block is None:
        return f"encoder/stem/body/{0 if kind == 'conv' else 1}/{variable}"
    prefix = f"encoder/groups/{int(stage) - 2}/{int(block) - 1}"
    if position == "0":
        return f"{prefix}/shortcut/{'conv' if kind == 'conv' else 'norm'}/{variable}"
    index = 2 * (int(position) - 1) + (kind == "bn")
    return f"{prefix}/body/{index}/{variable}"


def _read(path: str, name: str, bias: str | None) -> np.ndarray:
    with h5py.File(path, "r") as file:
        return file[name][()] - (file[bias][()] if bias else 0)
