"""How far a long pass over cases or images is: a line every few seconds, with an ETA."""

from __future__ import annotations

import time

from simclr_med.run_folder.log import clock

_SECONDS_BETWEEN_LINES = 5.0


class Progress:
    """Prints "1,024 of 10,000 cases  52 cases/s  ETA 0:02:52".

    Args:
      total: how many there are.
      unit: of what, in the plural.
      done: how many were done before, by an earlier command.
    """

    def __init__(self, total: int, unit: str, done: int = 0):
        self._total, self._unit, self._done = total, unit, done
        self._start: tuple[float, int] | None = None  # what came before was tracing and compiling
        self._last = time.monotonic()

    def __call__(self, number: int) -> None:
        """Adds to the number that is done."""
        self._done += number
        now = time.monotonic()
        if self._start is None:
            self._start = (now, self._done)
        if now - self._last <= _SECONDS_BETWEEN_LINES:
            return
        self._last = now
        words = f"{self._done:,} of {self._total:,} {self._unit}"
        done = self._done - self._start[1]
        if done:
            rate = done / (now - self._start[0])
            words += f"  {rate:.3g} {self._unit}/s  ETA {clock((self._total - self._done) / rate)}"
        print(words, flush=True)
