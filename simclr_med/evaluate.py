"""Evaluation at case level: features of every case, probes beside the untrained encoder, files.

A case's features are the mean over its images, never an image alone; intervals resample patients.
"""

from __future__ import annotations

import csv
import dataclasses
import functools
import io
import math
import os
import time

import numpy as np
import rich.console
import rich.table
import tensorflow as tf

from simclr_med import distribution, export, metrics, run_log
from simclr_med.config import Config
from simclr_med.data import Bags, evaluation_batches, open_split
from simclr_med.errors import UserError
from simclr_med.evaluators import EVALUATORS
from simclr_med.report import embedding
from simclr_med.train import make_model

_POLL_SECONDS = 5.0
_LAST_SHARE = 0.1  # of the rows of metrics.jsonl that "at the end" averages


@dataclasses.dataclass(frozen=True)
class Cases:
    """The evaluated cases of a split: ids [n], patients [n], labels int [n] (below 0: none)."""

    ids: np.ndarray
    patients: np.ndarray
    labels: np.ndarray


def check_splits(config: Config, builder) -> None:
    """Raises UserError for a split that does not exist, before anything long begins."""
    for split in (config.data.train_split, config.data.eval_split):
        open_split(builder, split)


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
    train_bags = open_split(builder, config.data.train_split)
    eval_bags = open_split(builder, config.data.eval_split)
    class_names = eval_bags.class_names
    with strategy.scope():
        trained = make_model(config, len(class_names))
        untrained = make_model(config, len(class_names))
    latest = tf.train.latest_checkpoint(model_dir)
    tf.train.Checkpoint(model=trained).restore(latest).expect_partial()
    result = {
        "global_step": int(latest.rsplit("-", 1)[1]),
        "dataset": builder.info.full_name,
        "train_split": config.data.train_split,
        "eval_split": config.data.eval_split,
        "contrastive": _contrastive(config, model_dir),
        "skipped_images": list((builder.info.metadata or {}).get("skipped_images", [])),
        "classification": {},
    }
    models = {"trained": trained, "untrained": untrained}
    if config.run.train_mode == "finetune":
        models.pop("untrained")
    cases = _cases(eval_bags, _max_cases(config))
    outputs = _case_outputs(config, strategy, models, eval_bags)
    files = {"checkpoint": latest}

    scores = None
    if class_names and (cases.labels >= 0).any():
        by_name = _all_scores(config, strategy, models, train_bags, outputs, len(class_names))
        for (name, which), values in by_name.items():
            row = result["classification"].setdefault(name, {})
            row[which] = _classification(cases, values, config.run.seed)
        scores = by_name.get(
            ("supervised head", "trained"), by_name.get(("linear probe", "trained"))
        )
    suffix = f"_{config.eval.eval_name}" if config.eval.eval_name else ""
    if scores is not None:
        files["predictions"] = os.path.join(model_dir, f"predictions{suffix}.csv")
        run_log.write_atomically(files["predictions"], _predictions(cases, scores, class_names))
    files["embedding"] = os.path.join(model_dir, f"embedding{suffix}.png")
    embedding.save(
        files["embedding"],
        {f"{which} encoder": out["features"] for which, out in outputs.items()},
        cases.labels,
        class_names,
    )
    if config.run.keep_hub_module_max:
        files["saved_model"] = export.save(
            trained, model_dir, result["global_step"], config.run.keep_hub_module_max
        )
    files["result"] = os.path.join(model_dir, f"result{suffix}.json")
    result["files"] = files
    run_log.write_json(files["result"], result)
    print_table(result, model_dir)
    return result


def _all_scores(config, strategy, models, train_bags: Bags, outputs, num_classes: int) -> dict:
    """Returns {(evaluator, 'trained' | 'untrained'): scores [n, classes]} of the evaluated cases."""
    if config.run.train_mode == "finetune":
        return {("supervised head", "trained"): outputs["trained"]["probabilities"]}
    cases = _cases(train_bags, 0)
    labelled = cases.labels >= 0
    if not labelled.any():
        return {}
    features = _case_outputs(config, strategy, models, train_bags, all_cases=True)
    scores = {}
    for name, evaluator in EVALUATORS.items():
        for which in models:
            scores[name, which] = evaluator(
                features[which]["features"][labelled],
                cases.labels[labelled],
                cases.patients[labelled],
                outputs[which]["features"],
                num_classes,
                config.run.seed,
            )
    return scores


def _max_cases(config: Config) -> int:
    return config.eval.eval_steps * config.eval.eval_batch_size


def _cases(bags: Bags, max_cases: int) -> Cases:
    """Returns who is in a split; no image is decoded."""
    rows = [
        (bag["bag_id"].decode(), bag["patient_id"].decode(), int(bag["label"]))
        for bag in bags.dataset.take(max_cases or -1)
        .map(lambda bag: {k: bag[k] for k in ("bag_id", "patient_id", "label")})
        .as_numpy_iterator()
    ]
    ids, patients, labels = zip(*rows)
    return Cases(np.array(ids), np.array(patients), np.array(labels))


def _case_outputs(config, strategy, models: dict, bags: Bags, all_cases: bool = False) -> dict:
    """Returns {model: {"features": [n, d], "probabilities": [n, classes]}}, means over each case."""
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
                **({"probabilities": tf.nn.softmax(out["logits"])} if "logits" in out else {}),
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


def _classification(cases: Cases, scores: np.ndarray, seed: int) -> dict:
    """Returns top-1 and macro-AUC over labelled cases, each with its 95 % interval by patient."""
    labelled = cases.labels >= 0
    truth, scores, patients = cases.labels[labelled], scores[labelled], cases.patients[labelled]
    result: dict = {"cases": int(labelled.sum()), "patients": len(np.unique(patients))}
    for name, metric in (("top_1", metrics.top_1), ("macro_auc", metrics.macro_roc_auc)):
        result[name] = float(metric(truth, scores))
        of_weights = functools.partial(metric, truth, scores)
        result[f"{name}_95"] = metrics.bootstrap(of_weights, patients, seed=seed)
    result["classes_without_auc"] = int(scores.shape[1] - len(np.unique(truth)))
    return result


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


def _predictions(cases: Cases, scores: np.ndarray, class_names: tuple[str, ...]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["case_id", "patient_id", "truth", "prediction", *class_names])
    for i in range(len(scores)):
        truth = class_names[cases.labels[i]] if cases.labels[i] >= 0 else ""
        guess = class_names[int(scores[i].argmax())]
        values = [f"{score:.6f}" for score in scores[i]]
        writer.writerow([cases.ids[i], cases.patients[i], truth, guess, *values])
    return text.getvalue()


def print_table(result: dict, model_dir: str) -> None:
    """Prints the results and where everything lies."""
    console = rich.console.Console(width=None if os.isatty(1) else 100, highlight=False)
    contrastive = result["contrastive"]
    if contrastive:
        console.print(
            f"Contrastive loss {contrastive['loss']:.3f} (chance, ln(2N-1): "
            f"{contrastive['chance_loss']:.3f}), accuracy {contrastive['accuracy']:.3f} (chance, "
            f"1/N: {contrastive['chance_accuracy']:.3f}), on training batches at the end."
        )
    if result["classification"]:
        some = next(iter(result["classification"].values()))["trained"]
        table = rich.table.Table(
            title=f"{result['dataset']} {result['eval_split']}: {some['cases']} cases of "
            f"{some['patients']} patients, step {result['global_step']}; [95 % by patient]"
        )
        for column in ("", "encoder", "top-1", "macro-AUC"):
            table.add_column(column)
        for name, row in result["classification"].items():
            for which, value in row.items():
                table.add_row(name, which, _cell(value, "top_1"), _cell(value, "macro_auc"))
        console.print(table)
    else:
        console.print("No labelled cases: nothing was probed.")
    if result["skipped_images"]:
        console.print(f"{len(result['skipped_images'])} unreadable images were left out:")
        for row, path, reason in result["skipped_images"][:20]:
            console.print(f"  row {row}: {path}: {reason}", markup=False)
    console.print(f"Everything lies in {model_dir}: {', '.join(sorted(os.listdir(model_dir)))}")


def _cell(value: dict, name: str) -> str:
    low, high = value[f"{name}_95"]
    return f"{value[name]:.3f} \\[{low:.3f}, {high:.3f}]"
