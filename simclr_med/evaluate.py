"""Evaluation at case level: probes beside the untrained encoder, or the fine-tuned head; files.

A case's features are the mean over its images, never an image alone; intervals resample patients.
"""

from __future__ import annotations

import dataclasses
import math
import os
import time

import numpy as np
import tensorflow as tf

from simclr_med import compare, export, run_log, selection, splits, subgroups
from simclr_med.case_features import case_features, case_pictures, case_probabilities
from simclr_med.cases import Cases, read_cases, with_classes
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.errors import UserError
from simclr_med.evaluators import EVALUATORS, label_scores
from simclr_med.predictions import read_predictions
from simclr_med.report import embedding, html, results, strips
from simclr_med.scoring import classification
from simclr_med.train import labelled_cases, make_model, open_bags

_POLL_SECONDS = 5.0
_LAST_SHARE = 0.1  # of the rows of metrics.jsonl that "at the end" averages
_PICTURE_SIZE = 96  # px, in report.html


def check_splits(config: Config, builder) -> None:
    """Finds mistakes of a run that is to be evaluated, before anything long begins.

    Raises:
      UserError: a split that does not exist, a selection split that shares patients with another,
        a metric or a metadata column that the data does not have.
    """
    data = config.data
    open_bags(config, builder, data.train_split)
    bags = open_bags(config, builder, data.eval_split, with_metadata=True)
    subgroups.check_columns(config.eval.subgroups, bags)
    if config.run.train_mode == "finetune" and data.selection_split:
        selection.check_metric(config, bags)
        splits.check_selection(config, builder)


def follow(config: Config, builder, model_dir: str, strategy: tf.distribute.Strategy) -> None:
    """Evaluates the newest checkpoint; while the run goes on, each newer one too."""
    evaluated = None
    while True:
        running = run_log.is_training(model_dir)
        latest = tf.train.latest_checkpoint(model_dir)
        if latest is None and not running:
            raise UserError(f"--model_dir={model_dir}: no checkpoint to evaluate yet.")
        if latest is not None and latest != evaluated:
            evaluate(config, builder, model_dir, strategy)
            evaluated = latest
        elif running:
            time.sleep(_POLL_SECONDS)
        if not running:
            return


def evaluate(
    config: Config,
    builder,
    model_dir: str,
    strategy: tf.distribute.Strategy,
    *,
    pictures: bool = True,
    label_efficiency: list[dict] | None = None,
) -> dict:
    """Evaluates the run in `model_dir`; writes its files, prints the table.

    Args:
      config: of the run.
      builder: of the prepared dataset to evaluate on.
      model_dir: of the run.
      strategy: from `train.set_up`.
      pictures: also draw report.html and embedding.png, which takes some ten seconds.
      label_efficiency: points of a curve to show in the report, see `report.html.View`.

    Returns:
      What result.json holds.

    Raises:
      UserError: a mistake of the user's.
    """
    found = _judge(config, builder, model_dir, strategy)
    result, suffix = found.result, f"_{config.eval.eval_name}" if config.eval.eval_name else ""
    files = {"checkpoint": found.checkpoint}
    for name, scores in found.predictions.items():
        files[name] = os.path.join(model_dir, f"{name}{suffix}.csv")
        table = results.predictions_csv(found.cases, scores, found.class_names)
        run_log.write_atomically(files[name], table)
    if found.shift_from and found.predictions:
        result["shift"] = _shift(config, model_dir, found, files["predictions"])
    if pictures:
        files["embedding"] = os.path.join(model_dir, f"embedding{suffix}.png")
        titled = {f"{which} encoder": value for which, value in found.features.items()}
        embedding.save(files["embedding"], titled, found.cases.labels, found.class_names)
    if config.run.keep_hub_module_max:
        files["saved_model"] = export.save(
            found.model, model_dir, result["global_step"], config.run.keep_hub_module_max
        )
    files["result"] = os.path.join(model_dir, f"result{suffix}.json")
    for name in ("views", "curves"):
        if os.path.exists(path := os.path.join(model_dir, f"{name}.png")):
            files[name] = path
    if pictures:
        files["report"] = os.path.join(model_dir, f"report{suffix}.html")
    result["files"] = files
    if pictures:
        _save_report(config, files["report"], found, label_efficiency)
    run_log.write_json(files["result"], result)  # last: who finds it, finds all
    results.print_table(result)
    return result


@dataclasses.dataclass(frozen=True)
class _Judged:
    """What an evaluation found.

    Attributes:
      result: of result.json, without files.
      checkpoint: its path.
      model: of that checkpoint.
      bags: of the split.
      cases: of the split.
      class_names: of the scores.
      features: {"trained" | "untrained": float [n, d]}.
      predictions: {name of the file: scores [n, classes]}, the main one "predictions"; {} without
        labels.
      shift_from: dataset that a fine-tuned run was trained on, if this is another.
    """

    result: dict
    checkpoint: str
    model: tf.keras.Model
    bags: Bags
    cases: Cases
    class_names: tuple[str, ...]
    features: dict[str, np.ndarray]
    predictions: dict[str, np.ndarray]
    shift_from: str | None


def _judge(config: Config, builder, model_dir: str, strategy) -> _Judged:
    finetune = config.run.train_mode == "finetune"
    bags = open_bags(config, builder, config.data.eval_split, with_metadata=True)
    cases = read_cases(bags, config.eval.eval_steps * config.eval.eval_batch_size)
    of_run = run_log.read_json(os.path.join(model_dir, "config.json"))
    class_names = bags.class_names
    trained_on = of_run.get("prepared_dataset", builder.info.full_name)
    if finetune:
        class_names = tuple(of_run.get("class_names", class_names))
        cases = with_classes(cases, bags.class_names, class_names)
        if trained_on != builder.info.full_name and not config.eval.eval_name:
            raise UserError(
                f"{model_dir} was trained on {trained_on}. Give --eval_name=NAME to evaluate it on "
                f"{builder.info.full_name}, so that its own results are kept."
            )
    chosen = selection.select(
        config, builder, model_dir, strategy, trained_on == builder.info.full_name
    )
    checkpoint = os.path.join(model_dir, chosen["checkpoint"])
    models = _models(config, strategy, checkpoint, len(class_names))
    features = case_features(config, strategy, models, bags, len(cases.ids))
    thresholds = None
    if chosen["thresholds"]:  # null for a label of which validation had one kind only
        thresholds = np.array([chosen["thresholds"][name] for name in class_names], float)
    scored = dict(seed=config.run.seed, resamples=config.eval.bootstrap_resamples)
    result = {
        "global_step": selection.step_of(chosen["checkpoint"]),
        "dataset": builder.info.full_name,
        "fingerprint": (builder.info.metadata or {}).get("fingerprint"),
        "train_split": config.data.train_split,
        "eval_split": config.data.eval_split,
        "label_fraction": config.data.label_fraction,
        "seed": config.run.seed,
        "trained_on": trained_on,
        "selection": {name: value for name, value in chosen.items() if name != "candidates"},
        "contrastive": _contrastive(config, model_dir),
        "skipped_images": list((builder.info.metadata or {}).get("skipped_images", [])),
        "labels": _label_reading(config, bags),
        "classification": {},
        "subgroups": [],
    }
    predictions = {}
    if class_names and cases.labelled.any():
        by_name = _all_scores(config, builder, strategy, models, features, bags, len(class_names))
        for (name, which), scores in by_name.items():
            result["classification"].setdefault(name, {})[which] = classification(
                cases,
                scores,
                class_names,
                thresholds=thresholds,
                **scored,
            )
        main = "supervised head" if finetune else "linear probe"
        files = {"predictions": "trained", "predictions_untrained": "untrained"}
        predictions = {
            file: by_name[main, which] for file, which in files.items() if (main, which) in by_name
        }
    if predictions:
        result["subgroups"] = subgroups.subgroups(
            cases, predictions["predictions"], class_names, config.eval.subgroups, **scored
        )
    return _Judged(
        result=result,
        checkpoint=checkpoint,
        model=models["trained"],
        bags=bags,
        cases=cases,
        class_names=class_names,
        features=features,
        predictions=predictions,
        shift_from=trained_on if finetune and trained_on != builder.info.full_name else None,
    )


def _models(config: Config, strategy, checkpoint: str, num_classes: int) -> dict:
    """Returns {"trained": the checkpoint's model, "untrained": its start}; fine-tuned only the first.

    The linear head that a pretraining run may have trained beside is left out: probes judge the
    encoder, and the data evaluated may have other classes.
    """
    finetune = config.run.train_mode == "finetune"
    bare = config if finetune else config.replace(lineareval_while_pretraining=False)
    with strategy.scope():
        models = {"trained": make_model(bare, num_classes)}
        if not finetune:
            models["untrained"] = make_model(bare, num_classes)
    selection.restore(models["trained"], checkpoint)
    return models


def _all_scores(config, builder, strategy, models, features, bags: Bags, num_classes: int) -> dict:
    """Returns {(evaluator, 'trained' | 'untrained'): scores [n, classes]} of the evaluated cases."""
    if config.run.train_mode == "finetune":
        probabilities = case_probabilities(models["trained"], features["trained"], bags.multilabel)
        return {("supervised head", "trained"): probabilities}
    train_bags = open_bags(config, builder, config.data.train_split)
    try:
        cases, chosen = labelled_cases(config, train_bags)
    except UserError:  # nothing to fit a probe on
        return {}
    of_train = case_features(config, strategy, models, train_bags)
    train_y, patients, seed = cases.labels[chosen], cases.patients[chosen], config.run.seed
    scores = {}
    for name, evaluator in EVALUATORS.items():
        for which in models:
            train_x, test_x = of_train[which][chosen], features[which]
            scores[name, which] = (
                label_scores(evaluator, train_x, train_y, patients, test_x, seed)
                if train_bags.multilabel
                else evaluator(train_x, train_y, patients, test_x, num_classes, seed)
            )
    return scores


def _shift(config: Config, model_dir: str, found: _Judged, outside: str) -> dict:
    """Returns how much a run loses on data that it was not trained on; {} without a comparison."""
    inside = os.path.join(model_dir, "predictions.csv")
    result = os.path.join(model_dir, "result.json")
    if not (os.path.exists(inside) and os.path.exists(result)):
        print("Evaluate the run on its own dataset too, and the drop is shown.")
        return {}
    before = run_log.read_json(result)
    try:
        drop = compare.drop(
            read_predictions(inside),
            read_predictions(outside),
            seed=config.run.seed,
            resamples=config.eval.bootstrap_resamples,
        )
    except UserError as error:  # too few patients to compare: no reason to lose the rest
        print(f"No drop is shown: {error}")
        return {}
    return {
        "inside": {"dataset": before["dataset"], "split": before["eval_split"]},
        "metrics": drop,
    }


def _save_report(
    config: Config, path: str, found: _Judged, label_efficiency: list[dict] | None
) -> None:
    scores = found.predictions.get("predictions")
    pictures = {}
    if scores is not None:
        wanted = strips.wanted(found.cases, scores, found.features["trained"])
        pictures = case_pictures(found.bags, set(wanted.pictures), _PICTURE_SIZE)
    view = html.View(
        cases=found.cases,
        scores=scores,
        class_names=found.class_names,
        features=found.features["trained"],
        pictures=pictures,
        config=config.to_dict(),
        label_efficiency=label_efficiency,
    )
    html.save(path, found.result, view)


def _label_reading(config: Config, bags: Bags) -> dict:
    """Returns how several labels were read, for the result; {} where a bag has one or none."""
    if not bags.multilabel:
        return {}
    names = ("label_set", "uncertain_policy", "blank_policy", "views", "bag_by")
    return {name: getattr(config.data, name) for name in names}


def _contrastive(config: Config, model_dir: str) -> dict:
    """Returns the training loss and accuracy at the end of metrics.jsonl, and what chance gives."""
    rows = run_log.read_metrics(model_dir)
    if config.run.train_mode == "finetune" or not rows:
        return {}
    last = rows[-max(1, int(len(rows) * _LAST_SHARE)) :]
    n = config.train.train_batch_size
    return {
        "loss": float(np.mean([row["contrast_loss"] for row in last])) / 2,
        "chance_loss": math.log(2 * n - 1) if n > 1 else 0.0,
        "accuracy": float(np.mean([row["contrast_acc"] for row in last])),
        "chance_accuracy": 1 / n,
    }
