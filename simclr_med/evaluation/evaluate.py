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
    """Checks the settings of a run that is to be evaluated, before anything long begins.

    Args:
      config: of the run.
      builder: of the prepared dataset.

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
    """Raises UserError where --ordinal does not fit the labels of the training split.

    Args:
      config: of the run.
      builder: of the prepared dataset.
    """
    if config.eval.ordinal:
        bags = open_bags(config, builder, config.data.train_split)
        grades.grades_of(config, bags.class_names, bags.multilabel)


def follow(config: Config, builder, model_dir: str, strategy: tf.distribute.Strategy) -> dict:
    """Evaluates the newest checkpoint; while the run is training, each newer one too.

    Args:
      config: of the run.
      builder: of the prepared dataset to evaluate on.
      model_dir: of the run.
      strategy: from `build.set_up`.

    Returns:
      The content of the last result.json.

    Raises:
      UserError: no checkpoint yet, or as `evaluate`.
    """
    writable.check(model_dir, model_dir, of_run=True)
    run_values = splits.of_run(config, builder, model_dir)
    splits.check(splits.as_trained(config, run_values), builder, run_values, model_dir)
    evaluated, result = None, {}
    while True:
        running = run_folder.is_training(model_dir)
        prefixes = checkpoint_files.list_prefixes(model_dir)
        if not prefixes and not running:
            raise UserError(f"--model_dir={model_dir}: no checkpoint to evaluate yet.")
        if prefixes and prefixes[-1] != evaluated:
            try:
                result = evaluate(config, builder, model_dir, strategy)  # the newest that is whole
            except CheckpointGone:  # there are newer ones
                continue
            evaluated = prefixes[-1]
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
      The content of result.json.

    Raises:
      UserError: bad input, as `measure` and `selection.select` report it.
    """
    config = input_range.resolve(config, model_dir)
    measured = retried(
        lambda: measure(config, builder, model_dir, strategy, to_choose=to_choose),
        f"Evaluating {model_dir}",
    )
    image_likeness = None
    if pictures and measured.predictions and _is_classifier(config, measured):
        image_likeness = retried(
            lambda: likeness.measure(config, builder, strategy, measured.models["trained"]),
            f"Reading training images for {likeness.FILE}",
        )
    if (
        pictures
        and measured.features
        and measured.training is None
        and _knows_its_training(measured)
    ):
        training = retried(
            lambda: training_cases.read(
                config,
                builder,
                strategy,
                measured.models["trained"],
                measured.result["train_split"],
            ),
            "Reading training cases to compare with",
        )
        measured = dataclasses.replace(measured, training=training)
    measured.result["provenance"] = {
        **provenance.here(None),
        "training": provenance.training_of(model_dir),
    }
    with run_folder.results_locked(model_dir):
        leftovers.remove(model_dir)
        if image_likeness:
            image_likeness.write(model_dir, checkpoint_files.identity(measured.checkpoint))
        _write(config, model_dir, measured, pictures, label_efficiency)
    results.print_table(measured.result)
    return measured.result


def write_files(config: Config, folder: str, measured: Measured) -> None:
    """Writes the files of an evaluation that is not of one run, such as of --features; prints it.

    Args:
      config: of the evaluation.
      folder: to write into; made if it is missing.
      measured: from `of_scores.measured`.
    """
    gfile.makedirs(folder)
    measured.result["provenance"] = {**provenance.here(None), "training": {}}
    with run_folder.results_locked(folder):
        leftovers.remove(folder)
        _write(config.replace(keep_hub_module_max=0), folder, measured, True, None)
    results.print_table(measured.result)


def _knows_its_training(measured: Measured) -> bool:
    """Returns whether what was evaluated was trained on a split of the dataset that was evaluated."""
    result = measured.result
    return result["trained_on"] == result["dataset"] and not result["adopted_weights"]


def _is_classifier(config: Config, measured: Measured) -> bool:
    """Returns whether a run was evaluated that classifies, on data that it was fine-tuned on."""
    on_own_data = not measured.shift_from and not measured.result["adopted_weights"]
    return config.run.train_mode == "finetune" and on_own_data


def _write(
    config: Config,
    model_dir: str,
    measured: Measured,
    pictures: bool,
    label_efficiency: list[dict] | None,
) -> None:
    """Writes an evaluation's files: numbers first, and result.json once more when all is there.

    What cannot be drawn is in result.json's "not_drawn"; pictures of an earlier evaluation are removed,
    so that none stays beside other numbers.
    """
    result, suffix = measured.result, config.eval.suffix
    drawings = {
        "embedding": os.path.join(model_dir, f"embedding{suffix}.png"),
        "report": os.path.join(model_dir, f"report{suffix}.html"),
    }
    files = {"checkpoint": measured.checkpoint} if measured.checkpoint else {}
    for name, scores in measured.predictions.items():
        files[name] = os.path.join(model_dir, f"{name}{suffix}.csv")
        table = results.predictions_csv(measured.cases, scores, measured.class_names)
        run_folder.write_atomically(files[name], table)
    if result["operating_points"]:
        files["operating_points"] = os.path.join(model_dir, f"operating_points{suffix}.csv")
        table = operating_points.to_csv(result["operating_points"])
        run_folder.write_atomically(files["operating_points"], table)
    if measured.shift_from and measured.predictions:
        result["shift"] = _shift(config, model_dir, measured, files["predictions"])
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
    if measured.checkpoint:
        name, rows = headline(result)
        values = {n: rows["trained"][n] for n in metrics_of(rows["trained"])} if name else {}
        run_folder.write_evaluation(model_dir, f"eval{suffix}", result["global_step"], values)
    if config.run.keep_hub_module_max:
        files["saved_model"] = export.save(
            config,
            measured.models["trained"],
            result["global_step"],
            measured.class_names if config.run.train_mode == "finetune" else (),
            model_dir,
            config.run.keep_hub_module_max,
        )
    if pictures:
        if "curves" in files and result["selection"].get("value_of_step"):
            with figures.drawn(files["curves"], result["not_drawn"]):
                draw.save_curves(config, files["curves"], measured)
        if measured.features:
            with figures.drawn(drawings["embedding"], result["not_drawn"]):
                draw.save_embedding(drawings["embedding"], measured)
                files["embedding"] = drawings["embedding"]
        with figures.drawn(drawings["report"], result["not_drawn"]):
            result["files"] = {**files, "report": drawings["report"]}  # it lists itself
            for part, why in draw.save_report(
                config, drawings["report"], measured, label_efficiency, files
            ).items():
                print(f"Warning: '{part}' of the report could not be made ({why}).")
                result["not_drawn"][f"report{suffix}.html: {part}"] = why
            files["report"] = drawings["report"]
    result["files"] = files
    run_folder.write_json(files["result"], result)  # written last: marks completion


def _shift(config: Config, model_dir: str, measured: Measured, outside: str) -> dict:
    """Returns how much a run loses on data that it was not trained on; {} without a comparison."""
    inside = os.path.join(model_dir, "predictions.csv")
    result = os.path.join(model_dir, "result.json")
    if not (gfile.exists(inside) and gfile.exists(result)):
        print("Evaluate the run on its own dataset too, and the drop is shown.")
        return {}
    before = run_folder.read_json(result)
    try:
        own_predictions = read_predictions(inside)
        ranks = grades.grades_of(config, own_predictions.class_names, own_predictions.multilabel)
        drop = compare.drop(own_predictions, read_predictions(outside), ranks)
    except UserError as error:  # other classes: no reason to lose the rest
        print(f"No drop is shown: {error}")
        return {}
    return {
        "inside": {"dataset": before["dataset"], "split": before["eval_split"]},
        "metrics": drop,
    }
