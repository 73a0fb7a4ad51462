"""Ctrl-C and a scheduler's SIGTERM ask to stop; a run stops after its step, with everything saved."""

from __future__ import annotations

import signal
import threading


class Interrupted(Exception):
    """A signal asked to stop; everything is saved. `args[0]` is its number."""


_early: list[int] = []  # signals that came before training


def watch() -> None:
    """Makes Ctrl-C raise KeyboardInterrupt, and remembers it in case the exception is swallowed.

    Libraries written in C++ lose an exception that is raised in one of their callbacks, as while
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
    """While entered, SIGINT and SIGTERM are appended to a list instead of ending the process.

    In a thread, where Python allows no handlers, signals keep the handlers of the surrounding program.
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
    """Prints how to go on, and returns the exit code that a shell expects: 128 + the signal's number.

    Args:
      interrupted: `args[0]` is the number of the signal.
      model_dir: of the run.
    """
    print(f"Stopped. The same command goes on from {model_dir}.")
    return 128 + interrupted.args[0]


def in_main_thread() -> bool:
    """Returns whether this thread may set signal handlers (those of Streamlit, Ray and W&B may not)."""
    return threading.current_thread() is threading.main_thread()
