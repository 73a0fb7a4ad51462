"""Evaluation of a run: measures it, writes its files, prints the table; follows a running one."""

from __future__ import annotations

import dataclasses
import os
import time

import tensorflow as tf

from simclr_med import export, run_folder
from simclr_med.build import open_bags
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.weights import input_range
from simclr_med.config import Config
from simclr_med.errors import CheckpointGone, UserError
from simclr_med.evaluation import draw, likeness, selection, splits, training_cases
from simclr_med.evaluation.measure import Measured, measure
from simclr_med.evaluation.report import results
from simclr_med.export import writable
from simclr_med.metrics import compare, grades, operating_points, subgroups
from simclr_med.metrics.predictions import read_predictions
from simclr_med.metrics.text import headline, metrics_of
from simclr_med.run_folder import figures, gfile, leftovers, provenance
from simclr_med.transient import retried

_POLL_SECONDS = 5.0


def check_splits(config: Config, builder) -> None:
    """Finds mistakes of a run that is to be evaluated, before anything long begins.

    Raises:
      UserError: a split that does not exist, one that is evaluated and shares patients with what the
        model knows, a selection split that shares patients with another, a metric or a metadata
        column that the data does not have, grades without an order.
    """
    data = config.data
    open_bags(config, builder, data.train_split)
    check_grades(config, builder)
    bags = open_bags(config, builder, data.eval_split, with_metadata=True)
    subgroups.check_columns(config.eval.subgroups, bags)
    if config.run.train_mode == "finetune":
        selection.check_positive_class(config, bags.class_names)
    if config.run.train_mode == "finetune" and data.selection_split:
        selection.check_metric(config, bags)
        splits.check_selection(config, builder)
    splits.check(config, builder, splits.of_run(config, builder), None)


def check_grades(config: Config, builder) -> None:
    """Raises UserError where --ordinal does not fit the labels of the training split."""
    if config.eval.ordinal:
        bags = open_bags(config, builder, config.data.train_split)
        grades.grades_of(config, bags.class_names, bags.multilabel)


def follow(config: Config, builder, model_dir: str, strategy: tf.distribute.Strategy) -> dict:
    """Evaluates the newest checkpoint; while the run goes on, each newer one too.

    Returns:
      What the last result.json holds.
    """
    writable.check(model_dir, model_dir, of_run=True)
    of_run = splits.of_run(config, builder, model_dir)
    splits.check(splits.as_trained(config, of_run), builder, of_run, model_dir)
    evaluated, result = None, {}
    while True:
        running = run_folder.is_training(model_dir)
        kept = checkpoint_files.list_prefixes(model_dir)
        if not kept and not running:
            raise UserError(f"--model_dir={model_dir}: no checkpoint to evaluate yet.")
        if kept and kept[-1] != evaluated:
            try:
                result = evaluate(config, builder, model_dir, strategy)  # the newest that is whole
            except CheckpointGone:  # there are newer ones
                continue
            evaluated = kept[-1]
        elif running:
            time.sleep(_POLL_SECONDS)
        if not running:
            return result


def evaluate(
    config: Config,
    builder,
    model_dir: str,
    strategy: tf.distribute.Strategy,
    *,
    pictures: bool = True,
    label_efficiency: list[dict] | None = None,
    to_choose: bool = False,
) -> dict:
    """Evaluates the run in `model_dir`; writes its files, prints the table.

    Args:
      config: of the run.
      builder: of the prepared dataset to evaluate on.
      model_dir: of the run.
      strategy: from `build.set_up`.
      pictures: also draw report.html and embedding.png, which takes some ten seconds.
      label_efficiency: points of a curve to show in the report, see `report.html.View`.
      to_choose: the evaluation is part of a choice, such as a point of a sweep; so it may be on the
        split that is chosen on.

    Returns:
      What result.json holds.

    Raises:
      UserError: a mistake of the user's.
    """
    config = input_range.resolve(config, model_dir)
    found = retried(
        lambda: measure(config, builder, model_dir, strategy, to_choose=to_choose),
        f"Evaluating {model_dir}",
    )
    known = None
    if pictures and found.predictions and _is_classifier(config, found):
        known = retried(
            lambda: likeness.measure(config, builder, strategy, found.models["trained"]),
            f"Reading training images for {likeness.FILE}",
        )
    if pictures and found.features and found.training is None and _knows_its_training(found):
        training = retried(
            lambda: training_cases.read(
                *(config, builder, strategy, found.models["trained"], found.result["train_split"])
            ),
            "Reading training cases to compare with",
        )
        found = dataclasses.replace(found, training=training)
    found.result["provenance"] = {
        **provenance.here(None),
        "training": provenance.training_of(model_dir),
    }
    with run_folder.results_locked(model_dir):
        leftovers.remove(model_dir)
        if known:
            known.write(model_dir, checkpoint_files.identity(found.checkpoint))
        _write(config, model_dir, found, pictures, label_efficiency)
    results.print_table(found.result)
    return found.result


def write_files(config: Config, folder: str, found: Measured) -> None:
    """Writes the files of an evaluation of no one run, such as of others' features, and prints it."""
    gfile.makedirs(folder)
    found.result["provenance"] = {**provenance.here(None), "training": {}}
    with run_folder.results_locked(folder):
        leftovers.remove(folder)
        _write(config.replace(keep_hub_module_max=0), folder, found, True, None)
    results.print_table(found.result)


def _knows_its_training(found: Measured) -> bool:
    """Returns whether what was evaluated was trained on a split of the dataset that was evaluated."""
    result = found.result
    return result["trained_on"] == result["dataset"] and not result["adopted_weights"]


def _is_classifier(config: Config, found: Measured) -> bool:
    """Returns whether a run was evaluated that classifies, on data that it was fine-tuned on."""
    its_own = not found.shift_from and not found.result["adopted_weights"]
    return config.run.train_mode == "finetune" and its_own


def _write(
    config: Config,
    model_dir: str,
    found: Measured,
    pictures: bool,
    label_efficiency: list[dict] | None,
) -> None:
    """Writes an evaluation's files: numbers first, and result.json once more when all is there.

    What cannot be drawn is in result.json's "not_drawn"; a picture of an earlier evaluation does not
    stay beside other numbers.
    """
    result, suffix = found.result, config.eval.suffix
    drawings = {
        "embedding": os.path.join(model_dir, f"embedding{suffix}.png"),
        "report": os.path.join(model_dir, f"report{suffix}.html"),
    }
    files = {"checkpoint": found.checkpoint} if found.checkpoint else {}
    for name, scores in found.predictions.items():
        files[name] = os.path.join(model_dir, f"{name}{suffix}.csv")
        table = results.predictions_csv(found.cases, scores, found.class_names)
        run_folder.write_atomically(files[name], table)
    if result["operating_points"]:
        files["operating_points"] = os.path.join(model_dir, f"operating_points{suffix}.csv")
        table = operating_points.to_csv(result["operating_points"])
        run_folder.write_atomically(files["operating_points"], table)
    if found.shift_from and found.predictions:
        result["shift"] = _shift(config, model_dir, found, files["predictions"])
    files["result"] = os.path.join(model_dir, f"result{suffix}.json")
    for name in ("views", "curves"):
        if gfile.exists(path := os.path.join(model_dir, f"{name}.png")):
            files[name] = path
    if pictures:
        for path in drawings.values():
            if gfile.exists(path):
                gfile.remove(path)
    result["files"], result["not_drawn"] = files, {}
    run_folder.write_json(files["result"], result)  # from here on nothing that is drawn can cost it
    if found.checkpoint:
        name, rows = headline(result)
        values = {n: rows["trained"][n] for n in metrics_of(rows["trained"])} if name else {}
        run_folder.write_evaluation(model_dir, f"eval{suffix}", result["global_step"], values)
    if config.run.keep_hub_module_max:
        files["saved_model"] = export.save(
            config,
            found.models["trained"],
            result["global_step"],
            found.class_names if config.run.train_mode == "finetune" else (),
            model_dir,
            config.run.keep_hub_module_max,
        )
    if pictures:
        if "curves" in files and result["selection"].get("value_of_step"):
            with figures.drawn(files["curves"], result["not_drawn"]):
                draw.save_curves(config, files["curves"], found)
        if found.features:
            with figures.drawn(drawings["embedding"], result["not_drawn"]):
                draw.save_embedding(drawings["embedding"], found)
                files["embedding"] = drawings["embedding"]
        with figures.drawn(drawings["report"], result["not_drawn"]):
            result["files"] = {**files, "report": drawings["report"]}  # it lists itself
            for part, why in draw.save_report(
                config, drawings["report"], found, label_efficiency, files
            ).items():
                print(f"Warning: '{part}' of the report could not be made ({why}).")
                result["not_drawn"][f"report{suffix}.html: {part}"] = why
            files["report"] = drawings["report"]
    result["files"] = files
    run_folder.write_json(files["result"], result)  # written last: marks completion


def _shift(config: Config, model_dir: str, found: Measured, outside: str) -> dict:
    """Returns how much a run loses on data that it was not trained on; {} without a comparison."""
    inside = os.path.join(model_dir, "predictions.csv")
    result = os.path.join(model_dir, "result.json")
    if not (gfile.exists(inside) and gfile.exists(result)):
        print("Evaluate the run on its own dataset too, and the drop is shown.")
        return {}
    before = run_folder.read_json(result)
    try:
        own = read_predictions(inside)
        places = grades.grades_of(config, own.class_names, own.multilabel)
        drop = compare.drop(own, read_predictions(outside), places)
    except UserError as error:  # other classes: no reason to lose the rest
        print(f"No drop is shown: {error}")
        return {}
    return {
        "inside": {"dataset": before["dataset"], "split": before["eval_split"]},
        "metrics": drop,
    }
