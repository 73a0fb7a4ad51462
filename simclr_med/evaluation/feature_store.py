"""Features of cases on disk, so that a command does not compute again what an earlier one computed.

--features_dir holds KEY.npy, float32 [n, d], which is read memory-mapped, and KEY.json, which is written
last and says what shaped them: weights, images, how these are read, software, kind of device. KEY is a
digest of that, so features with any other input are computed again. Nothing is ever removed.
"""

from __future__ import annotations

import hashlib
import json
import os
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_med import __version__
from simclr_med.checkpoints.weights import initial
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.errors import UserError
from simclr_med.run_folder import files, leftovers, write_json

_OF_MODEL = ("encoder", "resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "input_range")


class FeatureStore:
    """Features of some cases, stored in a folder, for models whose weights do not change meanwhile.

    Args:
      folder: made if it is missing.
      made_of: what shapes the features beside the weights; JSON values.
    """

    def __init__(self, folder: str, made_of: dict[str, Any]):
        self._folder, self._made_of = folder, made_of
        self._paths: dict[int, tuple[str, dict]] = {}  # of models, whose weights are hashed once
        os.makedirs(folder, exist_ok=True)
        leftovers.remove(folder)

    def read(self, model) -> np.ndarray | None:
        """Returns a model's features, float32 [n, d], read-only; None if they are not stored."""
        path, about = self._path_of(model)
        try:
            with open(f"{path}.json", encoding="utf-8") as file:
                if json.load(file) != about:
                    return None
            return np.lib.format.open_memmap(f"{path}.npy", mode="r").view(np.ndarray)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            print(f"Note: {path}.npy cannot be read ({error}); its features are computed again.")
            return None

    def keep(self, model, features: np.ndarray) -> np.ndarray:
        """Writes a model's features, and returns them; a full disk costs a note only.

        Args:
          model: that computed them.
          features: float32 [n, d].
        """
        path, about = self._path_of(model)
        try:
            with files.writing(f"{path}.npy") as temporary:
                np.save(temporary, features)
            write_json(f"{path}.json", about)
        except OSError as error:
            print(
                f"Note: features could not be kept in {self._folder} ({error.strerror or error})."
            )
            return features
        stored = self.read(model)
        return features if stored is None else stored

    def _path_of(self, model) -> tuple[str, dict]:
        """Returns the path of a model's features, without its extension, and what shapes them."""
        if id(model) in self._paths:
            return self._paths[id(model)]
        parts = ("encoder/", *(("projection_head/",) if model.selected_stage else ()))
        about = json.loads(json.dumps({**self._made_of, "weights": initial.digest(model, parts)}))
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        self._paths[id(model)] = os.path.join(self._folder, key), about
        return self._paths[id(model)]


def of_cases(
    config: Config, strategy: tf.distribute.Strategy, bags: Bags, num_cases: int
) -> FeatureStore | None:
    """Returns the store of the first `num_cases` cases; None without --features_dir.

    Args:
      config: of the run.
      strategy: whose kind of device computes the features.
      bags: the split.
      num_cases: n.

    Raises:
      UserError: the folder is remote, or cannot be made.
    """
    folder = config.eval.features_dir
    if not folder:
        return None
    known = bags.known_cases()
    if known is None or bags.known is None:
        print(
            "Note: which images these cases hold is not known, so --features_dir keeps no features."
        )
        return None
    if files.is_remote(folder):
        raise UserError(
            f"--features_dir={folder}: features are read memory-mapped, from a local disk."
        )
    size = known.num_images[:num_cases]
    reading = {
        "image_size": config.augment.image_size,
        "antialias": config.augment.is_antialiased,
        "max_bag_size": config.data.max_bag_size,
        "seed": config.run.seed if (size > config.data.max_bag_size).any() else None,  # of the draw
    }
    made_of = {
        "data": {**bags.known.source, "cases": _digest(known.ids[:num_cases], size)},
        "reading": reading,
        "model": {name: getattr(config.model, name) for name in (*_OF_MODEL, "ft_proj_selector")},
        "mixed_precision": config.device.mixed_precision,
        "device": strategy.extended.worker_devices[0].split("device:")[-1].split(":")[0],
        "software": {"simclr_med": __version__, "tensorflow": tf.__version__},
    }
    try:
        return FeatureStore(folder, made_of)
    except OSError as error:
        raise UserError(f"--features_dir={folder}: {error.strerror or error}.") from error


def _digest(ids: np.ndarray, size: np.ndarray) -> str:
    """Returns a digest of cases: their ids, and the number of images of each."""
    text = json.dumps([ids.tolist(), size.tolist()])
    return hashlib.sha256(text.encode()).hexdigest()
