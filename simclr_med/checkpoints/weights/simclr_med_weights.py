"""The description of its weights that a run or an export of simclr_med stores beside them."""

from __future__ import annotations

import dataclasses
import json
import os
from typing import Any

from simclr_med.config import OF_OLDER_RUNS
from simclr_med.errors import UserError
from simclr_med.models.input_range import INPUT_RANGES, USUAL
from simclr_med.run_folder import gfile, schemas
from simclr_med.run_folder.files import is_remote


@dataclasses.dataclass(frozen=True)
class WeightsInfo:
    """The description of weights in a file; None where it says nothing.

    Attributes:
      encoder: family.
      input_range: of the encoder.
      image_size: px.
      antialias: "true" or "false", the rule of --antialias.
      sk_ratio: of the flag.
      class_names: of the head's logits.
      multilabel: whether they are labels of which a case can have several.
      ft_proj_selector: of the flag.
    """

    encoder: str | None
    input_range: str | None
    image_size: int | None
    sk_ratio: float | None = None
    class_names: tuple[str, ...] | None = None
    multilabel: bool | None = None
    ft_proj_selector: int | None = None
    antialias: str | None = None


def info_beside(path: str, prefix: str) -> WeightsInfo:
    """Returns the description in config.json of a run, or in simclr_med.json of an export.

    Args:
      path: as the user gave it: a run's folder, a checkpoint's prefix, or a SavedModel.
      prefix: of the variables.
    """
    folders = [os.path.dirname(prefix)]
    path = path if is_remote(path) else os.path.abspath(path)  # abspath would make gs:// gs:/
    if gfile.exists(os.path.join(path, "saved_model.pb")):
        # RUN/saved_model/STEP and RUN/export/saved_model
        folders = [path, os.path.dirname(os.path.dirname(path.rstrip("/")))]
    for folder in folders:
        for name in ("simclr_med.json", "config.json"):
            if info := _parse(json_of(os.path.join(folder, name)), folder):
                return info
    return WeightsInfo(None, None, None)


def json_of(file: str) -> Any:
    """Returns what a JSON file holds; None where there is none, or something else of that name."""
    if not gfile.exists(file):
        return None
    try:
        return json.loads(gfile.read(file))
    except (ValueError, RecursionError):
        return None


def _parse(values: Any, folder: str) -> WeightsInfo | None:
    """Returns the description in a file of simclr_med; None for a file of another tool.

    config.json is a common name.
    """
    if not isinstance(values, dict) or "resnet_depth" not in values:
        return None
    encoder = values.get("encoder", "resnet")  # a run older than the field
    input_range = values.get("input_range", "auto")
    if encoder not in list(USUAL) or input_range not in ["auto", *INPUT_RANGES]:
        return None
    of_config = {key: value for key, value in values.items() if key != "antialias"}
    if problem := schemas.find_problem("config.json", of_config):
        raise UserError(
            f"The configuration beside the weights in {folder} is damaged ({problem}); restore it."
        )
    input_range = USUAL[encoder] if input_range == "auto" else input_range
    multilabel = values.get("several_labels")
    if "several_labels" not in values:  # config.json; data.json is beside it
        data = json_of(os.path.join(folder, "data.json"))
        multilabel = data.get("several_labels") if isinstance(data, dict) else None
    return WeightsInfo(
        encoder,
        input_range,
        values.get("image_size"),
        values.get("sk_ratio"),
        tuple(values.get("class_names") or ()) or None,
        multilabel,
        values.get("ft_proj_selector"),
        _antialias(values),
    )


def _antialias(values: dict) -> str:
    """Returns "true" or "false"; an export says it as a boolean, a file older than the field not."""
    value = values.get("antialias", OF_OLDER_RUNS["antialias"])
    return "false" if value in (False, "false") else "true"
