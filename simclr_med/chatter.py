"""Keeps TensorFlow's lines of level INFO off stderr where it writes them whatever its log level.

They are about oneDNN and CUDA when TensorFlow is imported, from 2.19 on
(tensorflow/tensorflow#100442), and about the first function that XLA compiles, in 2.15. All other
lines pass.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

LEVEL = "TF_CPP_MIN_LOG_LEVEL"

_FILTER = """
import re, sys
chatter = re.compile(rb"WARNING: All log messages before absl::InitializeLog|I0000 ")
for line in sys.stdin.buffer:
    if not chatter.match(line):
        sys.stderr.buffer.write(line)
        sys.stderr.flush()
"""


@contextlib.contextmanager
def dropped() -> Iterator[None]:
    """Filters file descriptor 2 while entered, in a child process, so that a crash loses nothing.

    Does nothing where the user wants to see all: TF_CPP_MIN_LOG_LEVEL=0, which --verbose sets too.
    """
    if os.environ.get(LEVEL) == "0":
        yield
        return
    sys.stderr.flush()
    stderr = os.dup(2)
    # In a session of its own, so that Ctrl-C does not reach it: it ends when this process does.
    with subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _FILTER], stdin=subprocess.PIPE, start_new_session=True
    ) as child:
        assert child.stdin
        os.dup2(child.stdin.fileno(), 2)
        child.stdin.close()
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(stderr, 2)
            os.close(stderr)
