"""The use "probe" of a study's arms: logistic regression on frozen features, at each number of labels.

All probes of an arm and a seed share one pass over the images, whatever their labels: features are
means over a case's images, as in every evaluation (evaluation/features.py). What is fitted is the
linear probe of evaluation/probes. Where a result is stored that is made of the same weights, data and
options, nothing is computed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import os
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_med import checkpoints, run_folder
from simclr_med.build import chosen_cases, labelled_cases, make_model, open_bags
from simclr_med.checkpoints.weights import input_range
from simclr_med.config import GROUPS, Config
from simclr_med.data import Bags, label_fraction
from simclr_med.data.cases import Cases, read_cases, with_classes
from simclr_med.evaluation import baselines, selection
from simclr_med.evaluation.features import case_features
from simclr_med.evaluation.probes import linear_probe
from simclr_med.evaluation.report.results import predictions_csv
from simclr_med.experiments import runs
from simclr_med.experiments.study_plan import Job
from simclr_med.metrics.grades import grades_of
from simclr_med.metrics.scoring import classification
from simclr_med.run_folder import data_json, gfile

_RECORD = "experiment.json"
# Beside those of the data, the model and the evaluation.
_SHAPE_FEATURES = ("seed", "image_size", "antialias", "mixed_precision")


@dataclasses.dataclass(frozen=True)
class EvalSet:
    """A dataset on which a probe is evaluated.

    Attributes:
      name: "inside" or "shift", the "place" of study.json.
      config: of the evaluation, of the same labels as the job's.
      builder: of the dataset evaluated.
    """

    name: str
    config: Config
    builder: Any


@dataclasses.dataclass(frozen=True)
class _Cases:
    """Cases of a split, and their features, float [n, d]."""

    cases: Cases
    features: np.ndarray


def run(
    jobs: dict[Job, list[EvalSet]], builder, model_dir: str, strategy: tf.distribute.Strategy
) -> dict[str, dict[str, dict]]:
    """Returns {name of a set: {folder: result}} of the probes of one encoder; missing ones are computed.

    Args:
      jobs: {probe of the arm and the seed: evaluation sets, the same for all}.
      builder: of the dataset that they are trained on.
      model_dir: of the study.
      strategy: from `build.set_up`.

    Raises:
      UserError: the weights do not fit, or no training case has a label.
    """
    by_name: dict[str, dict[str, dict]] = {}
    missing = []
    for job, eval_sets in jobs.items():
        for eval_set in eval_sets:
            result = stored(job, eval_set, builder, model_dir)
            if result is None:
                missing.append((job, eval_set))
            else:
                by_name.setdefault(eval_set.name, {})[job.folder] = result
    if missing:
        names = dict.fromkeys(eval_set.name for _, eval_set in missing)
        job = missing[0][0]
        print(f"Probes of '{job.arm}', seed {job.seed}: features ({', '.join(names)}).", flush=True)
        try:
            computed = _make(missing, builder, model_dir, strategy)
        finally:
            runs.forget_models()
        for name, results in computed.items():
            by_name.setdefault(name, {}).update(results)
    return by_name


def _make(missing: list[tuple[Job, EvalSet]], builder, model_dir: str, strategy) -> dict:
    """Returns {name of a set: {folder: result}} of probes, computed and written."""
    config = _of_features(missing[0][0].config)
    train = open_bags(config, builder, config.data.train_split)
    model, facts = _encoder(config, builder, train, strategy)

    def encode(bags: Bags, max_cases: int = 0) -> np.ndarray:
        return case_features(config, strategy, {"": model}, bags, max_cases)[""]

    cases, _ = labelled_cases(config, train)
    of_train = _Cases(cases, encode(train))
    selected = None
    if split := config.data.selection_split:
        bags = open_bags(config, builder, split)
        selected = _Cases(read_cases(bags, 0), encode(bags))
    cases_of_set: dict[str, _Cases] = {}
    for _, eval_set in missing:
        if eval_set.name not in cases_of_set:
            cases_of_set[eval_set.name] = _cases_of(eval_set, train.class_names, encode)
    results: dict[str, dict[str, dict]] = {}
    for job in dict.fromkeys(job for job, _ in missing):
        eval_sets = [eval_set for other, eval_set in missing if other == job]
        probe = _Probe(job.config, train, of_train)
        scored = [
            *([selected] if selected else []),
            *(cases_of_set[eval_set.name] for eval_set in eval_sets),
        ]
        scores = probe.scores([cases.features for cases in scored])
        value = probe.selection_value(selected.cases, scores.pop(0)) if selected else None
        for eval_set, case_scores in zip(eval_sets, scores, strict=True):
            result = {**probe.facts(), "encoders": facts, "selection": value}
            folder = os.path.join(model_dir, job.folder)
            _write(folder, eval_set, result, cases_of_set[eval_set.name].cases, case_scores, probe)
            _note(folder, eval_set, _made_of(job, eval_set, builder))
            # As a stored one: NaN is None.
            path = os.path.join(folder, f"result{eval_set.config.eval.suffix}.json")
            results.setdefault(eval_set.name, {})[job.folder] = run_folder.read_json(path)
    return results


def _of_features(config: Config) -> Config:
    """Returns the configuration of the encoder as it is seen: its input range settled, nothing frozen."""
    with contextlib.redirect_stdout(io.StringIO()):
        config = input_range.resolve(config, None)
    return config.replace(fine_tune_after_block=-1)


def _encoder(config: Config, builder, train: Bags, strategy) -> tuple[Any, dict]:
    """Returns (the model whose features are probed, what is said of it): of --checkpoint, or untrained
    with BatchNorm calibrated on the training split."""
    num_classes = len(train.class_names)
    if not config.run.checkpoint:
        return baselines.untrained(config, builder, train, strategy, num_classes)
    with strategy.scope():
        model = make_model(config, num_classes)
    with contextlib.redirect_stdout(io.StringIO()):  # the table of what matched
        checkpoints.load(model, config.run.checkpoint)
    return model, {}


def _cases_of(eval_set: EvalSet, class_names: tuple[str, ...], encode) -> _Cases:
    """Returns the evaluated cases of a set, labelled as those of training, with features."""
    config = eval_set.config
    bags = open_bags(
        config, eval_set.builder, config.data.eval_split, with_metadata=True, with_differential=True
    )
    most = config.eval.eval_steps * config.eval.eval_batch_size
    cases = with_classes(read_cases(bags, most), bags.class_names, class_names)
    return _Cases(cases, encode(bags, most))


class _Probe:
    """A logistic regression on the labelled training cases of a job.

    Args:
      config: of the job.
      bags: of the training split.
      of_train: its cases.
    """

    def __init__(self, config: Config, bags: Bags, of_train: _Cases):
        chosen = chosen_cases(config, of_train.cases)
        self._config = config
        self.fitted: dict[str, Any] = {}  # what the fit says of itself
        self._features = of_train.features[chosen]
        self._labels = of_train.cases.labels[chosen]
        self._patients = of_train.cases.patients[chosen]
        self.class_names = bags.class_names
        self.untrained = label_fraction.without_cases(self._labels, bags.class_names)
        self.grades = grades_of(config, bags.class_names, bags.multilabel)

    def scores(self, features: list[np.ndarray]) -> list[np.ndarray]:
        """Returns the probabilities of the cases of several splits, each float [m, classes]."""
        seed = self._config.run.seed
        shared = (self._features, self._labels, self._patients, np.concatenate(features))
        scores = linear_probe.fit_predict_proba(*shared, len(self.class_names), seed, self.fitted)
        return np.split(scores, np.cumsum([len(of_split) for of_split in features])[:-1])

    def selection_value(self, cases: Cases, scores: np.ndarray) -> dict:
        """Returns {"split", "metric", "value"} of the selection split."""
        metric, split = self._config.eval.selection_metric, self._config.data.selection_split
        value = selection.value_of(
            metric, cases, scores, self.class_names, self.untrained, self.grades
        )
        return {"split": split, "metric": metric, "value": value}

    def facts(self) -> dict:
        """Returns what result.json says of the training."""
        data, run = self._config.data, self._config.run
        return {
            "train_split": data.train_split,
            "label_fraction": data.label_fraction,
            "label_seed": data.label_seed,
            "seed": run.seed,
            "labels": len(self._labels),
            "probes": {"linear probe": {"trained": self.fitted}},
        }


def _write(
    folder: str, eval_set: EvalSet, result: dict, cases: Cases, scores: np.ndarray, probe: _Probe
) -> None:
    """Writes predictions.csv and result.json of a probe on an evaluation set."""
    gfile.makedirs(folder)
    suffix = eval_set.config.eval.suffix
    table = predictions_csv(cases, scores, probe.class_names)
    run_folder.write_atomically(os.path.join(folder, f"predictions{suffix}.csv"), table)
    row = classification(
        cases, scores, probe.class_names, untrained=probe.untrained, grades=probe.grades
    )
    result = {
        "dataset": data_json.name_of(eval_set.builder),
        "eval_split": eval_set.config.data.eval_split,
        **result,
        "classification": {"linear probe": {"trained": row}},
    }
    run_folder.write_json(os.path.join(folder, f"result{suffix}.json"), result)


def stored(job: Job, eval_set: EvalSet, builder, model_dir: str) -> dict | None:
    """Returns the stored result of a probe; None if there is none, it is outdated, or has no predictions.

    Args:
      job: the probe.
      eval_set: on which it is evaluated.
      builder: of the dataset that it is trained on.
      model_dir: of the study.
    """
    folder, suffix = os.path.join(model_dir, job.folder), eval_set.config.eval.suffix
    files = [os.path.join(folder, name + suffix) for name in ("result", "predictions")]
    made_of = _read(folder).get(eval_set.config.eval.eval_name or "")
    if made_of is None or not (
        gfile.exists(f"{files[0]}.json") and gfile.exists(f"{files[1]}.csv")
    ):
        return None
    now = _made_of(job, eval_set, builder)
    return run_folder.read_json(f"{files[0]}.json") if runs.is_up_to_date(made_of, now) else None


def _made_of(job: Job, eval_set: EvalSet, builder) -> dict[str, Any]:
    """Returns what a probe's result depends on, as JSON has it."""
    values = job.config.to_dict()
    names = [field.name for field in dataclasses.fields(GROUPS["model"])]
    return {
        **runs.dependencies(eval_set.config, eval_set.builder, job.config.run.checkpoint),
        **{name: values[name] for name in (*names, *_SHAPE_FEATURES)},
        "trained_on": data_json.name_of(builder),
    }


def _read(folder: str) -> dict[str, Any]:
    path = os.path.join(folder, _RECORD)
    return run_folder.read_json(path).get("evaluations", {}) if gfile.exists(path) else {}


def _note(folder: str, eval_set: EvalSet, made_of: dict[str, Any]) -> None:
    """Records what a result was made of; written after its files, it marks them as complete."""
    evaluations = {**_read(folder), eval_set.config.eval.eval_name or "": made_of}
    run_folder.write_json(os.path.join(folder, _RECORD), {"evaluations": evaluations})
