"""Self-supervised pretraining for medical images: SimCLR and MICLe on TensorFlow 2 / Keras.

After Azizi et al. 2021, "Big Self-Supervised Models Advance Medical Image Classification".

`import simclr_med` imports no TensorFlow: the packages of public names are loaded when first used,
as in `simclr_med.losses.nt_xent`. `simclr_med.load(run)` gives a trained model; `verify`, `pretrain` and
`finetune` do what the command line does.
"""

from __future__ import annotations

import importlib

__version__ = "0.2.0"

_PUBLIC = ("checkpoints", "losses", "metrics", "models", "optim")
_OF_API = ("finetune", "load", "pretrain", "verify")

__all__ = ["__version__", *_PUBLIC, *_OF_API]


def __getattr__(name: str):
    if name in _PUBLIC:
        return importlib.import_module(f"simclr_med.{name}")
    if name in _OF_API:
        importlib.import_module("simclr_med.commands.quiet").import_tensorflow()
        return getattr(importlib.import_module("simclr_med.api"), name)
    raise AttributeError(f"module 'simclr_med' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_PUBLIC, *_OF_API})
