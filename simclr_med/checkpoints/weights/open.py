"""Finds out what kind of weights are stored at a path, by content, never by name."""

from __future__ import annotations

import functools
import os
import re

from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints import reading
from simclr_med.checkpoints.weights import bit, keras_h5, simclr_med_weights, simclr_tf2
from simclr_med.checkpoints.weights.content import (
    Entry,
    Weights,
    translate_access_errors,
    translate_read_errors,
)
from simclr_med.checkpoints.weights.object_graph import ObjectGraph
from simclr_med.errors import UserError
from simclr_med.run_folder import gfile
from simclr_med.run_folder.files import is_remote

_KINDS = (
    "a model_dir or checkpoint of simclr_med, a checkpoint or SavedModel of SimCLR TF2, a BiT .npz, a "
    "REMEDIS or BiT SavedModel, or the .h5 of a ResNet of Keras applications"
)
_FILES = {b"PK": bit.open_npz, b"\x89HDF\r\n\x1a\n": keras_h5.open_h5}  # by their first bytes


def open_weights(path: str) -> Weights:
    """Returns what is stored at a path: names, shapes, and how to read them. Reads no weights yet.

    Raises:
      UserError: there is nothing, no known format, or a damaged file.
    """
    with translate_access_errors(path):
        return _open(path)


def _open(path: str) -> Weights:
    if gfile.isdir(path):
        return _folder(path)
    prefix = re.sub(r"\.(index|data-\d{5}-of-\d{5})$", "", path)
    if gfile.exists(f"{prefix}.index"):
        return _variables(path, prefix, "checkpoint")
    if gfile.exists(path):
        return _file(path)
    raise UserError(f"--checkpoint={path}: no such file or folder. Give {_KINDS}.")


def _folder(path: str) -> Weights:
    inside = sorted(name.rstrip("/") for name in gfile.listdir(path))
    if "saved_model.pb" in inside:
        prefix = os.path.join(path, "variables", "variables")
        if not gfile.exists(f"{prefix}.index"):
            raise UserError(
                f"--checkpoint={path} is a SavedModel without its variables: "
                "variables/variables.index is missing. Copy the whole folder."
            )
        return _variables(path, prefix, "SavedModel")
    if "checkpoint" in inside:
        with translate_read_errors(os.path.join(path, "checkpoint")):
            newest = checkpoint_files.newest_name(path)
        if not newest:
            raise UserError(
                f"--checkpoint={path}: the file `checkpoint` in it lists no checkpoint."
            )
        # Its name within the folder: the folder may have been moved.
        prefix = os.path.join(path, newest)
        if any(
            gfile.exists(f"{path_prefix}.json")
            for path_prefix in checkpoint_files.list_prefixes(path)
        ):  # simclr_med's
            prefix = checkpoint_files.newest_usable(path) or prefix
        if not gfile.exists(f"{prefix}.index"):
            raise UserError(
                f"--checkpoint={path}: the file `checkpoint` points to {os.path.basename(prefix)}, "
                "whose .index file is missing. Copy it too, or give the prefix of another checkpoint."
            )
        return _variables(path, prefix, "checkpoint")
    raise UserError(f"--checkpoint={path}: {_what_is_inside(path, inside)}")


def _what_is_inside(path: str, inside: list[str]) -> str:
    """Returns what is wrong with a folder that is no checkpoint, and which path to give instead."""
    for folder in (path, os.path.join(path, "saved_model"), os.path.join(path, "export")):
        if not gfile.isdir(folder):
            continue
        names = (name.rstrip("/") for name in gfile.listdir(folder))
        saved = [
            name for name in names if gfile.exists(os.path.join(folder, name, "saved_model.pb"))
        ]
        if saved:
            newest = max(saved, key=lambda name: (int(name) if name.isdigit() else -1, name))
            return (
                f"a folder of SavedModels ({', '.join(sorted(saved)[:5])}); give one of them, as "
                f"{os.path.join(folder, newest)}."
            )
    if prefixes := [name.removesuffix(".index") for name in inside if name.endswith(".index")]:
        return (
            "the file `checkpoint` is missing, which names the newest; give the prefix of one, as "
            f"{os.path.join(path, prefixes[-1])}."
        )
    return f"no checkpoint in that folder. Give {_KINDS}."


def _variables(path: str, prefix: str, what: str) -> Weights:
    """Opens a TensorFlow checkpoint, or the variables of a SavedModel, at a prefix."""
    with translate_read_errors(path):
        _read_start(f"{prefix}.index")  # its errors have types; the reader's do not
        reader = reading.open_reader(prefix)
        shapes = reader.get_variable_to_shape_map()
        graph = ObjectGraph(reader) if ObjectGraph.is_in(reader) else None

    def entries(keys: dict[str, str]) -> dict[str, Entry]:
        return {
            name: Entry(tuple(shapes[key]), functools.partial(reader.get_tensor, key))
            for name, key in keys.items()
            if key in shapes
        }

    if graph and (root := graph.find("resnet_model")) is not None:
        keys = graph.variables(root)
        names = simclr_tf2.translate_names(keys)
        matched = entries({names[original]: key for original, key in keys.items()})
        return Weights(
            path,
            f"SimCLR TF2 {what}",
            matched,
            encoder="resnet",
            input_range="unit",
            pooled_shortcuts=simclr_tf2.pools_shortcuts(keys),
            antialias="false",  # tf2/data_util.py: tf.image.resize(..., BICUBIC)
            num_other=_num_other(shapes, len(matched)),
        )
    if graph and (root := graph.find("encoder/stem")) is not None:
        matched = entries(graph.variables(root))
        info = simclr_med_weights.info_beside(path, prefix)
        return Weights(
            path,
            f"{what} of simclr_med",
            matched,
            encoder=info.encoder,
            input_range=info.input_range,
            image_size=info.image_size,
            pooled_shortcuts=None if info.sk_ratio is None else info.sk_ratio > 0,
            class_names=info.class_names,
            multilabel=info.multilabel,
            ft_proj_selector=info.ft_proj_selector,
            antialias=info.antialias,
            num_other=_num_other(shapes, len(matched)),
        )
    tf_names = graph.names() if graph else {key: key for key in shapes}
    bit_names = bit.translate_names(path, tf_names.values())
    if bit_names:
        matched = entries({bit_names[n]: key for key, n in tf_names.items() if n in bit_names})
        return Weights(
            path,
            f"{what} with BiT's names",
            matched,
            encoder="bit",
            input_range="symmetric",
            antialias=bit.ANTIALIAS,
            num_other=_num_other(shapes, len(matched)),
        )
    raise UserError(f"--checkpoint={path} {_no_known(tf_names, is_tf1=graph is None)}")


def _num_other(shapes: dict, num_matched: int) -> int:
    return sum(not key.startswith("_CHECKPOINTABLE") for key in shapes) - num_matched


def _no_known(names: dict[str, str], is_tf1: bool) -> str:
    example = min(names.values(), default="nothing")
    if is_tf1:
        return (
            f"was written by TensorFlow 1 (its variables: {example}, ...), which is read of BiT and "
            "REMEDIS only. SimCLR's README links all of its checkpoints for TF 2 too: take those."
        )
    return f"holds variables of no known model ({example}, ...). Give {_KINDS}."


def _file(path: str) -> Weights:
    with translate_read_errors(path):
        start = _read_start(path)
    opener = next((opener for magic, opener in _FILES.items() if start.startswith(magic)), None)
    if opener and is_remote(path):
        raise UserError(
            f"--checkpoint={path}: a file of this kind is read in random order; "
            "copy it to a local disk first, and give that path."
        )
    if opener:
        return opener(path)
    size = gfile.stat(path).length
    raise UserError(
        f"--checkpoint={path}: a file of {size:,} bytes in no known format of weights, or "
        f"damaged at its start. Give {_KINDS}."
    )


def _read_start(path: str) -> bytes:
    """Returns the first 8 bytes of a file, local or remote."""
    return gfile.read(path, 8)
