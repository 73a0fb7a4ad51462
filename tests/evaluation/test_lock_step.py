"""Minimisations that share their evaluations: each as if alone, in no more rounds than the longest."""

import numpy as np
import pytest
import scipy.optimize

from simclr_med.evaluation.probes import lock_step

OPTIONS = {"gtol": 1e-9, "ftol": 0}


def bowl(number, point):
    """A quadratic whose condition, and so the number of iterations, grows with its number."""
    scale = np.geomspace(1, 10.0**number, len(point))
    return float(scale @ (point - number) ** 2 / 2), scale * (point - number)


def test_each_is_minimised_as_if_alone_and_all_are_evaluated_at_once():
    rounds = []

    def evaluate(points):
        rounds.append(list(points))
        return {number: bowl(number, point) for number, point in points.items()}

    results = lock_step.minimise([np.zeros(3 + number) for number in range(4)], evaluate, OPTIONS)
    separate = [
        scipy.optimize.minimize(
            lambda p, number=number: bowl(number, p),
            np.zeros(3 + number),
            jac=True,
            method="L-BFGS-B",
            options=OPTIONS,
        )
        for number in range(4)
    ]
    for one, other in zip(results, separate, strict=True):
        np.testing.assert_array_equal(one.x, other.x)
    assert len(rounds) == max(one.nfev for one in separate)
    assert rounds[0] == [0, 1, 2, 3] and all(number == sorted(number) for number in rounds)
    assert len(rounds[-1]) < 4  # the others were done


def test_a_failing_evaluation_ends_them_all():
    calls = []

    def evaluate(points):
        calls.append(points)
        if len(calls) == 3:
            raise MemoryError("full")
        return {number: bowl(2, point) for number, point in points.items()}

    with pytest.raises(MemoryError, match="full"):
        lock_step.minimise([np.zeros(4)] * 3, evaluate, OPTIONS)
    assert len(calls) == 3
