"""TensorFlow's environment, and its import without what its C++ writes to stderr meanwhile.

From TensorFlow 2.19 on, lines of level INFO about oneDNN and CUDA are written whatever
TF_CPP_MIN_LOG_LEVEL says (tensorflow/tensorflow#100442). All other lines pass.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Iterator

# Before TensorFlow is imported. oneDNN is off by default on AMD processors, where the gradient of a
# ResNet-18 then takes four times as long (2 AMD EPYC cores, TensorFlow 2.15 and 2.21).
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

_CHATTER = re.compile(rb"WARNING: All log messages before absl::InitializeLog|I0000 ")


def import_tensorflow() -> None:
    """Imports TensorFlow, unless that is done, and drops its INFO lines."""
    if "tensorflow" in sys.modules:
        return
    with _filtered_stderr():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def _filtered_stderr() -> Iterator[None]:
    """A child process passes on what is written to file descriptor 2, so a crash loses nothing."""
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
