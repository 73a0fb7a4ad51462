"""Cross-validation by patient (--folds): every case scored once, by a run that did not see its patient.

A run for each fold, in MODEL_DIR/fold_1, ...; what they predict is then evaluated together, as if it
were of one run, in MODEL_DIR. Where test cases are few, this is what makes intervals narrow.
"""

from __future__ import annotations

import dataclasses
import os

import numpy as np
import tensorflow as tf

from simclr_med import run_folder
from simclr_med.build import open_bags
from simclr_med.config import Config
from simclr_med.data.cases import Cases, read_cases
from simclr_med.data.folds import Part, parse
from simclr_med.errors import UserError
from simclr_med.evaluation import evaluate, of_scores, splits
from simclr_med.evaluation.baselines import BEFORE, UNTRAINED
from simclr_med.evaluation.measure import Measured
from simclr_med.experiments import members, runs, summary
from simclr_med.metrics.text import TITLES, headline, metrics_of
from simclr_med.run_folder import terminal

_HEAD, _PROBE = "supervised head", "linear probe"
_FILES = {
    "predictions": "trained",
    "predictions_before": BEFORE,
    "predictions_untrained": UNTRAINED,
}


def make_configs(config: Config) -> dict[str, Config]:
    """Returns {folder: configuration} of the folds of what is divided.

    A --selection_split that is a fold, as in laptop_finetune.flags, is taken from the patients that each
    run is trained on.
    """
    count, split, configs = config.experiment.folds, divided(config), {}
    inner = _selecting(config)
    for k in range(1, count + 1):
        train = Part(split, k, count, without=True).name
        of_fold = {"train_split": train, "eval_split": Part(split, k, count).name}
        if inner:
            of_fold["train_split"] = Part(train, inner.fold, inner.of, without=True).name
            of_fold["selection_split"] = Part(train, inner.fold, inner.of).name
        configs[f"fold_{k}"] = config.replace(**of_fold)
    return configs


def divided(config: Config) -> str:
    """Returns the split that is divided: --train_split, with the fold that was left out to choose on."""
    split, inner = config.data.train_split, _selecting(config)
    left_out = inner and dataclasses.replace(inner, without=True).name
    return inner.split if inner and split == left_out else split


def _selecting(config: Config) -> Part | None:
    """Returns the fold that chooses; None: no fold does."""
    part = parse(config.data.selection_split) if config.data.selection_split else None
    return part if part and not part.without else None


def run(
    config: Config, builder, model_dir: str, strategy: tf.distribute.Strategy, invocation: dict
) -> dict:
    """Trains and evaluates each fold, then all of them together; returns the content of result.json.

    Files in `model_dir`: folds.json (each fold's values) and those of an evaluation, of all folds.

    Args:
      config: of the command.
      builder, model_dir, strategy, invocation: as in `runs.run_all`.

    Raises:
      UserError: a mistake of the user's, such as more folds than patients.
    """
    _say_what_is_left_out(config, builder)
    with run_folder.locked(model_dir):
        configs = make_configs(config)
        results = {
            name: outcome.result
            for name, outcome in runs.run_all(
                *(configs, builder, model_dir, strategy, invocation), pictures=True
            )
        }
        if not all(result["classification"] for result in results.values()):
            raise UserError(
                f"--folds={config.experiment.folds}: split '{divided(config)}' has a fold "
                "without a labelled case, so there is nothing to evaluate. Choose fewer folds."
            )
        folders = [os.path.join(model_dir, name) for name in configs]
        measured = pooled(config, builder, folders, list(results.values()))
        rows = _rows(results, measured.result)
        measured.result["folds"] = {"number": len(results), "rows": rows}
        run_folder.write_json(os.path.join(model_dir, "folds.json"), measured.result["folds"])
        print(f"\nAll {len(results)} folds together:")
        evaluate.write_files(config.replace(eval_name=""), model_dir, measured)
    _show(rows, len(results), model_dir)
    return measured.result


def _say_what_is_left_out(config: Config, builder) -> None:
    """Prints how many cases are divided, and which splits take no part."""
    split, sizes = divided(config), splits.cases_of_splits(config, builder)
    bags = open_bags(config, builder, split)
    print(
        f"{config.experiment.folds} folds of the patients of split '{split}': "
        f"{bags.num_bags:,} cases, {bags.num_images:,} images."
    )
    if inner := _selecting(config):
        print(
            f"In each fold, 1 in {inner.of} of the other patients is not trained on but chooses the "
            f"checkpoint (--selection_split={inner.name})."
        )
    if num_left_out := sum(sizes.values()) - bags.num_bags:
        listed = ", ".join(f"{name} {size:,}" for name, size in sizes.items())
        print(
            f"Note: {num_left_out:,} of the {sum(sizes.values()):,} cases are in no fold (there are "
            f"{listed}). --train_split=all divides all of them."
        )


def pooled(config: Config, builder, folders: list[str], results: list[dict]) -> Measured:
    """Returns the evaluation of all folds' predictions together.

    Args:
      config: of the command.
      builder: of the prepared dataset.
      folders: of the folds' runs.
      results: what their result.json hold.

    Raises:
      UserError: a case was scored twice, or not at all.
    """
    split = divided(config)
    bags = open_bags(config, builder, split, with_metadata=True, with_differential=True)
    cases = read_cases(bags, 0)
    evaluator = _HEAD if config.run.train_mode == "finetune" else _PROBE
    scores = {
        (evaluator, encoder): _scores_of(cases, members.files_of(folders, name))
        for name, encoder in _FILES.items()
        if all(name in result["files"] for result in results)
    }
    other_folds = f"the other folds of {split}"
    whole = config.replace(eval_split=split)
    evaluated = splits.evaluated_part(whole, builder, len(cases.ids))
    return of_scores.measured(
        whole,
        builder,
        bags,
        cases,
        scores,
        untrained=members.untrained(folders),
        features={},  # those of two folds are in two spaces
        facts={
            "train_split": other_folds,
            "global_step": results[0]["global_step"],
            "adopted_weights": None,
            "patients": _patients(results, other_folds),
            "evaluated": {**evaluated, "probes_fitted_on": None},  # which "patients" says
            "encoders": results[0]["encoders"],
        },
    )


def _scores_of(cases: Cases, paths: list[str]) -> np.ndarray:
    """Returns the scores of all cases, float [n, classes], each from the fold that it is in."""
    scores, times = members.mean_scores(cases, paths)
    if not (times == 1).all():
        raise UserError(
            f"{(times == 0).sum():,} cases are in no fold's predictions and {(times > 1).sum():,} in "
            f"several ({paths[0]}, ...): the folds are of other data. Use another --model_dir."
        )
    return scores


def _patients(results: list[dict], other_folds: str) -> dict:
    """Returns result.json's "patients" of all folds: numbers in common added up, where all are known."""
    rows: dict[tuple, dict] = {}
    of_folds = [result["patients"] for result in results]
    for result in results:
        for row in result["patients"]["in_common"]:
            # Its own split has another name in each fold; that of an earlier pretraining does not.
            is_own = row["with"] in ("training", "probe", "selection")
            is_own = is_own or row["split"] == result["train_split"]
            row = {**row, "split": other_folds} if is_own else row
            key = row["with"], row["dataset"], row["split"]
            seen = rows.get(key)
            if seen is None:
                rows[key] = row
            elif row["patients"] is None or seen["patients"] is None:
                rows[key] = {**seen, "patients": None, "why": seen["why"] or row["why"]}
            else:
                rows[key] = {**seen, "patients": seen["patients"] + row["patients"]}
    return {
        **of_folds[0],
        "evaluated": sum(counts["evaluated"] for counts in of_folds),
        "in_common": list(rows.values()),
    }


def _rows(results: dict[str, dict], of_all: dict) -> list[dict]:
    """Returns {"metric", "values" (of each fold), "mean", "sd", "together", "together_95"} rows."""
    together = headline(of_all)[1]["trained"]
    of_folds = [summary.main_row(result) for result in results.values()]
    return [
        {
            "metric": metric,
            **summary.spread([row.get(metric) for row in of_folds]),
            "together": together[metric],
            "together_95": together.get(f"{metric}_95"),
        }
        for metric in metrics_of(together)
    ]


def _show(rows: list[dict], count: int, model_dir: str) -> None:
    columns = ["", "all together", "mean ± sd", *(f"fold {k}" for k in range(1, count + 1))]
    lines = [
        [
            TITLES.get(row["metric"], row["metric"]),
            summary.text(row["together"]),
            summary.text(row["mean"], row["sd"]),
            *map(summary.text, row["values"]),
        ]
        for row in rows
    ]
    terminal.show([(f"{count} folds by patient", columns, lines)])
    print(f"  {os.path.join(model_dir, 'folds.json')}  each fold's values")
