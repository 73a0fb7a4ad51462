"""The weights for PyTorch (the extra [torch]), written only where PyTorch gives the same features.

Each export checks that: timm builds the network, loads the file strictly, and runs.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_med.errors import UserError
from simclr_med.export import network, torch_names
from simclr_med.models import Model
from simclr_med.run_folder.files import writing

FILES = ("model.safetensors",)
LARGEST_DIFFERENCE = 1e-4  # of an image's largest feature
_PACKAGES = ("torch", "timm", "safetensors")
_SCRIPT = os.path.join(os.path.dirname(__file__), "torch_features.py")


def check_installed() -> None:
    """Raises UserError if a package is missing."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(
            f"--export_formats=torch needs {' and '.join(missing)}, to compare the features: "
            "pip install 'PATH_TO_CLONE[torch]'"
        )


def write(model: Model, facts: dict[str, Any], folder: str) -> None:
    """Writes model.safetensors: the weights of timm's network of the same features, and prints how
    much these differ.

    Its metadata hold the content of simclr_med.json, and `architecture` (in timm), `mean` and `std`
    (of RGB in [0, 1]), `largest_difference` and `checked_with`: each value as JSON, but for `format`. The
    classifier is among the weights where it takes the encoder's own output; else `class_names` is [].

    Args:
      model: from `network.portable`, with its weights.
      facts: from `network.facts`.
      folder: to write into.

    Raises:
      UserError: a package is missing, PyTorch has no such network, or its features differ by more than
        LARGEST_DIFFERENCE.
    """
    name = torch_names.twin(facts)
    check_installed()
    import safetensors.numpy

    head = model.supervised_head
    with_head = network.parts(model)[1:] == [head]
    tensors = torch_names.weights(model.encoder)
    if head is not None and with_head:
        tensors |= torch_names.head_weights(head.dense, name)
    about = {
        **facts,
        "class_names": facts["class_names"] if with_head else [],
        "embedding_size": model.encoder.num_features,
        "architecture": name,
        **torch_names.NORMALIZATION[model.encoder.input_range],
    }
    with writing(os.path.join(folder, FILES[0])) as local:
        safetensors.numpy.save_file(tensors, local)
        about |= _compared(model, local, about)
        metadata = {"format": "pt", **{key: json.dumps(value) for key, value in about.items()}}
        safetensors.numpy.save_file(tensors, local, metadata)
    print(
        f"{FILES[0]}: timm's {name}{'' if with_head else ', the encoder alone'}; in PyTorch "
        f"{'features and logits' if with_head else 'features'} differ by at most "
        f"{about['largest_difference']:g} of the largest, on made-up images of {facts['image_size']} px "
        f"({about['checked_with']})."
    )


def _compared(model: Model, path: str, about: dict[str, Any]) -> dict[str, Any]:
    """Returns by how much PyTorch's features, and logits, differ, and in which versions.

    Args:
      model: simclr_med's.
      path: of its weights, by their names in PyTorch; with those of the head, or not.
      about: the file's metadata.

    Raises:
      UserError: by more than LARGEST_DIFFERENCE, or PyTorch does not run.
    """
    images = pictures(about["image_size"])
    pixels = (images - np.array(about["mean"])) / np.array(about["std"])
    actual = _of_torch(about["architecture"], len(about["class_names"]), path, pixels)
    expected = _of_tensorflow(model, images, bool(about["class_names"]))
    difference = max(largest_difference(expected[key], actual[key]) for key in expected)
    versions = str(actual["versions"])
    if not difference <= LARGEST_DIFFERENCE:  # nan too
        raise UserError(
            f"--export_formats=torch: with these weights features of timm's {about['architecture']} "
            f"differ by {difference:.1e} of the largest, more than {LARGEST_DIFFERENCE:g} "
            f"({versions}), so they are not written. Leave torch out; saved_model holds every encoder."
        )
    return {"largest_difference": float(f"{difference:.1e}"), "checked_with": versions}


def largest_difference(expected: np.ndarray, actual: np.ndarray) -> float:
    """Returns the largest relative difference of a row: max |actual - expected| / max |expected|.

    A row of zeros agrees with zeros only: else inf.

    Args:
      expected, actual: [n, d].
    """
    scale = np.abs(expected).max(axis=1)
    error = np.abs(actual.astype(np.float64) - expected).max(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return float(np.where(error == 0, 0.0, error / scale).max())


def pictures(size: int) -> np.ndarray:
    """Returns images to compare on, float32 [4, size, size, 3] in [0, 1]: noise, and smooth pictures:
    in colour, grey, and dark grey with little contrast, as a radiograph may be."""
    rng = np.random.default_rng(0)
    coarse = rng.random([2, 8, 8, 3], np.float32)
    coarse[1] = coarse[1, :, :, :1]
    colour, grey = tf.clip_by_value(tf.image.resize(coarse, [size, size], "bicubic"), 0, 1).numpy()
    noise = rng.random([size, size, 3], np.float32)
    return np.stack([noise, colour, grey, 0.05 + 0.1 * grey])


def _of_tensorflow(model: Model, images: np.ndarray, with_head: bool) -> dict[str, np.ndarray]:
    """Returns features, and logits if so, by TensorFlow on the CPU: a GPU may round to TF32."""
    with tf.device("/CPU:0"):
        features = tf.concat([model.encoder(image[None], training=False) for image in images], 0)
        outputs = {"features": features.numpy()}
        if with_head:
            outputs["logits"] = model.classify(features).numpy()
    return outputs


def _of_torch(name: str, num_classes: int, path: str, pixels: np.ndarray) -> dict[str, np.ndarray]:
    """Returns the same by timm's network `name`, of normalised pixels [n, H, W, 3]; and "versions".

    Raises:
      UserError: it does not run: an installation that is broken, or no memory.
    """
    with tempfile.TemporaryDirectory() as folder:
        images, out = (os.path.join(folder, file) for file in ("pixels.npy", "out.npz"))
        np.save(images, pixels.astype(np.float32))
        done = subprocess.run(
            [
                sys.executable,
                "-P",
                _SCRIPT,
                name,
                str(num_classes),
                os.path.abspath(path),
                images,
                out,
            ],
            capture_output=True,
            text=True,
            check=False,
            env={
                **os.environ,
                "CUDA_VISIBLE_DEVICES": "",
            },  # a CPU's rounding, and no memory of a GPU's
        )
        if done.returncode:
            lines = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
            raise UserError(
                f"--export_formats=torch: PyTorch could not run timm's {name}: {lines[-1].strip()[:300]} "
                "Try pip install 'PATH_TO_CLONE[torch]' again, or leave torch out."
            )
        with np.load(out) as arrays:
            return dict(arrays)
