"""How often the 95 % interval of quadratic kappa contains the true value (docs/statistics.md).

Truth and prediction are normal variables cut into grades, the prediction's with noise; with three cases
a patient, half of the variance of each is the patient's.

    python benchmarks/kappa_coverage.py [DATA_SETS]
"""

import itertools
import sys

import numpy as np
import scipy.stats

from simclr_med.metrics import influence, intervals
from simclr_med.metrics.intervals import Patients

POPULATION = 300_000  # cases behind the true value


def draw(rng, patients: int, each: int, cuts: np.ndarray, noise: float):
    """Returns the true and the predicted grade of each case, int [patients * each] twice.

    Args:
      rng: random generator.
      patients: number of patients.
      each: cases per patient.
      cuts: thresholds between the grades, ascending, [grades - 1].
      noise: standard deviation of the predicted variable's noise.
    """
    latent, error = (
        (np.repeat(rng.normal(size=patients), each) + rng.normal(size=patients * each)) / np.sqrt(2)
        for _ in range(2)
    )
    return np.searchsorted(cuts, latent), np.searchsorted(cuts, latent + noise * error)


def coverage(patients: int, each: int, cuts: np.ndarray, noise: float, data_sets: int) -> float:
    """Returns the share of the intervals given that contain the true value, over `data_sets` draws.

    The other arguments are those of `draw`.
    """
    true, _ = influence.quadratic_kappa(*draw(np.random.default_rng(0), POPULATION, 1, cuts, noise))
    rng, covered = np.random.default_rng(1), []
    patient_of_case = Patients(np.repeat(np.arange(patients), each))
    for _ in range(data_sets):
        interval = intervals.quadratic_kappa(
            *draw(rng, patients, each, cuts, noise), patient_of_case
        )
        if not interval.why:
            covered.append(interval.low <= true <= interval.high)
    return float(np.mean(covered))


def main() -> None:
    """Prints a row for each kind of data, a column for each number of patients and of their cases."""
    data_sets = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    sizes = [(patients, each) for patients in (40, 100, 200) for each in (1, 3)]
    print("| grades | shares | kappa |", *(f"{p} x {k} |" for p, k in sizes))
    for grades, halved, noise in itertools.product((3, 5), (False, True), (0.3, 1.0)):
        steps = np.arange(1, grades)
        cuts = scipy.stats.norm.ppf(1 - 0.5**steps if halved else steps / grades)
        true, _ = influence.quadratic_kappa(
            *draw(np.random.default_rng(0), POPULATION, 1, cuts, noise)
        )
        coverages = [coverage(p, k, cuts, noise, data_sets) for p, k in sizes]
        shares = "each half of the one below" if halved else "equal"
        print(
            f"| {grades} | {shares} | {true:.2f} |", *(f"{c:.3f} |" for c in coverages), flush=True
        )


if __name__ == "__main__":
    main()
