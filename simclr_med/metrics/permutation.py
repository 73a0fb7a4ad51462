"""p-values of "the two models are alike": what if each patient's outputs had been swapped?

If two models are exchangeable on each patient, swapping their outputs for any set of patients gives a
difference as likely as the one observed. The p-value is the share of such swaps with a difference at
least as large: exact for any number of patients, and never below 2 / 2^n for the n patients on whom the
models differ (Good 2005, "Permutation, parametric and bootstrap tests of hypotheses"; for AUC after
ranking within each model, Bandos, Rockette and Gur 2005). For one case a patient and top-1 it
is McNemar's exact test.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

_TOLERANCE = 1e-9  # relative; differences as large up to rounding count as equally large
_NUMBERS_AT_ONCE = 2**20


def p_value(
    difference: Callable[[np.ndarray], np.ndarray],
    differs: np.ndarray,
    *,
    permutations: int,
    seed: int,
) -> float:
    """Returns the two-sided p-value of a difference between two models.

    All swaps are counted if there are at most `permutations`; else that many are drawn, and the observed
    one is counted with them, (1 + number as large) / (1 + permutations) (Phipson and Smyth 2010).

    Args:
      difference: maps swaps, bool [r, P], which patients are swapped, to differences [r].
      differs: patients for whom a swap changes anything, bool [P].
      permutations: how many swaps to draw.
      seed: of the draws.

    Returns:
      NaN where the difference is undefined.
    """
    observed = float(difference(np.zeros((1, len(differs)), bool))[0])
    if math.isnan(observed):
        return float("nan")
    least = abs(observed) * (1 - _TOLERANCE) - 1e-15
    count, total = 0, 0
    indices = np.flatnonzero(differs)
    is_exact = 2 ** len(indices) <= permutations
    swaps = _all(len(indices)) if is_exact else _drawn(len(indices), permutations, seed)
    for chunk in swaps:
        full = np.zeros((len(chunk), len(differs)), bool)
        full[:, indices] = chunk
        count += int((np.abs(difference(full)) >= least).sum())
        total += len(chunk)
    return count / total if is_exact else (1 + count) / (1 + total)


def p_value_of_sum(differences: np.ndarray) -> float:
    """Returns the exact two-sided p-value of a sum of differences, int [P], one of each patient.

    Their signs are swapped; the distribution of the sum comes from convolutions, so all 2^P swaps are
    counted for any P. For accuracy, a patient's difference is how many more cases one model has right.
    """
    sizes = np.abs(differences[differences != 0]).astype(int)
    reach = int(sizes.sum())
    chance = np.zeros(2 * reach + 1)
    chance[reach] = 1.0
    for size in sizes:
        chance = (np.roll(chance, size) + np.roll(chance, -size)) / 2
    sums = np.abs(np.arange(-reach, reach + 1))
    return float(min(1.0, chance[sums >= abs(int(differences.sum()))].sum()))


def holm(p_values: np.ndarray) -> np.ndarray:
    """Returns p-values corrected for their number (Holm 1979), [m]; NaN stays and does not count."""
    p_values = np.asarray(p_values, float)
    corrected = np.full(len(p_values), np.nan)
    order = np.argsort(p_values)[: np.isfinite(p_values).sum()]  # NaN sorts last
    factors = np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1, np.maximum.accumulate(factors * p_values[order]))
    return corrected


def _all(n: int) -> Iterator[np.ndarray]:
    """Yields all swaps of n patients, bool [r, n]."""
    chunk = max(_NUMBERS_AT_ONCE // max(n, 1), 1)
    for start in range(0, 2**n, chunk):
        numbers = np.arange(start, min(start + chunk, 2**n))
        yield (numbers[:, None] >> np.arange(n)) & 1 == 1


def _drawn(n: int, permutations: int, seed: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(seed)
    chunk = max(min(_NUMBERS_AT_ONCE // n, 2000), 32)
    for start in range(0, permutations, chunk):
        yield rng.integers(2, size=(min(chunk, permutations - start), n)) == 1
