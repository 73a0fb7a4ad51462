"""What validation data decides about a fine-tuned run: its best checkpoint, and thresholds.

The choice is made once, on `--selection_split` of the dataset that was trained on, and kept in
`selection.json`; evaluations on other data use it as it is.
"""

from __future__ import annotations

import os

import numpy as np
import tensorflow as tf

from simclr_med import run_folder
from simclr_med.build import make_model, open_bags
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.restore import restore, step_of
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.data.cases import read_cases
from simclr_med.errors import CheckpointGone, UserError
from simclr_med.evaluation.features import case_features, case_probabilities
from simclr_med.metrics.scoring import choose_thresholds, scorer
from simclr_med.run_folder import data_json

_OF_ONE_CLASS = ("balanced_accuracy", "top_1")  # metrics that need one class a case


def select(config: Config, builder, model_dir: str, strategy, is_trained_dataset: bool) -> dict:
    """Returns what selection.json holds, after making the choice if it has to be made.

    Args:
      config: of a fine-tuned run.
      builder: of the dataset to evaluate on.
      model_dir: of the run.
      strategy: from `build.set_up`.
      is_trained_dataset: whether `builder` is what the run was trained on.

    Returns:
      {"checkpoint": its name in `model_dir`, "thresholds": {label: threshold} or None, and, where
      validation data chose, "split", "metric", "value_of_step": {step: value}}.

    Raises:
      UserError: no checkpoint; a metric, or a split, that the data does not have; or other data,
        before the run was evaluated on its own.
    """
    path = os.path.join(model_dir, "selection.json")
    split = config.data.selection_split if config.run.train_mode == "finetune" else None
    at_most = None if split and is_trained_dataset else 1
    usable = checkpoint_files.usable(model_dir, at_most)
    candidates = [os.path.basename(prefix) for prefix in usable]
    if not candidates:
        raise UserError(f"--model_dir={model_dir}: its checkpoints are gone; train it anew.")
    if not split:
        return {"checkpoint": candidates[-1], "thresholds": None}
    kept = run_folder.read_json(path) if tf.io.gfile.exists(path) else None
    if not is_trained_dataset:  # frozen: other data decides nothing
        if not kept or not checkpoint_files.is_there(os.path.join(model_dir, kept["checkpoint"])):
            raise UserError(
                f"--model_dir={model_dir}: the checkpoint is chosen on --selection_split="
                f"{split} of its own dataset. Evaluate it on that first "
                "(--mode=eval), then on other data."
            )
        return kept
    asked: dict = {
        "split": split,
        "metric": config.eval.selection_metric,
        "candidates": candidates,
    }
    if kept and all(kept.get(name) == value for name, value in asked.items()):
        return kept
    bags = open_bags(config, builder, split)
    chosen = {**asked, **_choose(config, bags, strategy, model_dir, candidates)}
    run_folder.write_json(path, chosen)
    return chosen


def check_metric(config: Config, bags: Bags) -> None:
    """Raises UserError for a `--selection_metric` that several labels a case do not have."""
    if bags.multilabel and config.eval.selection_metric in _OF_ONE_CLASS:
        raise UserError(
            f"--selection_metric={config.eval.selection_metric} needs one class a case; for several "
            "labels take macro_auc or macro_ap."
        )


def _choose(config: Config, bags: Bags, strategy, model_dir: str, candidates: list[str]) -> dict:
    check_metric(config, bags)
    cases = read_cases(bags, 0)
    labelled = cases.labelled
    if not labelled.any():
        raise UserError(f"--selection_split={config.data.selection_split} has no labelled case.")
    names, metric = bags.class_names, config.eval.selection_metric
    untrained = data_json.read(model_dir).get("classes_without_training_cases", [])
    among = ~np.isin(names, untrained)  # the head could not learn the others
    with strategy.scope():
        model = make_model(config, len(bags.class_names))
    values, scores = {}, {}
    for path in candidates:
        try:
            restore(model, os.path.join(model_dir, path))
        except CheckpointGone:  # the run goes on: no candidate any more
            continue
        features = case_features(config, strategy, {"trained": model}, bags)["trained"]
        scores[path] = case_probabilities(model, features, bags.multilabel)
        score = scorer(cases.labels[labelled], scores[path][labelled], names, among=among)
        values[path] = float(score()[metric])
    if not values:
        raise CheckpointGone(f"All checkpoints that were in {model_dir} are removed by now.")
    defined = [path for path, value in values.items() if value == value]
    if not defined:
        raise UserError(
            f"--selection_split={config.data.selection_split} has no {config.eval.selection_metric}: "
            "it needs cases with and without some label. Choose another split."
        )
    best = max(defined, key=lambda path: values[path])
    thresholds = None
    if bags.multilabel:
        found = choose_thresholds(cases, scores[best])
        thresholds = dict(zip(bags.class_names, map(float, found)))
    return {
        "checkpoint": best,
        "thresholds": thresholds,
        "value_of_step": {step_of(path): value for path, value in values.items()},
    }
