"""How often 95 % intervals contain the true value, and how often equal models are called different.

    python benchmarks/bootstrap_coverage.py [--simulations=2000] [--tests=4000] [--jobs=2]

Data sets are drawn for a grid of numbers of patients, of positive patients and of cases per patient,
whose scores share a patient effect; the true value is that of very many patients with the same share
of positives. Scores are a softmax of two normal logits; each table is over two models, of AUC 0.76
and 0.90. The type-I tables compare models that differ by chance alone: one run a side (swaps within
patients), three runs a side of one recipe (t test over runs and patients), whose runs differ among
themselves, and three pairs of runs, of which each pair shares most of what it differs from others by,
as with the same labelled cases. Prints four tables and, as the last line, JSON. The percentile
bootstrap that simclr_med used before is shown for comparison, for AUC. Takes about 10 CPU minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

import joblib
import numpy as np

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

from simclr_med import metrics
from simclr_med.metrics import compare, scoring
from simclr_med.metrics.intervals import Patients
from simclr_med.metrics.predictions import Predictions

PATIENTS, POSITIVES, CASES = (4, 10, 20, 50, 200), (1, 3, 5, 10, 20), (1, 3)
SHIFTS = (1.0, 1.8)  # of the logit of the true class: AUC 0.76 and 0.90
WITHIN = 0.5  # correlation of a patient's logits
NAMES = ("without", "with")
METRICS = ("top_1", "balanced_accuracy", "macro_auc", "macro_ap")
POPULATION = 400_000
RUN_SD = 0.15  # of the shift from run to run of one recipe: AUC +- 0.03
OWN_SD = 0.05  # of two runs of a pair, beside the RUN_SD that they share
PERMUTATIONS = 1999


def draw(rng: np.random.Generator, patients: int, positives: int, k: int, shift: float):
    """Returns a data set: (truth int [n], logits [n, 2], patient of each case int [n]).

    Args:
      rng: random generator.
      patients: number of patients.
      positives: number of patients of class 1; the others are of class 0.
      k: cases per patient.
      shift: added to the logit of the true class.
    """
    r = WITHIN if k > 1 else 0.0
    logits = np.sqrt(r) * rng.normal(size=(patients, 1, 2))
    logits = logits + np.sqrt(1 - r) * rng.normal(size=(patients, k, 2))
    truth = np.repeat((np.arange(patients) < positives).astype(int), k)
    logits = logits.reshape(-1, 2)
    logits[np.arange(len(truth)), truth] += shift
    return truth, logits, np.repeat(np.arange(patients), k)


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def all_estimates(truth, scores, patients) -> dict:
    """Returns {metric: estimate with its interval}, as in result.json."""
    among = scoring.Averaged.of(truth, scores, NAMES)
    return scoring.estimates(truth, scores, NAMES, Patients(patients), among=among).scalars


def coverage(patients: int, positives: int, k: int, simulations: int) -> dict:
    """Returns {metric: [intervals that contain the true value, intervals given, data sets]}.

    "bootstrap" is the percentile bootstrap of macro-AUC.

    Args:
      patients, positives, k: see `draw`.
      simulations: number of data sets.
    """
    counts = {name: [0, 0, 0] for name in (*METRICS, "bootstrap")}
    for shift in SHIFTS:
        positive = round(POPULATION * positives / patients)
        truth, logits, _ = draw(np.random.default_rng(0), POPULATION, positive, 1, shift)
        scores = softmax(logits)
        true = {
            "top_1": metrics.top_k(truth, scores, 1),
            "balanced_accuracy": metrics.balanced_accuracy(truth, scores),
            "macro_auc": metrics.macro_roc_auc(truth, scores),
            "macro_ap": metrics.macro_average_precision(truth, scores),
        }
        for i in range(simulations // len(SHIFTS)):
            rng = np.random.default_rng([i, patients, positives, k, round(10 * shift)])
            truth, logits, names = draw(rng, patients, positives, k, shift)
            scores = softmax(logits)
            estimates = all_estimates(truth, scores, names)
            for name in METRICS:
                counts[name][2] += 1
                if not estimates[name].why:
                    counts[name][1] += 1
                    counts[name][0] += estimates[name].low <= true[name] <= estimates[name].high
            if i < simulations // 8:  # slow, and known to fail
                ranked = metrics.rankings(truth, scores)
                low, high = metrics.bootstrap(
                    lambda w, ranked=ranked: metrics.mean_of_defined(
                        metrics.per_class_areas(ranked, w)[0]
                    ),
                    names,
                    resamples=400,
                    seed=i,
                )
                counts["bootstrap"][1] += 1
                counts["bootstrap"][0] += low <= true["macro_auc"] <= high
    return counts


def type_one(
    patients: int, positives: int, k: int, tests: int, runs: int, in_pairs: bool = False
) -> dict:
    """Returns {metric: [p below 0.05, p below 0.001, tests]} of two equal sides.

    Args:
      patients, positives, k: see `draw`.
      tests: number of data sets; on each the two sides are compared once.
      runs: on each side.
      in_pairs: each run has a counterpart, with which it shares most of its shift.
    """
    counts = {name: [0, 0, 0] for name in ("top_1", "macro_auc")}
    for i in range(tests):
        rng = np.random.default_rng([7, i, patients, positives, k, runs, *([1] * in_pairs)])
        truth, shared, names = draw(rng, patients, positives, k, 1.0)
        ids = np.arange(len(truth)).astype(str)

        def one_run(
            moved, truth=truth, shared=shared, names=names, ids=ids, rng=rng
        ) -> Predictions:
            own = rng.normal(size=shared.shape)
            own[np.arange(len(truth)), truth] += moved
            return Predictions(ids, names, truth, softmax((shared + own) / np.sqrt(2)), NAMES)

        shifts = RUN_SD * rng.normal(size=(2, runs)) * (runs > 1)
        if in_pairs:
            shifts = shifts[:1] + OWN_SD * rng.normal(size=(2, runs))
        a, b = ([one_run(moved) for moved in of_side] for of_side in shifts)
        comparison = compare.compare(
            *(a, b),
            seed=i,
            permutations=PERMUTATIONS,
            blocks=(range(runs), range(runs)) if in_pairs else None,
            only=("top_1", "macro_auc"),
        )
        for name, count in counts.items():
            p = comparison[name]["p"]
            if p == p:
                count[0] += p < 0.05
                count[1] += p < 0.001
                count[2] += 1
    return counts


def cells() -> list[tuple[int, int, int]]:
    return [(n, m, k) for n in PATIENTS for m in POSITIVES for k in CASES if m < n]


def show_coverage(counts_by_cell: dict) -> None:
    """Prints the counts of `coverage` by (patients, positives, cases per patient)."""
    print("\nCoverage of the 95 % intervals where one is given ('-': none given, too few patients)")
    titles = {**dict(zip(METRICS, METRICS)), "bootstrap": "(bootstrap AUC)"}
    print(
        f"{'patients':>8}{'positive':>9}{'cases':>6}" + "".join(f"{t:>19}" for t in titles.values())
    )
    for (n, m, k), counts in counts_by_cell.items():
        texts = []
        for name in titles:
            covering, intervals, _ = counts[name]
            texts.append(f"{covering / intervals:.3f}" if intervals else "-")
        print(f"{n:>8}{m:>9}{k:>6}" + "".join(f"{t:>19}" for t in texts))
    for name in METRICS:
        shares = [c[name][0] / c[name][1] for c in counts_by_cell.values() if c[name][1]]
        inside = sum(0.93 <= share <= 0.97 for share in shares)
        print(
            f"{name}: {min(shares):.3f} to {max(shares):.3f}, {inside} of {len(shares)} cells within "
            f"0.93 to 0.97"
        )


def show_type_one(title: str, counts_by_cell: dict) -> None:
    """Prints the counts of `type_one` by (patients, positives, cases per patient)."""
    print(f"\n{title}")
    columns = f"{'top_1 <0.05':>14}{'<0.001':>9}{'AUC <0.05':>12}{'<0.001':>9}"
    print(f"{'patients':>8}{'positive':>9}{'cases':>6}{columns}")
    total = {name: np.zeros(3) for name in ("top_1", "macro_auc")}
    for (n, m, k), counts in counts_by_cell.items():
        texts = []
        for name, width in (("top_1", 14), ("macro_auc", 12)):
            below_05, below_001, tests = counts[name]
            total[name] += counts[name]
            texts.append(f"{below_05 / tests:.4f}".rjust(width) if tests else "-".rjust(width))
            texts.append(f"{below_001 / tests:.4f}".rjust(9) if tests else "-".rjust(9))
        print(f"{n:>8}{m:>9}{k:>6}" + "".join(texts))
    for name, (below_05, below_001, tests) in total.items():
        print(
            f"{name}, all cells: {below_05 / tests:.4f} below 0.05, {below_001 / tests:.5f} below "
            f"0.001, of {tests:.0f}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=2000)
    parser.add_argument("--tests", type=int, default=4000)
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    began = time.monotonic()
    parallel = joblib.Parallel(n_jobs=options.jobs)
    grid = cells()

    def over(function, cells, *rest) -> dict:
        return dict(zip(cells, parallel(joblib.delayed(function)(*cell, *rest) for cell in cells)))

    covered = over(coverage, grid, options.simulations)
    show_coverage(covered)
    one_run = over(type_one, grid, options.tests, 1)
    show_type_one("Type-I error, one run a side: p of swaps within patients", one_run)
    large = [cell for cell in grid if cell[0] >= 20 and cell[1] >= 10 and cell[0] - cell[1] >= 10]
    three_runs = over(type_one, large, options.tests, 3)
    show_type_one(
        "Type-I error, three runs a side of one recipe: t test over runs and patients", three_runs
    )
    pairs = over(type_one, large, options.tests, 3, True)
    show_type_one("Type-I error, three pairs of runs: t test over pairs and patients", pairs)
    result = {
        **vars(options),
        "seconds": round(time.monotonic() - began, 1),
        "coverage": [[*cell, counts] for cell, counts in covered.items()],
        "type_one": [[*cell, counts] for cell, counts in one_run.items()],
        "type_one_runs": [[*cell, counts] for cell, counts in three_runs.items()],
        "type_one_pairs": [[*cell, counts] for cell, counts in pairs.items()],
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
