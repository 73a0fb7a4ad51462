"""The command runs in this process here; what it sets for a whole process is undone."""

import signal

import pytest

from helpers import command_line


@pytest.fixture(autouse=True)
def undisturbed():
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)
    command_line.undo()
