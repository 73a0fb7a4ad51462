"""Ctrl-C and a scheduler's SIGTERM ask to stop; a run stops after its step, with everything saved."""

from __future__ import annotations

import signal
import threading


class Interrupted(Exception):
    """A signal asked to stop; everything is saved. `args[0]` is its number."""


_early: list[int] = []  # signals that came before training


def watch() -> None:
    """From now on Ctrl-C raises KeyboardInterrupt, and is remembered where that is swallowed.

    Libraries written in C++ lose an exception that rises in one of their callbacks, as while
    TensorFlow is imported; the run then stops after its first step.
    """

    def note(number, frame):
        del frame
        _early.append(number)
        raise KeyboardInterrupt

    _early.clear()
    if in_main_thread():
        signal.signal(signal.SIGINT, note)


class stop_signals:
    """While entered, SIGINT and SIGTERM put their number into a list instead of killing.

    In a thread, where Python allows no handlers, signals keep the effect that the program around
    gives them.
    """

    def __enter__(self) -> list[int]:
        received = list(_early)

        def note(number, frame):
            del frame
            if not received:
                print("\nStopping after this step and saving...", flush=True)
            received.append(number)

        numbers = (signal.SIGINT, signal.SIGTERM) if in_main_thread() else ()
        self._before = {number: signal.signal(number, note) for number in numbers}
        return received

    def __exit__(self, *exc) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def report_stop(interrupted: Interrupted, model_dir: str) -> int:
    """Says how to go on, and returns the exit code that a shell expects: 128 + the signal's number."""
    print(f"Stopped. The same command goes on from {model_dir}.")
    return 128 + interrupted.args[0]


def in_main_thread() -> bool:
    """Returns whether Python lets this thread set signal handlers (not Streamlit's, Ray's, W&B's)."""
    return threading.current_thread() is threading.main_thread()
