"""Shared by all tests: quiet TensorFlow, short encoders, one prepared folder, the reference's numbers."""

import gzip
import os
import pathlib
import signal
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.pop("COLUMNS", None)  # readline sets it in pytest, for its workers; tables are 120 wide

import pytest

from helpers import ROOT


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


@pytest.fixture(autouse=True)
def undisturbed():
    """Undoes what the command sets for the whole process: the handler of Ctrl-C, determinism."""
    from helpers import command_line

    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)
    command_line.undo()


@pytest.fixture
def one_block(monkeypatch):
    """Encoders of one block while the test runs; in a fixture of a module use `encoders.shorten`."""
    from helpers import encoders

    encoders.shorten(monkeypatch)


@pytest.fixture(scope="session")
def strategy():
    """One device."""
    from simclr_med import distribution

    return distribution.make_strategy()


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory):
    """A prepared folder, see `tiny_runs.prepare`: its builder. Nobody changes it."""
    from helpers import tiny_runs

    return tiny_runs.prepare(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="session")
def tiny_pretrained(tiny_data, strategy, tmp_path_factory):
    """A finished, evaluated pretraining of a one-block encoder on it: its folder. Copy to change it."""
    from helpers import encoders, tiny_runs

    folder = tmp_path_factory.mktemp("runs") / "pretrained"
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch)
        return tiny_runs.trained(tiny_runs.BASE, tiny_data, folder, strategy, evaluated=True)


@pytest.fixture(scope="session")
def tiny_tuned(tiny_data, strategy, tmp_path_factory):
    """A finished, evaluated fine-tuning of a one-block encoder on it: its folder. Copy to change it."""
    from helpers import encoders, tiny_runs

    folder = tmp_path_factory.mktemp("runs") / "tuned"
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch)
        return tiny_runs.trained(tiny_runs.FINETUNE, tiny_data, folder, strategy, evaluated=True)


def pytest_terminal_summary(terminalreporter):
    """Prints what tests of several processes measured, and what their workers said."""
    for line in getattr(sys.modules.get("helpers.processes"), "TABLE", ()):
        terminalreporter.write_line(line)
