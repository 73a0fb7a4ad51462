"""What validation data decides about a fine-tuned run: its best checkpoint, thresholds, temperature.

The choice is made once, on `--selection_split` of the dataset that was trained on, and kept in
`selection.json` with all that shaped it; where that has changed it is made again. Evaluations on other
data use it as it is.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection

import numpy as np

from simclr_med import run_folder
from simclr_med.build import make_model, open_bags
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.restore import restore, step_of
from simclr_med.config import FIELDS, Config, renamed
from simclr_med.data import Bags
from simclr_med.data.cases import Cases, read_cases
from simclr_med.data.labels import LabelReading
from simclr_med.errors import CheckpointGone, UserError
from simclr_med.evaluation import splits
from simclr_med.evaluation.features import case_features, case_probabilities
from simclr_med.metrics import operating_points, temperature
from simclr_med.metrics.grades import grades_of
from simclr_med.metrics.intervals import Patients
from simclr_med.metrics.scoring import KAPPA, Averaged, choose_thresholds, estimates
from simclr_med.run_folder import data_json, gfile

# Beside the reading of labels: fields that change the values of the metric. (--eval_steps cuts what is
# reported, never what is chosen on.)
_SHAPE_A_CHOICE: tuple[str, ...] = (
    "max_bag_size",
    "image_size",
    "input_range",
    "antialias",
    "ft_proj_selector",
)
_SHAPE_A_CHOICE += ("train_split", "mixed_precision", "seed")
_CHOOSES = ("checkpoint", "thresholds", "temperature", "operating_points")
_OF_ONE_CLASS = ("balanced_accuracy", KAPPA, "top_1")  # metrics that need one class a case


def select(
    config: Config,
    builder,
    model_dir: str,
    strategy,
    is_trained_dataset: bool,
    *,
    to_choose: bool = False,
) -> dict:
    """Returns what selection.json holds, after making the choice if it has to be made.

    Args:
      config: of a fine-tuned run.
      builder: of the dataset to evaluate on.
      model_dir: of the run.
      strategy: from `build.set_up`.
      is_trained_dataset: whether `builder` is what the run was trained on.
      to_choose: see `splits.check_selection`.

    Returns:
      {"checkpoint": its name in `model_dir`, "thresholds": {label: threshold} or None, "temperature": see
      `metrics.temperature`, or None, "operating_points": {class: fields of `operating_points.Chosen`} or
      None, and, where validation data chose, "split", "metric", "value_of_step": {step: value}, and of
      what the choice was made: "candidates", "checkpoints", "made_of"}. An older version's choice may
      lack the temperature and the operating points.

    Raises:
      UserError: no checkpoint; a metric, or a split, that the data does not have; a split with
        patients who are trained on or reported; or other data, before the run was evaluated on its
        own.
    """
    path = os.path.join(model_dir, "selection.json")
    split = config.data.selection_split if config.run.train_mode == "finetune" else None
    if split and is_trained_dataset:
        splits.check_selection(config, builder, to_choose=to_choose)
    at_most = None if split and is_trained_dataset else 1
    usable = checkpoint_files.usable(model_dir, at_most)
    if not usable:
        raise UserError(f"--model_dir={model_dir}: its checkpoints are gone; train the run again.")
    if not split:
        nothing = dict.fromkeys(("thresholds", "temperature", "operating_points"))
        return {"checkpoint": os.path.basename(usable[-1]), **nothing}
    stored = run_folder.read_json(path) if gfile.exists(path) else None
    if not is_trained_dataset:  # frozen: other data decides nothing
        return _frozen(stored, config, model_dir)
    made_of = _made_of(config, builder, usable)
    if stored:
        changed = _changed(stored, made_of)
        if not changed:
            return stored
        print(f"The checkpoint is chosen again; changed since the last time: {', '.join(changed)}.")
    bags = open_bags(config, builder, split)
    chosen = {**made_of, **_choose(config, bags, strategy, model_dir, made_of["candidates"])}
    run_folder.write_json(path, chosen)
    return chosen


def _frozen(stored: dict | None, config: Config, model_dir: str) -> dict:
    """Returns the choice that was made on the run's own data.

    Raises:
      UserError: there is none, or the checkpoint that it names is not the one that was chosen.
    """
    prefix = os.path.join(model_dir, stored["checkpoint"]) if stored else ""
    if stored and checkpoint_files.exists(prefix):
        recorded = stored.get("checkpoints", {}).get(stored["checkpoint"])
        if recorded is None:
            print("Note: an older version chose the checkpoint and did not write down of what.")
        if recorded in (None, checkpoint_files.identity(prefix)):
            return stored
    raise UserError(
        f"--model_dir={model_dir}: the checkpoint is chosen on --selection_split="
        f"{config.data.selection_split} of its own dataset. Evaluate it on that first "
        "(--mode=eval), then on other data."
    )


def _made_of(config: Config, builder, usable: list[str]) -> dict:
    """Returns all that shapes a choice, as selection.json keeps it."""
    values = config.to_dict()
    names = [*(field.name for field in dataclasses.fields(LabelReading)), *_SHAPE_A_CHOICE]
    return {
        "split": config.data.selection_split,
        "metric": config.eval.selection_metric,
        "chooses": list(_CHOOSES),
        "candidates": [os.path.basename(prefix) for prefix in usable],
        "checkpoints": {
            os.path.basename(prefix): checkpoint_files.identity(prefix) for prefix in usable
        },
        "made_of": {
            "prepared_dataset": data_json.name_of(builder),
            "fingerprint": (builder.info.metadata or {}).get("fingerprint"),
            **{name: values[name] for name in names if name in values},
            **(
                {"class_order": values["class_order"]}
                if values["selection_metric"] == KAPPA
                else {}
            ),
        },
    }


def _changed(stored: dict, current: dict) -> list[str]:
    """Returns in words which inputs of the stored choice have changed; [] if none has."""
    titles = {"split": "--selection_split", "metric": "--selection_metric"}
    changed = [title for key, title in titles.items() if stored.get(key) != current[key]]
    if "made_of" not in stored:
        return [*changed, "the version, which now writes down of what a choice is made"]
    if stored.get("chooses") != current["chooses"]:
        changed.append("the version, which now chooses operating points too")
    if (stored.get("candidates"), stored["checkpoints"]) != (
        current["candidates"],
        current["checkpoints"],
    ):
        changed.append("the checkpoints")
    fields_before, fields_now = renamed(stored["made_of"]), current["made_of"]
    fields = [
        name
        for name in {**fields_now, **fields_before}
        if fields_before.get(name) != fields_now.get(name)
    ]
    changed += [f"--{name}" if name in FIELDS else "the data" for name in fields]
    return list(dict.fromkeys(changed))


def check_metric(config: Config, bags: Bags) -> None:
    """Raises UserError for a `--selection_metric` that multi-label data does not have.

    Args:
      config: with the metric.
      bags: of the data.
    """
    if bags.multilabel and config.eval.selection_metric in _OF_ONE_CLASS:
        raise UserError(
            f"--selection_metric={config.eval.selection_metric} needs one class a case; for several "
            "labels use macro_auc or macro_ap."
        )


def check_positive_class(config: Config, class_names: Collection[str]) -> None:
    """Raises UserError for a `--positive_class` that is not one of the class names.

    Args:
      config: with the flag.
      class_names: of the data or of a run.
    """
    name = config.eval.positive_class
    if name is not None and name not in class_names:
        names = ", ".join(class_names) or "(there are none)"
        raise UserError(f"--positive_class={name} is none of the classes {names}.")


def value_of(
    metric: str,
    cases: Cases,
    scores: np.ndarray,
    class_names,
    untrained: Collection[str],
    grades: np.ndarray | None = None,
) -> float:
    """Returns a metric of the labelled cases of the selection split; NaN where it is undefined.

    Args:
      metric: a `--selection_metric`.
      cases: of the split.
      scores: probabilities, float [n, classes].
      class_names: of the classes or labels.
      untrained: names of classes without a training case, which could not be learnt.
      grades: of ordinal classes, see `scoring.estimates`.
    """
    labelled = cases.labelled
    truth, probabilities = cases.labels[labelled], scores[labelled]
    among = Averaged.of(truth, probabilities, class_names, untrained)
    patients = Patients(cases.patients[labelled])
    metric_estimates = estimates(
        truth, probabilities, class_names, patients, among=among, grades=grades
    )
    return metric_estimates.scalars[metric].value


def _choose(config: Config, bags: Bags, strategy, model_dir: str, candidates: list[str]) -> dict:
    check_metric(config, bags)
    cases = read_cases(bags, 0)
    if not cases.labelled.any():
        raise UserError(f"--selection_split={config.data.selection_split} has no labelled case.")
    names, metric = bags.class_names, config.eval.selection_metric
    untrained = data_json.read(model_dir).get("classes_without_training_cases", [])
    grades = grades_of(config, names, bags.multilabel)
    with strategy.scope():
        model = make_model(config, len(bags.class_names))
    values, scores = {}, {}
    for path in candidates:
        try:
            restore(model, os.path.join(model_dir, path))
        except CheckpointGone:  # removed by the running training: no candidate any more
            continue
        features = case_features(config, strategy, {"trained": model}, bags)["trained"]
        scores[path] = case_probabilities(model, features, bags.multilabel)
        values[path] = value_of(metric, cases, scores[path], names, untrained, grades)
    if not values:
        raise CheckpointGone(f"All checkpoints that were in {model_dir} are removed by now.")
    defined = [path for path, value in values.items() if value == value]
    if not defined:
        raise UserError(
            f"--selection_split={config.data.selection_split} has no {config.eval.selection_metric}: "
            "it needs cases with and without some label. Choose another split."
        )
    best = max(defined, key=lambda path: values[path])
    if len(values) == 1:
        print(
            f"Note: --selection_split={config.data.selection_split} had one checkpoint to choose from: "
            "give a smaller --checkpoint_steps, or a larger --keep_checkpoint_max, for a choice."
        )
    thresholds = None
    if bags.multilabel:
        cuts = choose_thresholds(cases, scores[best])
        thresholds = dict(zip(bags.class_names, map(float, cuts)))
    truth, probabilities = cases.labels[cases.labelled], scores[best][cases.labelled]
    points = operating_points.choose(truth, probabilities)
    return {
        "checkpoint": best,
        "thresholds": thresholds,
        "temperature": temperature.fit(truth, probabilities),
        "operating_points": {
            name: [dataclasses.asdict(point) for point in class_points]
            for name, class_points in zip(bags.class_names, points)
        },
        "value_of_step": {step_of(path): value for path, value in values.items()},
    }
