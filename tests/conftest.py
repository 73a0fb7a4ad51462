"""Shared by all tests: quiet TensorFlow, and where the reference's numbers lie."""

import gzip
import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent


@pytest.fixture
def golden() -> pathlib.Path:
    """Returns the folder of numbers computed by google-research/simclr tf2 (see its README)."""
    return ROOT / "tests" / "golden"


@pytest.fixture(scope="session")
def golden_checkpoint(tmp_path_factory) -> pathlib.Path:
    """Returns a folder with the checkpoint written by google-research/simclr tf2, unpacked."""
    folder = tmp_path_factory.mktemp("golden_checkpoint")
    for file in (ROOT / "tests" / "golden" / "ckpt").iterdir():
        if file.suffix == ".gz":
            (folder / file.stem).write_bytes(gzip.decompress(file.read_bytes()))
        else:
            (folder / file.name).write_bytes(file.read_bytes())
    return folder


def pytest_terminal_summary(terminalreporter):
    """Prints what tests/distributed measured: strategies x precision x loss, and what workers said."""
    for line in getattr(sys.modules.get("processes"), "TABLE", ()):
        terminalreporter.write_line(line)
