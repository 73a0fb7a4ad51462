"""TensorFlow's environment, and its import without what its C++ writes to stderr meanwhile.

From TensorFlow 2.19 on, lines of level INFO about oneDNN and CUDA are written whatever
TF_CPP_MIN_LOG_LEVEL says (tensorflow/tensorflow#100442). All other lines pass.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_is_users = _LEVEL in os.environ

# Before TensorFlow is imported. oneDNN is off by default on AMD processors, where the gradient of a
# ResNet-18 then takes four times as long (2 AMD EPYC cores, TensorFlow 2.15 and 2.21).
os.environ.setdefault(_LEVEL, "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_CHATTER = re.compile(rb"WARNING: All log messages before absl::InitializeLog|I0000 ")


def import_tensorflow(verbose: bool = False) -> None:
    """Imports TensorFlow, once; drops its INFO lines, or with `verbose` shows all."""
    if "tensorflow" in sys.modules:
        return
    if verbose and not _is_users:
        os.environ[_LEVEL] = "0"
    with contextlib.nullcontext() if verbose else _filtered_stderr():
        import tensorflow  # noqa: F401


def set_level_of_logs(verbose: bool) -> None:
    """Keeps deprecation chatter of TensorFlow and TFDS off the terminal, or shows all they log."""
    for name in ("tensorflow", "absl", "urllib3"):
        logging.getLogger(name).setLevel(logging.INFO if verbose else logging.ERROR)


@contextlib.contextmanager
def _filtered_stderr() -> Iterator[None]:
    """Filters file descriptor 2 in a child process, so that a crash loses nothing."""
    if not hasattr(os, "fork"):
        yield
        return
    sys.stderr.flush()
    reading, writing = os.pipe()
    stderr = os.dup(2)
    child = os.fork()
    if not child:
        os.close(writing)
        _pass_on(reading, stderr)
    os.close(reading)
    os.dup2(writing, 2)
    os.close(writing)
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
        os.waitpid(child, 0)


def _pass_on(reading: int, stderr: int) -> None:
    """Writes the lines that are no chatter, to the end of file; ends the process."""
    try:
        with os.fdopen(reading, "rb") as lines:
            for line in lines:
                if not _CHATTER.match(line):
                    os.write(stderr, line)
    finally:
        os._exit(0)
