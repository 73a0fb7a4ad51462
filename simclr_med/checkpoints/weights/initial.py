"""A digest of the weights a run began with, stored beside the run to recognise them later."""

from __future__ import annotations

import hashlib
import os

import tensorflow as tf

from simclr_med.checkpoints.weights.object_graph import names_of_variables
from simclr_med.run_folder import gfile, read_json, write_json

FILE = "initial_weights.json"


def digest(model, parts: tuple[str, ...] = ("encoder/",)) -> str:
    """Returns the SHA-256 of the names and values of some of a model's variables.

    Args:
      model: built.
      parts: prefixes of the names of the variables that count.
    """
    sha256 = hashlib.sha256()
    for name, variable in sorted(names_of_variables(model).items()):
        if name.startswith(parts):
            sha256.update(name.encode())
            sha256.update(tf.convert_to_tensor(variable).numpy().tobytes())
    return sha256.hexdigest()


def write(model_dir: str, model, checkpoint: str) -> None:
    """Writes the digest of a model as its run begins, and where its weights came from.

    Args:
      model_dir: of the run.
      model: with the weights that training starts from.
      checkpoint: where they were loaded from, --checkpoint.
    """
    facts = {"checkpoint": checkpoint, "encoder_sha256": digest(model)}
    write_json(os.path.join(model_dir, FILE), facts)


def read(model_dir: str) -> str | None:
    """Returns the digest of the weights a run began with; None if the run stored none."""
    path = os.path.join(model_dir, FILE)
    return read_json(path)["encoder_sha256"] if gfile.exists(path) else None
