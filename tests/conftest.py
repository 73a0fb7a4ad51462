"""Shared by all tests: quiet TensorFlow, and where the reference's numbers lie."""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import pytest

from helpers import ROOT


@pytest.fixture
def golden() -> pathlib.Path:
    """The folder of numbers that google-research/simclr tf2 produced; skips where it is absent."""
    folder = pathlib.Path(os.environ.get("SIMCLR_MED_GOLDEN", ROOT.parent / "shared" / "golden"))
    if not folder.is_dir():
        pytest.skip(f"no golden numbers at {folder} (set SIMCLR_MED_GOLDEN)")
    return folder


def pytest_terminal_summary(terminalreporter):
    """Prints what tests of several processes measured, and what their workers said."""
    for line in getattr(sys.modules.get("helpers.processes"), "TABLE", ()):
        terminalreporter.write_line(line)
