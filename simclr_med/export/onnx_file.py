"""ONNX, by tf2onnx (the extra [onnx])."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
from typing import Any

import tensorflow as tf

from simclr_med.augment.crop import SMALLEST_CROPPED_SIZE, center
from simclr_med.errors import UserError
from simclr_med.export import matrices, network
from simclr_med.models import Model
from simclr_med.run_folder.files import writing

FILES = ("model.onnx",)
_OPSET = 17  # of 2022; every operation we need has been in ONNX since before
_MOST_BYTES = 2**31 - 2**20  # of a protocol buffer, less what the graph itself takes


def check_installed() -> None:
    """Raises UserError if a package is missing."""
    missing = [name for name in ("tf2onnx", "onnx") if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--export_formats=onnx needs {' and '.join(missing)}: "
            "pip install 'PATH_TO_CLONE[onnx]'"
        )


def write(model: Model, facts: dict[str, Any], folder: str) -> None:
    """Writes model.onnx: from images uint8 [n, H, W, 3] of any size to the result of `network.outputs`.

    Its metadata hold the content of simclr_med.json (class names, preprocessing), each value as JSON.

    Args:
      model: from `network.portable`, with its weights.
      facts: from `network.facts`.
      folder: to write into.

    Raises:
      UserError: tf2onnx is missing, or the model is larger than a file of ONNX can be.
    """
    check_installed()
    if (size := 4 * sum(v.shape.num_elements() for v in model.variables)) > _MOST_BYTES:
        raise UserError(
            f"--export_formats=onnx: the weights take {size / 2**30:.1f} GiB, and one ONNX file "
            "holds less than 2 GiB. Leave onnx out, or take a narrower encoder."
        )
    import tf2onnx

    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
    image_size = facts["image_size"]

    @tf.function
    def call(images):
        if image_size > SMALLEST_CROPPED_SIZE:
            images = center(images)
        pixels = matrices.resize(
            tf.cast(images, tf.float32) / 255.0, image_size, facts["antialias"]
        )
        pixels = tf.clip_by_value(pixels, 0.0, 1.0)
        return network.outputs(model, pixels, multilabel=facts["several_labels"])

    with writing(os.path.join(folder, FILES[0])) as local:
        tf2onnx.convert.from_function(
            call,
            [tf.TensorSpec([None, None, None, 3], tf.uint8, "images")],
            opset=_OPSET,
            output_path=local,
        )
        _describe(local, facts)


def _describe(path: str, facts: dict[str, Any]) -> None:
    """Names the axes of an ONNX file's inputs and outputs, and puts the facts into its metadata."""
    import onnx

    model = onnx.load(path)
    axes = {"images": ("batch", "height", "width")}
    for value in (*model.graph.input, *model.graph.output):
        names = axes.get(value.name, ("batch",))
        for name, dimension in zip(names, value.type.tensor_type.shape.dim):
            dimension.dim_param = name
    onnx.helper.set_model_props(model, {key: json.dumps(value) for key, value in facts.items()})
    onnx.save(model, path)
