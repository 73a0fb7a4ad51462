"""Ctrl-C: before training, in a place that swallows it, and in the middle of a step."""

import contextlib
import os
import signal

import pytest

from simclr_med import signals


@pytest.fixture(autouse=True)
def handlers():
    before = {s: signal.getsignal(s) for s in (signal.SIGINT, signal.SIGTERM)}
    yield
    signals._early.clear()
    for number, handler in before.items():
        signal.signal(number, handler)


def press(number=signal.SIGINT):
    os.kill(os.getpid(), number)


def test_before_training_it_is_an_interrupt():
    signals.watch()
    with pytest.raises(KeyboardInterrupt):
        press()


def test_one_that_was_swallowed_stops_the_run_all_the_same():
    signals.watch()
    with contextlib.suppress(KeyboardInterrupt):  # as TensorFlow's import may do
        press()
    with signals.stop_signals() as stop:
        assert stop == [signal.SIGINT]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_while_training_it_only_asks(number):
    signals.watch()
    with signals.stop_signals() as stop:
        assert stop == []
        press(number)
        press(number)
        assert stop[0] == number
    assert signals.report_stop(signals.Interrupted(stop[0]), "runs/x") == 128 + number


def test_after_training_it_is_an_interrupt_again():
    signals.watch()
    with signals.stop_signals():
        pass
    with pytest.raises(KeyboardInterrupt):
        press()
