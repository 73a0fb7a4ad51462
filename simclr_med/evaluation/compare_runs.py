"""--mode=compare: how runs differ from the first of them, on the terminal and as files."""

from __future__ import annotations

import csv
import io
import os

import numpy as np
import tensorflow as tf

from simclr_med import run_folder
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.metrics.compare import compare
from simclr_med.metrics.predictions import read_predictions, runs_of
from simclr_med.run_folder import spreadsheet, terminal

_FIELDS = ("a", "b", "difference", "low", "high", "p", "p_holm")


def compare_runs(config: Config) -> int:
    """Does --mode=compare: prints how each of --runs differs from the first; returns 0.

    Writes compare.json and compare.csv into --model_dir, if that is given.

    Raises:
      UserError: fewer than two runs, one that is not there or not evaluated, or as `compare`.
    """
    texts = [text.strip() for text in config.experiment.runs.split(",") if text.strip()]
    if len(texts) < 2:
        raise UserError(
            f"--runs={config.experiment.runs}: --mode=compare needs two runs or more, A,B[,C...]."
        )
    runs = [[read_predictions(path) for path in runs_of(text)] for text in texts]
    resamples, seed = config.eval.bootstrap_resamples, config.run.seed
    found = []
    for text, run in zip(texts[1:], runs[1:]):
        labelled = runs[0][0].labelled()
        comparison = {
            "a": texts[0],
            "b": text,
            "repeats_a": len(runs[0]),
            "repeats_b": len(run),
            "cases": len(labelled.ids),
            "patients": len(np.unique(labelled.patients)),
            "resamples": resamples,
            "seed": seed,
            "metrics": compare(runs[0], run, seed=seed, resamples=resamples),
        }
        found.append(comparison)
    terminal.show([_table(comparison) for comparison in found])
    if config.run.model_dir:
        tf.io.gfile.makedirs(config.run.model_dir)
        path = os.path.join(config.run.model_dir, "compare")
        run_folder.write_json(f"{path}.json", found)
        run_folder.write_atomically(f"{path}.csv", _csv(found))
        print(f"The numbers lie in {path}.json and {path}.csv.")
    return 0


def _table(found: dict) -> tuple[str, list[str], list[list[str]]]:
    repeats = [f" (mean of {n})" if n > 1 else "" for n in (found["repeats_a"], found["repeats_b"])]
    title = (
        f"A = {found['a']}{repeats[0]}, B = {found['b']}{repeats[1]}: {found['cases']} cases of "
        f"{found['patients']} patients; [95 % by patient], p two-sided, and corrected for "
        f"{len(found['metrics'])} metrics (Holm)"
    )
    rows = [
        [
            name,
            f"{row['a']:.3f}",
            f"{row['b']:.3f}",
            f"{row['difference']:+.3f} [{row['difference_95'][0]:+.3f}, "
            f"{row['difference_95'][1]:+.3f}]",
            f"{row['p']:.4f}",
            f"{row['p_holm']:.4f}",
        ]
        for name, row in found["metrics"].items()
    ]
    return title, ["metric", "A", "B", "B - A", "p", "p Holm"], rows


def _csv(found: list[dict]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["run_a", "run_b", "metric", *_FIELDS])
    for comparison in found:
        for name, row in comparison["metrics"].items():
            low, high = row["difference_95"]
            numbers = {**row, "low": low, "high": high}
            values = ["" if np.isnan(numbers[f]) else f"{numbers[f]:.6g}" for f in _FIELDS]
            names = spreadsheet.cells([comparison["a"], comparison["b"], name])
            writer.writerow([*names, *values])
    return text.getvalue()
