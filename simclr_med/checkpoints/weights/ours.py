"""What a run or an export of ours says about its own weights, in a file beside them."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

import tensorflow as tf

from simclr_med.config import OF_OLDER_RUNS
from simclr_med.models.input_range import INPUT_RANGES, USUAL
from simclr_med.run_folder.files import is_remote


@dataclasses.dataclass(frozen=True)
class Said:
    """An encoder's family, input range, image size in px, and rule of --antialias; None: no file says."""

    encoder: str | None
    input_range: str | None
    image_size: int | None
    antialias: str | None


def beside(path: str, prefix: str) -> Said:
    """Returns what config.json of a run, or simclr_med.json of an export, says.

    Args:
      path: as the user gave it: a run's folder, a checkpoint's prefix, or a SavedModel.
      prefix: of the variables.
    """
    folders = [os.path.dirname(prefix)]
    path = path if is_remote(path) else os.path.abspath(path)  # abspath would make gs:// gs:/
    if tf.io.gfile.exists(os.path.join(path, "saved_model.pb")):
        # RUN/saved_model/STEP and RUN/export/saved_model
        folders = [path, os.path.dirname(os.path.dirname(path.rstrip("/")))]
    for folder in folders:
        for name in ("simclr_med.json", "config.json"):
            if said := _said(_read(os.path.join(folder, name))):
                return said
    return Said(None, None, None, None)


def _read(file: str) -> Any:
    """Returns what a JSON file holds; None where there is none, or something else of that name."""
    if not tf.io.gfile.exists(file):
        return None
    with tf.io.gfile.GFile(file, "rb") as opened:
        try:
            return json.loads(opened.read())
        except ValueError:
            return None


def _said(values: Any) -> Said | None:
    """Returns what our own file says; None of one that others wrote (config.json is a usual name)."""
    if not isinstance(values, dict) or "resnet_depth" not in values:
        return None
    encoder = values.get("encoder", "resnet")  # a run older than the field
    input_range = values.get("input_range", "auto")
    if encoder not in list(USUAL) or input_range not in ["auto", *INPUT_RANGES]:
        return None
    input_range = USUAL[encoder] if input_range == "auto" else input_range
    return Said(encoder, input_range, values.get("image_size"), _antialias(values))


def _antialias(values: dict) -> str:
    """Returns "true" or "false"; an export says it as a boolean, a file older than the field not."""
    value = values.get("antialias", OF_OLDER_RUNS["antialias"])
    return "false" if value in (False, "false") else "true"
