"""Bootstrap over patients, for metrics of your own. NumPy; knows no metric.

A patient is drawn with all of their cases: cases of one patient are not independent. The intervals
of result.json are others (`intervals`): a percentile bootstrap is too narrow below some 20 patients,
or 20 positive ones, and has no width where all cases are right.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

Seed = int | list[int]

_NUMBERS_AT_ONCE = 2**20  # 8 MiB of weights, which mostly stay in the cache


def draws(patients: np.ndarray, resamples: int, seed: Seed, chunk: int = 0) -> Iterator[np.ndarray]:
    """Yields the times that each case is drawn, float [r, n], until there are `resamples` of them.

    Each resample draws as many patients as there are, with replacement. It depends on the seed and
    its number only, so two models compare on the same resamples. With one patient, or none, there is
    nothing to resample: a single chunk of no resamples.

    Args:
      patients: patient of each case, [n].
      resamples: how many.
      seed: of the draws.
      chunk: r; 0: what fits the cache. It changes no value.
    """
    names, patient_of_case = np.unique(patients, return_inverse=True)
    if len(names) < 2:
        yield np.zeros((0, len(patients)))
        return
    rng = np.random.default_rng(seed)
    chunk = chunk or min(max(_NUMBERS_AT_ONCE // len(patients), 32), 2000)
    for start in range(0, resamples, chunk):
        times = np.empty((min(chunk, resamples - start), len(names)))
        for row in times:
            drawn = rng.integers(len(names), size=len(names), dtype=np.uint32)
            row[:] = np.bincount(drawn, minlength=len(names))
        yield np.ascontiguousarray(times.T)[patient_of_case].T  # a case's draws are adjacent


def resample(
    metrics: Callable[[np.ndarray], dict[str, np.ndarray]],
    patients: np.ndarray,
    *,
    resamples: int,
    seed: Seed,
    chunk: int = 0,
) -> dict[str, np.ndarray]:
    """Returns the values of several metrics on the same resamples of patients, {name: [..., R]}.

    Args:
      metrics: maps weights [r, n] to {name: values [..., r]}.
      patients, resamples, seed, chunk: as in `draws`.
    """
    parts = [metrics(weights) for weights in draws(patients, resamples, seed, chunk)]
    return {name: np.concatenate([part[name] for part in parts], axis=-1) for name in parts[0]}


def interval(values: np.ndarray) -> tuple[float, float]:
    """Returns the 2.5 and 97.5 percentiles of [R]; undefined resamples (NaN) are left out.

    (NaN, NaN) where none is defined.
    """
    defined = values[np.isfinite(values)]
    if not len(defined):
        return float("nan"), float("nan")
    return float(np.percentile(defined, 2.5)), float(np.percentile(defined, 97.5))


def bootstrap(
    metric: Callable[[np.ndarray], np.ndarray],
    patients: np.ndarray,
    *,
    resamples: int = 10_000,
    seed: Seed = 0,
    chunk: int = 0,
) -> tuple[float, float]:
    """Returns the 95 % percentile interval of one metric under resampling of patients.

    Args:
      metric: maps weights [r, n] to values [r], e.g. `lambda w: top_k(truth, scores, 1, w)`.
      patients, resamples, seed, chunk: as in `draws`.
    """
    values = resample(
        lambda weights: {"": metric(weights)},
        patients,
        resamples=resamples,
        seed=seed,
        chunk=chunk,
    )
    return interval(values[""])
