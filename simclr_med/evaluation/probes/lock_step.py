"""Several minimisations by SciPy's L-BFGS-B that ask for their functions' values at the same time.

Where the functions share the work, as regressions on the same features do, one evaluation then serves
all. Each is a problem of its own: minimised as one, five of them take four times the iterations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import scipy.optimize

Values = dict[int, tuple[float, np.ndarray]]


def minimise(
    starts: list[np.ndarray], evaluate: Callable[[dict[int, np.ndarray]], Values], options: dict
) -> list[scipy.optimize.OptimizeResult]:
    """Returns the optimum that L-BFGS-B reaches from each start; functions have a value everywhere.

    Args:
      starts: float [p], one for each function.
      evaluate: of {number of a function: point}, of those that still go on, gives {number: (value,
        gradient [p])}. It is never called twice at the same time.
      options: of `scipy.optimize.minimize`.

    Raises:
      whatever `evaluate` raises.
    """
    barrier = _Barrier(evaluate, len(starts))

    def run(number: int) -> scipy.optimize.OptimizeResult:
        try:
            return scipy.optimize.minimize(
                lambda point: barrier.value(number, point),
                starts[number],
                jac=True,
                method="L-BFGS-B",
                options=options,
            )
        except BaseException:
            barrier.end()
            raise
        finally:
            barrier.remove()

    with ThreadPoolExecutor(len(starts)) as threads:
        waiting = [threads.submit(run, number) for number in range(len(starts))]
        try:
            return [future.result() for future in waiting]
        except _EndedError:
            errors = [future.exception() for future in waiting]
            first = next(e for e in errors if e is not None and not isinstance(e, _EndedError))
            raise first from None
        except BaseException:  # Ctrl-C too: the others are waiting
            barrier.end()
            raise


class _EndedError(Exception):
    """Another minimisation has failed."""


class _Barrier:
    """Where the minimisations wait until all have requested a value.

    Args:
      evaluate: see `minimise`.
      size: how many there are.
    """

    def __init__(self, evaluate: Callable[[dict[int, np.ndarray]], Values], size: int):
        self._evaluate, self._size = evaluate, size
        self._points: dict[int, np.ndarray] = {}
        self._values: Values = {}
        self._ended = False
        self._changed = threading.Condition()

    def value(self, number: int, point: np.ndarray) -> tuple[float, np.ndarray]:
        """Returns value and gradient; the last to call computes those of all.

        Args:
          number: of the minimisation.
          point: float [p].
        """
        with self._changed:
            self._points[number] = point.copy()
            self._answer()
            self._changed.wait_for(lambda: number in self._values or self._ended)
            if self._ended:
                raise _EndedError
            return self._values.pop(number)

    def remove(self) -> None:
        """Takes out a minimisation that is done, or has failed."""
        with self._changed:
            self._size -= 1
            self._answer()

    def end(self) -> None:
        """Makes all that wait fail."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _answer(self) -> None:
        if self._points and len(self._points) == self._size and not self._ended:
            points, self._points = dict(sorted(self._points.items())), {}  # in any order of arrival
            self._values |= self._evaluate(points)
            self._changed.notify_all()
