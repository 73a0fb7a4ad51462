"""Evaluation at case level: features of every case, probes beside the untrained encoder, files.

A case's features are the mean over its images, never an image alone; intervals resample patients.
"""

from __future__ import annotations

import math
import os
import time

import numpy as np
import tensorflow as tf

from simclr_med import distribution, export, run_log
from simclr_med.cases import classification, read_cases
from simclr_med.config import Config
from simclr_med.data import Bags, evaluation_batches
from simclr_med.errors import UserError
from simclr_med.evaluators import EVALUATORS, label_scores
from simclr_med.report import embedding, results
from simclr_med.train import make_model, open_bags

_POLL_SECONDS = 5.0
_LAST_SHARE = 0.1  # of the rows of metrics.jsonl that "at the end" averages


def check_splits(config: Config, builder) -> None:
    """Raises UserError for a split that does not exist, before anything long begins."""
    for split in (config.data.train_split, config.data.eval_split):
        open_bags(config, builder, split)


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


def evaluate(config: Config, builder, model_dir: str, strategy: tf.distribute.Strategy) -> dict:
    """Evaluates the newest checkpoint of `model_dir`; writes its files, prints the table.

    Returns:
      What result.json holds.
    """
    train_bags = open_bags(config, builder, config.data.train_split)
    eval_bags = open_bags(config, builder, config.data.eval_split)
    class_names = eval_bags.class_names
    _check_classes(config, model_dir, class_names)
    latest = tf.train.latest_checkpoint(model_dir)
    models = _models(config, strategy, latest, len(class_names))
    result = {
        "global_step": int(latest.rsplit("-", 1)[1]),
        "dataset": builder.info.full_name,
        "train_split": config.data.train_split,
        "eval_split": config.data.eval_split,
        "contrastive": _contrastive(config, model_dir),
        "skipped_images": list((builder.info.metadata or {}).get("skipped_images", [])),
        "labels": _label_reading(config, eval_bags),
        "classification": {},
    }
    cases = read_cases(eval_bags, _max_cases(config))
    outputs = _case_outputs(config, strategy, models, eval_bags)
    files = {"checkpoint": latest}

    scores = None
    if class_names and cases.labelled.any():
        by_name = _all_scores(config, strategy, models, train_bags, outputs, len(class_names))
        for (name, which), values in by_name.items():
            row = result["classification"].setdefault(name, {})
            row[which] = classification(cases, values, class_names, config.run.seed)
        scores = by_name.get(
            ("supervised head", "trained"), by_name.get(("linear probe", "trained"))
        )
    suffix = f"_{config.eval.eval_name}" if config.eval.eval_name else ""
    if scores is not None:
        files["predictions"] = os.path.join(model_dir, f"predictions{suffix}.csv")
        table = results.predictions_csv(
            cases.ids, cases.patients, cases.labels, scores, class_names
        )
        run_log.write_atomically(files["predictions"], table)
    files["embedding"] = os.path.join(model_dir, f"embedding{suffix}.png")
    embedding.save(
        files["embedding"],
        {f"{which} encoder": out["features"] for which, out in outputs.items()},
        cases.labels,
        class_names,
    )
    if config.run.keep_hub_module_max:
        files["saved_model"] = export.save(
            models["trained"], model_dir, result["global_step"], config.run.keep_hub_module_max
        )
    files["result"] = os.path.join(model_dir, f"result{suffix}.json")
    for name in ("views", "curves"):
        if os.path.exists(path := os.path.join(model_dir, f"{name}.png")):
            files[name] = path
    result["files"] = files
    run_log.write_json(files["result"], result)
    results.print_table(result)
    return result


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
    status = tf.train.Checkpoint(model=models["trained"]).restore(checkpoint)
    try:
        status.assert_existing_objects_matched().expect_partial()
    except AssertionError as error:
        raise UserError(
            f"{checkpoint} is not of this configuration: variables of the model are missing in it. "
            "Use the --model_dir as its run left it."
        ) from error
    return models


def _check_classes(config: Config, model_dir: str, class_names: tuple[str, ...]) -> None:
    """Raises UserError where a fine-tuned head has other classes than the data evaluated."""
    trained = run_log.read_json(os.path.join(model_dir, "config.json")).get("class_names")
    if config.run.train_mode == "finetune" and trained and trained != list(class_names):
        raise UserError(
            f"--model_dir={model_dir} was fine-tuned for {', '.join(trained)}; the data has "
            f"{', '.join(class_names) or 'no labels'}. For chest X-rays --label_set=chexpert5 gives "
            "both datasets the same labels."
        )


def _label_reading(config: Config, bags: Bags) -> dict:
    """Returns how several labels were read, for the result; {} where a bag has one or none."""
    if not bags.multilabel:
        return {}
    names = ("label_set", "uncertain_policy", "blank_policy", "views", "bag_by")
    return {name: getattr(config.data, name) for name in names}


def _all_scores(config, strategy, models, train_bags: Bags, outputs, num_classes: int) -> dict:
    """Returns {(evaluator, 'trained' | 'untrained'): scores [n, classes]} of the evaluated cases."""
    if config.run.train_mode == "finetune":
        return {("supervised head", "trained"): outputs["trained"]["probabilities"]}
    cases = read_cases(train_bags, 0)
    labelled = cases.labelled
    if not labelled.any():
        return {}
    features = _case_outputs(config, strategy, models, train_bags, all_cases=True)
    scores = {}
    for name, evaluator in EVALUATORS.items():
        for which in models:
            train_x = features[which]["features"][labelled]
            train_y, patients = cases.labels[labelled], cases.patients[labelled]
            test_x, seed = outputs[which]["features"], config.run.seed
            scores[name, which] = (
                label_scores(evaluator, train_x, train_y, patients, test_x, seed)
                if train_bags.multilabel
                else evaluator(train_x, train_y, patients, test_x, num_classes, seed)
            )
    return scores


def _max_cases(config: Config) -> int:
    return config.eval.eval_steps * config.eval.eval_batch_size


def _case_outputs(config, strategy, models: dict, bags: Bags, all_cases: bool = False) -> dict:
    """Returns {model: {"features": [n, d], "probabilities": [n, classes]}}, means over each case.

    Probabilities are there where the model has a supervised head.
    """
    probabilities = tf.sigmoid if bags.multilabel else tf.nn.softmax
    replicas = strategy.num_replicas_in_sync
    batch_size = math.ceil(config.eval.eval_batch_size / replicas) * replicas
    max_cases = 0 if all_cases else _max_cases(config)
    batches = evaluation_batches(
        bags,
        batch_size=batch_size,
        image_size=config.augment.image_size,
        max_bag_size=config.data.max_bag_size,
        max_bags=max_cases,
        seed=config.run.seed,
    )

    def forward(batch):
        outputs = {which: model(batch["images"], training=False) for which, model in models.items()}
        return {
            which: {
                "features": out["features"],
                **({"probabilities": probabilities(out["logits"])} if "logits" in out else {}),
            }
            for which, out in outputs.items()
        }

    @tf.function
    def forward_on_all(batch):
        return strategy.run(forward, (batch,)), batch["bag"]

    num_cases = min(bags.num_bags, max_cases or bags.num_bags)
    sums: dict = {}
    counts = np.zeros((num_cases, 1))
    for batch in distribution.distribute(batches, strategy):
        outputs, bag = forward_on_all(batch)
        bag = distribution.join_replicas(strategy, bag).numpy()
        real = bag >= 0
        np.add.at(counts, bag[real], 1)
        for which, parts in outputs.items():
            for part, value in parts.items():
                value = distribution.join_replicas(strategy, value).numpy()[real]
                empty = np.zeros((num_cases, value.shape[1]))
                total = sums.setdefault(which, {}).setdefault(part, empty)
                np.add.at(total, bag[real], value)
    return {w: {p: total / counts for p, total in parts.items()} for w, parts in sums.items()}


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
