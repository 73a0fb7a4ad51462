"""The encoder as Keras files: functional, of stock layers, so that they load without simclr_med."""

from __future__ import annotations

import os
from typing import Any

from simclr_med.models import Model
from simclr_med.models.functional import functional
from simclr_med.run_folder.files import writing

FILES = ("encoder.keras", "encoder.weights.h5")


def write(model: Model, facts: dict[str, Any], folder: str) -> None:
    """Writes encoder.keras and encoder.weights.h5: RGB float32 [n, H, W, 3] in [0, 1] to [n, d].

    Args:
      model: from `network.portable`, with its weights.
      facts: from `network.facts`; not needed here.
      folder: to write into.
    """
    encoder = functional(model.encoder)
    for name in FILES:
        with writing(os.path.join(folder, name)) as local:
            (encoder.save if name.endswith(".keras") else encoder.save_weights)(local)
