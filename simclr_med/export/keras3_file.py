"""The encoder as a .keras file that Keras 3 opens, written without Keras 3.

Both Keras keep a zip of config.json, metadata.json and model.weights.h5, whose weights have the same
names. What differs is in config.json: the class of the model, and the arguments of some layers. Only
stock layers are in it, so that it runs on TensorFlow, JAX and PyTorch.
"""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from typing import Any

from simclr_med.errors import UserError
from simclr_med.models import Model
from simclr_med.models.functional import functional
from simclr_med.run_folder.files import writing

FILES = ("encoder_keras3.keras",)
_LAYERS = {
    *("InputLayer", "Conv2D", "BatchNormalization", "MaxPooling2D", "AveragePooling2D", "ReLU"),
    *("ZeroPadding2D", "Add", "Multiply", "Activation", "GlobalAveragePooling2D", "Rescaling"),
    "GroupNormalization",
}
_FUNCTIONAL = {"module": "keras.src.models.functional", "class_name": "Functional"}


def write(model: Model, facts: dict[str, Any], folder: str) -> None:
    """Writes encoder_keras3.keras: RGB float32 [n, H, W, 3] in [0, 1] to [n, d].

    Args:
      model: from `network.portable`, with its weights.
      facts: from `network.facts`.
      folder: to write into.

    Raises:
      UserError: an encoder with selective kernels, which no stock layers are.
    """
    if facts["sk_ratio"]:
        raise UserError(
            f"--export_formats=keras3: selective kernels (--sk_ratio={facts['sk_ratio']:g}) are not made "
            "of layers that Keras 3 has. Leave keras3 out; saved_model and onnx hold them."
        )
    with (
        tempfile.TemporaryDirectory() as temporary,
        writing(os.path.join(folder, FILES[0])) as local,
    ):
        keras_path = os.path.join(temporary, "encoder.keras")
        functional(model.encoder).save(keras_path)
        with zipfile.ZipFile(keras_path) as source, zipfile.ZipFile(local, "w") as target:
            for name in source.namelist():
                data = source.read(name)
                if name == "config.json":
                    data = json.dumps(_config(json.loads(data))).encode()
                elif name == "metadata.json":
                    data = json.dumps({**json.loads(data), "keras_version": "3.0.0"}).encode()
                target.writestr(name, data)


def _config(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the configuration of a functional model as Keras 3 reads it."""
    model_config = config["config"]
    layers = [_layer(layer) for layer in model_config["layers"]]
    model_fields = {
        name: model_config[name] for name in ("name", "trainable", "input_layers", "output_layers")
    }
    return {
        **_FUNCTIONAL,
        "config": {**model_fields, "layers": layers},
        "registered_name": "Functional",
    }


def _layer(layer: dict[str, Any]) -> dict[str, Any]:
    kind, config = layer["class_name"], dict(layer["config"])
    if kind not in _LAYERS:
        raise ValueError(f"{kind} is no stock layer of Keras 3: functional.py should not use it.")
    if kind == "InputLayer":
        config = {
            "batch_shape": config["batch_input_shape"],
            "dtype": config["dtype"],
            "name": config["name"],
        }
    if kind in ("BatchNormalization", "GroupNormalization") and isinstance(config["axis"], list):
        (config["axis"],) = config["axis"]
    config.pop("batch_input_shape", None)
    field_names = ("name", "inbound_nodes", "registered_name")
    layer_fields = {name: layer[name] for name in field_names if name in layer}
    return {**layer_fields, "module": "keras.layers", "class_name": kind, "config": config}
