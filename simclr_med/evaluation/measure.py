"""What an evaluation measures: probes beside the untrained encoder, or the fine-tuned head.

A case's features are the mean over its images, never an image alone; intervals are over patients.
"""

from __future__ import annotations

import dataclasses
import math
import os

import numpy as np

from simclr_med import run_folder
from simclr_med.build import label_reading, labelled_cases, make_model, open_bags
from simclr_med.checkpoints.restore import restore, step_of
from simclr_med.config import Config
from simclr_med.data import Bags, label_fraction
from simclr_med.data.cases import Cases, read_cases, with_classes
from simclr_med.errors import UserError
from simclr_med.evaluation import selection, splits
from simclr_med.evaluation.baselines import BEFORE, UNTRAINED, before_run, untrained
from simclr_med.evaluation.features import case_features, case_probabilities
from simclr_med.evaluation.probes import all_scores
from simclr_med.evaluation.training_cases import TrainingCases
from simclr_med.metrics import (
    expected_calibration_error,
    grades,
    operating_points,
    subgroups,
    temperature,
)
from simclr_med.metrics.intervals import Patients
from simclr_med.metrics.scoring import classification
from simclr_med.run_folder import data_json

# Keys of selection.json that result.json leaves out: inputs of the choice, and what it has elsewhere.
_OF_CHOICE = ("candidates", "checkpoints", "made_of", "chooses", "temperature", "operating_points")
_LAST_SHARE = 0.1  # of the rows of metrics.jsonl that "at the end" averages


@dataclasses.dataclass(frozen=True)
class Measured:
    """The result of an evaluation, and what it was made from.

    Attributes:
      result: of result.json, without files.
      checkpoint: its path; a run that is still training may have removed it.
      models: {"trained" | "before this run" | "untrained": model}; see `_models`.
      bags: of the split.
      cases: of the split.
      class_names: of the scores.
      features: the same keys, float [n, d]; {} where scores come from several encoders.
      predictions: {name of the file: scores [n, classes]}, the main one "predictions"; {} without
        labels.
      shift_from: dataset that a fine-tuned run was trained on, if this is another.
      training: the first cases that the probes were fitted among; None where no probe was.
    """

    result: dict
    checkpoint: str
    models: dict
    bags: Bags
    cases: Cases
    class_names: tuple[str, ...]
    features: dict[str, np.ndarray]
    predictions: dict[str, np.ndarray]
    shift_from: str | None
    training: TrainingCases | None = None


def measure(
    config: Config, builder, model_dir: str, strategy, *, to_choose: bool = False
) -> Measured:
    """Returns what a run does on a split: features, scores and all metrics of them.

    Args:
      config: of the run, its input range settled.
      builder: of the prepared dataset to evaluate on.
      model_dir: of the run.
      strategy: from `build.set_up`.
      to_choose: the evaluation is part of a choice, and on the split that is chosen on.

    Raises:
      UserError: a mistake of the user's, such as patients that the run was trained on.
    """
    run_values = splits.of_run(config, builder, model_dir)
    config = splits.as_trained(config, run_values)
    patients = splits.check(config, builder, run_values, model_dir, to_choose=to_choose)
    split = config.data.eval_split
    bags = open_bags(config, builder, split, with_metadata=True, with_differential=True)
    trained_on = run_values.get("prepared_dataset", data_json.name_of(builder))
    is_own_data = trained_on == data_json.name_of(builder)
    class_names = bags.class_names
    cases = read_cases(bags, config.eval.eval_steps * config.eval.eval_batch_size)
    if config.run.train_mode == "finetune":  # else probes are fitted on the data that is evaluated
        class_names = tuple(run_values.get("class_names", class_names))
        cases = with_classes(cases, bags.class_names, class_names)
        if not is_own_data and not config.eval.eval_name:
            raise UserError(
                f"{model_dir} was trained on {trained_on}. Give --eval_name=NAME to evaluate it on "
                f"{data_json.name_of(builder)}, so that its own results are kept."
            )
    chosen = selection.select(
        config, builder, model_dir, strategy, is_own_data, to_choose=to_choose
    )
    checkpoint = os.path.join(model_dir, chosen["checkpoint"])
    selection.check_positive_class(config, class_names)
    grades.grades_of(config, class_names, bags.multilabel)  # reports a mistake before long work
    models, encoders = _models(
        config, builder, model_dir, strategy, checkpoint, bags, len(class_names)
    )
    features = case_features(config, strategy, models, bags, len(cases.ids))
    scores: dict = {}
    fitted: dict = {}
    untrained: list[str] = []
    training: TrainingCases | None = None
    if class_names and cases.labelled.any():
        scores, untrained, fitted, training = _all_scores(
            config, builder, model_dir, strategy, models, features, bags, class_names
        )
    result = {
        **_provenance(config, builder, chosen),
        "trained_on": trained_on,
        "adopted_weights": run_values.get("adopted_weights"),  # then the training data is unknown
        "patients": patients,
        "evaluated": splits.evaluated_part(config, builder, len(cases.ids)),
        "selection": {name: value for name, value in chosen.items() if name not in _OF_CHOICE},
        "contrastive": _contrastive(config, model_dir),
        "encoders": encoders,
        "probes": fitted,
        "skipped_images": list((builder.info.metadata or {}).get("skipped_images", [])),
        "labels": label_reading(config, bags),
        **metrics_of_scores(config, cases, class_names, scores, chosen["thresholds"], untrained),
        **_acted_on(config, cases, class_names, scores, chosen),
    }
    shifted = config.run.train_mode == "finetune" and not is_own_data
    return Measured(
        result=result,
        checkpoint=checkpoint,
        models=models,
        bags=bags,
        cases=cases,
        class_names=class_names,
        features=features,
        predictions=main_scores(config, scores),
        shift_from=trained_on if shifted else None,
        training=training,
    )


def _provenance(config: Config, builder, chosen: dict) -> dict:
    """Returns what was evaluated: which step, on which data, with which labels."""
    return {"global_step": step_of(chosen["checkpoint"]), **of_dataset(config, builder)}


def of_dataset(config: Config, builder) -> dict:
    """Returns the entries of result.json on the data: name, fingerprint, splits, which labels are used.

    Args:
      config: of the evaluation.
      builder: of the prepared dataset.
    """
    return {
        "dataset": data_json.name_of(builder),
        "fingerprint": (builder.info.metadata or {}).get("fingerprint"),
        "train_split": config.data.train_split,
        "eval_split": config.data.eval_split,
        "label_fraction": config.data.label_fraction,
        "seed": config.run.seed,
        **({} if config.data.label_seed is None else {"label_seed": config.data.label_seed}),
    }


def metrics_of_scores(
    config: Config, cases: Cases, class_names, scores: dict, thresholds, untrained: list[str]
) -> dict:
    """Returns "classification": {evaluator: {encoder: row}}, "subgroups": [row, ...], "min_subgroup".

    With --ordinal also "grades": names of the classes, the lowest first.

    Args:
      config: of the run.
      cases: that were scored.
      class_names: of the scores.
      scores: {(evaluator, encoder): [n, classes]}; {} without labels.
      thresholds: {label: threshold} or None, as chosen on validation data.
      untrained: names of classes without a training case.
    """
    cuts = None
    if thresholds:  # null for a label of which validation had one kind only
        cuts = np.array([thresholds[name] for name in class_names], float)
    ranks = grades.grades_of(config, class_names, cases.labels.ndim == 2)
    rows: dict[str, dict] = {}
    for (name, encoder), case_scores in scores.items():
        rows.setdefault(name, {})[encoder] = classification(
            cases, case_scores, class_names, thresholds=cuts, untrained=untrained, grades=ranks
        )
    main, groups = main_scores(config, scores), []
    if main:
        groups = subgroups.subgroups(
            cases,
            main["predictions"],
            class_names,
            config.eval.subgroups,
            min_patients=config.eval.min_subgroup,
            grades=ranks,
        )
    order = (
        {}
        if ranks is None
        else {"grades": list(grades.order_of(class_names, config.eval.class_order))}
    )
    return {
        **order,
        "classification": rows,
        "subgroups": groups,
        "min_subgroup": config.eval.min_subgroup,
    }


def _acted_on(config: Config, cases: Cases, class_names, scores: dict, chosen: dict) -> dict:
    """Returns how the chosen temperature and thresholds do on the evaluated cases.

    "calibration": {"temperature", "ece", "ece_scaled", "nll", "nll_scaled"} or None, and
    "operating_points": rows of `operating_points.measure`, those of --positive_class first. Both are of
    the supervised head; without a selection split there is neither.
    """
    head_scores = scores.get(("supervised head", "trained"))
    facts: dict = {"calibration": None, "operating_points": []}
    facts["positive_class"] = config.eval.positive_class
    if head_scores is None:
        return facts
    labelled = cases.labelled
    truth, probabilities = cases.labels[labelled], head_scores[labelled]
    if (fitted := chosen.get("temperature")) is not None:
        scaled = temperature.scaled(probabilities, fitted, truth.ndim == 2)
        facts["calibration"] = {"temperature": fitted}
        for name, function in (
            ("ece", expected_calibration_error),
            ("nll", temperature.negative_log_likelihood),
        ):
            values = {
                name: float(function(truth, probabilities)),
                f"{name}_scaled": float(function(truth, scaled)),
            }
            facts["calibration"] |= values
    if points := chosen.get("operating_points"):
        points_of_class = {
            name: [operating_points.Chosen(**p) for p in ps] for name, ps in points.items()
        }
        patients = Patients(cases.patients[labelled])
        rows = operating_points.measure(
            points_of_class, truth, probabilities, class_names, patients
        )
        first = config.eval.positive_class
        rows = sorted(rows, key=lambda row: row["class"] != first)
        facts["operating_points"] = rows
    return facts


def main_scores(config: Config, scores: dict) -> dict[str, np.ndarray]:
    """Returns {name of the file: scores [n, classes]} of the main evaluator; {} without scores.

    Args:
      config: of the run; fine-tuned runs report the supervised head, others the linear probe.
      scores: {(evaluator, encoder): float [n, classes]}.
    """
    main = "supervised head" if config.run.train_mode == "finetune" else "linear probe"
    files = {
        "predictions": "trained",
        "predictions_before": BEFORE,
        "predictions_untrained": UNTRAINED,
    }
    return {
        file: scores[main, encoder] for file, encoder in files.items() if (main, encoder) in scores
    }


def _models(
    config: Config, builder, model_dir: str, strategy, checkpoint: str, bags: Bags, num_classes: int
):
    """Returns ({"trained": the checkpoint's model, ...}, what result.json says of the others).

    Beside a pretrained one: "before this run", where the run began at --checkpoint, and "untrained",
    see baselines.py. The linear head that pretraining may have trained beside is left out: probes
    judge the encoder, and the data evaluated may have other classes.
    """
    finetune = config.run.train_mode == "finetune"
    bare = config if finetune else config.replace(lineareval_while_pretraining=False)
    with strategy.scope():
        trained = make_model(bare, num_classes)
    restore(trained, checkpoint)
    models: dict = {"trained": trained}
    facts: dict = {}
    if finetune:
        return models, facts
    if config.run.checkpoint:
        model, facts[BEFORE] = before_run(bare, model_dir, strategy, num_classes)
        models |= {BEFORE: model} if model is not None else {}
    models[UNTRAINED], facts[UNTRAINED] = untrained(bare, builder, bags, strategy, num_classes)
    return models, facts


def _all_scores(
    config, builder, model_dir: str, strategy, models, features, bags: Bags, class_names
) -> tuple[dict, list[str], dict, TrainingCases | None]:
    """Returns scores, classes without a training case, facts about the probes' fits, and
    `Measured.training`.

    The scores are {(evaluator, key of `models`): [n, classes]}, the third {evaluator: {key: facts}}.
    """
    if config.run.train_mode == "finetune":
        probabilities = case_probabilities(models["trained"], features["trained"], bags.multilabel)
        untrained = data_json.read(model_dir).get("classes_without_training_cases", [])
        return {("supervised head", "trained"): probabilities}, untrained, {}, None
    train_bags = open_bags(config, builder, config.data.train_split)
    try:
        cases, chosen = labelled_cases(config, train_bags)
    except UserError:  # nothing to fit a probe on
        return {}, [], {}, None
    train_features = case_features(config, strategy, models, train_bags)
    training = TrainingCases.of(
        config.data.train_split, train_bags, cases, train_features["trained"]
    )
    train_y = cases.labels[chosen]
    if not chosen.all():
        train_features = {encoder: train_features.pop(encoder)[chosen] for encoder in models}
    scores, fitted = all_scores(
        train_features,
        train_y,
        cases.patients[chosen],
        features,
        num_classes=len(class_names),
        seed=config.run.seed,
    )
    return scores, label_fraction.without_cases(train_y, class_names), fitted, training


def _contrastive(config: Config, model_dir: str) -> dict:
    """Returns the training loss and accuracy at the end of metrics.jsonl, and what chance gives.

    Chance is that of the negatives that were really there; `negatives`, their mean number per view,
    is None of a run that did not count them, and chance then that of all other views.
    """
    rows = run_folder.read_metrics(model_dir)
    if config.run.train_mode == "finetune" or not rows:
        return {}
    last = rows[-max(1, int(len(rows) * _LAST_SHARE)) :]
    n = config.train.train_batch_size
    all_others: dict = {
        "contrast_negatives": None,
        "contrast_chance_loss": 2 * math.log(2 * n - 1),
        "contrast_chance_acc": 1 / n,
    }
    counted = [row for row in last if "contrast_negatives" in row]
    chance: dict = {
        name: float(np.mean([row[name] for row in counted])) if counted else value
        for name, value in all_others.items()
    }
    return {
        "loss": float(np.mean([row["contrast_loss"] for row in last])) / 2,
        "chance_loss": chance["contrast_chance_loss"] / 2,
        "accuracy": float(np.mean([row["contrast_acc"] for row in last])),
        "chance_accuracy": chance["contrast_chance_acc"],
        "negatives": chance["contrast_negatives"],
        "same_patient_negatives": config.train.same_patient_negatives,
    }
