"""Ctrl-C and a scheduler's SIGTERM ask to stop; a run stops after its step, with everything saved."""

from __future__ import annotations

import signal


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
    signal.signal(signal.SIGINT, note)


class stop_signals:
    """While entered, SIGINT and SIGTERM put their number into a list instead of killing."""

    def __enter__(self) -> list[int]:
        received = list(_early)

        def note(number, frame):
            del frame
            if not received:
                print("\nStopping after this step and saving...", flush=True)
            received.append(number)

        self._before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
        return received

    def __exit__(self, *exc) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)


def exit_code(interrupted: Interrupted) -> int:
    """Returns what a shell expects of a process that a signal ended: 128 + its number."""
    return 128 + interrupted.args[0]
