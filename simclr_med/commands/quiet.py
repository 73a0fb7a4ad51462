"""TensorFlow's environment, and its import without what its C++ writes to stderr meanwhile."""

from __future__ import annotations

import contextlib
import logging
import os
import sys

from simclr_med import chatter

_is_users = chatter.LEVEL in os.environ

# Before TensorFlow is imported. oneDNN is off by default on AMD processors, where the gradient of a
# ResNet-18 then takes four times as long (2 AMD EPYC cores, TensorFlow 2.15 and 2.21).
os.environ.setdefault(chatter.LEVEL, "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def import_tensorflow(verbose: bool = False) -> None:
    """Imports TensorFlow, once; drops its INFO lines, or with `verbose` shows all."""
    if "tensorflow" in sys.modules:
        return
    if verbose and not _is_users:
        os.environ[chatter.LEVEL] = "0"
    with contextlib.nullcontext() if verbose else chatter.dropped():
        import tensorflow  # noqa: F401


def set_level_of_logs(verbose: bool) -> None:
    """Keeps deprecation chatter of TensorFlow and TFDS off the terminal, or shows all they log."""
    for name in ("tensorflow", "absl", "urllib3"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)
