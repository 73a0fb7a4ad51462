"""TensorFlow's chatter at its import is dropped, and nothing else."""

import subprocess
import sys

from helpers import ROOT

SCRIPT = f"""
import os, sys
sys.path.insert(0, {str(ROOT)!r})
from simclr_med import chatter
with chatter.dropped():
    os.write(2, b"WARNING: All log messages before absl::InitializeLog() is called are ...\\n")
    os.write(2, b"I0000 00:00:1.2 3 port.cc:153] oneDNN custom operations are on.\\n")
    os.write(2, b"E0000 00:00:1.2 3 cuda.cc:1] kept\\n")
    print("kept too", file=sys.stderr)
    if sys.argv[1:]:
        os.write(2, b"last words")
        os.abort()
print("after", file=sys.stderr)
"""


def errors_of(*arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, check=False
    )
    return done.stderr


def test_only_chatter_is_dropped():
    assert errors_of() == "E0000 00:00:1.2 3 cuda.cc:1] kept\nkept too\nafter\n"


def test_a_crash_keeps_its_last_words():
    assert errors_of("crash").startswith("E0000 00:00:1.2 3 cuda.cc:1] kept\nkept too\nlast words")
