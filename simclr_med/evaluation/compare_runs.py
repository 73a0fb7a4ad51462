"""--mode=compare: how runs differ from the first of them, on the terminal and as files."""

from __future__ import annotations

import csv
import io
import os

import numpy as np

from simclr_med import printing, run_folder
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.evaluation.run_origins import blocks_of, num_pretrainings, pretraining_of
from simclr_med.metrics.compare import RUNS_FOR_A_RECIPE, compare, correct, is_better
from simclr_med.metrics.grades import grades_of, in_words, order_of
from simclr_med.metrics.predictions import items, read_predictions, runs_of
from simclr_med.metrics.text import DASH, TITLES, number, signed
from simclr_med.run_folder import gfile, spreadsheet, terminal

_SIGNIFICANT = 0.05
_FIELDS = ("a", "b", "difference", "low", "high", "p", "p_holm")


def compare_runs(config: Config) -> int:
    """Runs --mode=compare: prints how each side of --runs differs from the first; returns 0.

    Writes compare.json and compare.csv into --model_dir, if that is given.

    Raises:
      UserError: fewer than two sides, a run that is not there or not evaluated, or as `compare`.
    """
    texts = items(config.experiment.runs, ",")
    if len(texts) < 2:
        raise UserError(
            f"--runs={config.experiment.runs}: --mode=compare needs two runs or more, A,B[,C...]; "
            "several runs of one recipe are joined by +, A1+A2+A3,B1+B2+B3."
        )
    paths = [runs_of(text) for text in texts]
    runs = [[read_predictions(path) for path in side_paths] for side_paths in paths]
    origins = [[pretraining_of(path) for path in side_paths] for side_paths in paths]
    permutations, seed = config.eval.bootstrap_resamples, config.run.seed
    names = runs[0][0].class_names
    grades = grades_of(config, names, runs[0][0].multilabel)
    comparisons = []
    for i in range(1, len(texts)):
        labelled = runs[0][0].labelled()
        blocks, shared = blocks_of(paths[0], paths[i])
        comparison: dict = {
            "a": texts[0],
            "b": texts[i],
            "repeats_a": len(runs[0]),
            "repeats_b": len(runs[i]),
            "pretrainings_a": num_pretrainings(origins[0]),
            "pretrainings_b": num_pretrainings(origins[i]),
            "cases": len(labelled.ids),
            "patients": len(np.unique(labelled.patients)),
            "permutations": permutations,
            "seed": seed,
            "metrics": compare(
                runs[0],
                runs[i],
                seed=seed,
                permutations=permutations,
                pretrainings=(_named(origins[0]), _named(origins[i])),
                blocks=blocks,
                grades=grades,
            ),
        }
        in_pairs = next(iter(comparison["metrics"].values()))["pairs"]
        comparison["in_common"] = shared if in_pairs else None
        comparisons.append(comparison)
    correct(row for comparison in comparisons for row in comparison["metrics"].values())
    with printing.result():
        for comparison in comparisons:
            terminal.show([_table(comparison)])
            print(f"{_how(comparison)}\n{verdict(comparison)}\n")
        if config.eval.ordinal:
            print(in_words(order_of(names, config.eval.class_order), names))
        tests = sum(row["p"] == row["p"] for c in comparisons for row in c["metrics"].values())
        print(f"p Holm: corrected for the {tests} p-values shown, of all sides against {texts[0]}.")
    if config.run.model_dir:
        gfile.makedirs(config.run.model_dir)
        path = os.path.join(config.run.model_dir, "compare")
        run_folder.write_json(f"{path}.json", comparisons)
        run_folder.write_atomically(f"{path}.csv", _csv(comparisons))
        print(f"The numbers are in {path}.json and {path}.csv.")
    return 0


def _named(origins: list[str | None]) -> list[str]:
    """Returns a name for each run's pretraining; each unknown one counts as separate."""
    return [origin or f"unknown {i}" for i, origin in enumerate(origins)]


def verdict(comparison: dict) -> str:
    """Returns what may be concluded, of the metrics that differ after Holm's correction.

    Args:
      comparison: of two sides, as in compare.json.
    """
    significant = [
        name for name, row in comparison["metrics"].items() if row["p_holm"] < _SIGNIFICANT
    ]
    if not significant:
        return "No metric differs significantly (p Holm below 0.05)."
    improved = [
        TITLES[n] for n in significant if is_better(n, comparison["metrics"][n]["difference"])
    ]
    worsened = [TITLES[n] for n in significant if TITLES[n] not in improved]
    statements = [
        f"B is {word} in {', '.join(names)}"
        for word, names in (("better", improved), ("worse", worsened))
        if names
    ]
    counts = [comparison["pretrainings_a"], comparison["pretrainings_b"]]
    if comparison["metrics"][significant[0]]["over"] == "runs and patients" and all(
        count is not None and count >= RUNS_FOR_A_RECIPE for count in counts
    ):
        numbers = f"{counts[0]} and {counts[1]} pretrainings"
        return f"The recipes differ: {'; '.join(statements)} ({numbers})."
    known = " and ".join("an unknown number" if count is None else str(count) for count in counts)
    return (
        f"These trained models differ on these patients: {'; '.join(statements)}. Whether the recipe "
        f"does cannot be said from {known} pretraining(s) a side: that takes {RUNS_FOR_A_RECIPE} each."
    )


def _how(comparison: dict) -> str:
    """Returns what the intervals and p-values are over."""
    row = next(iter(comparison["metrics"].values()))
    if row["over"] == "patients":
        return (
            "[95 % over patients]; p: exact or drawn swaps of the two models' outputs within patients. "
            "Neither covers another run of the same recipe."
        )
    runs = "Runs of A and B count as independent."
    if row["pairs"]:
        shared = comparison["in_common"]
        runs = f"{row['pairs']} runs of A are each compared with the run of B of the same {shared}."
    return f"[95 % over runs and patients]; p: t test with both variances. In (): each run. {runs}"


def _table(comparison: dict) -> tuple[str, list[str], list[list[str]]]:
    repeats = [
        f" (mean of {n} runs)" if n > 1 else ""
        for n in (comparison["repeats_a"], comparison["repeats_b"])
    ]
    title = (
        f"A = {comparison['a']}{repeats[0]}, B = {comparison['b']}{repeats[1]}: "
        f"{comparison['cases']} cases of {comparison['patients']} patients"
    )
    rows = [
        [
            TITLES[name],
            _side(row, "a"),
            _side(row, "b"),
            signed(row["difference"], row["difference_95"], row["why"]),
            _p(row["p"]),
            _p(row["p_holm"]),
        ]
        for name, row in comparison["metrics"].items()
    ]
    return title, ["metric", "A", "B", "B - A", "p", "p Holm"], rows


def _side(row: dict, side: str) -> str:
    values = row[f"{side}_runs"]
    spread = f" ({', '.join(map(number, values))})" if len(values) > 1 else ""
    return number(row[side]) + spread


def _p(value: float) -> str:
    return DASH if value != value else f"{value:.4f}"


def _csv(comparisons: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run_a", "run_b", "metric", *_FIELDS])
    for comparison in comparisons:
        for name, row in comparison["metrics"].items():
            low, high = row["difference_95"] or (np.nan, np.nan)
            numbers = {**row, "low": low, "high": high}
            values = ["" if np.isnan(numbers[f]) else f"{numbers[f]:.6g}" for f in _FIELDS]
            names = spreadsheet.cells([comparison["a"], comparison["b"], name])
            writer.writerow([*names, *values])
    return text.getvalue()
