"""What is reported must not have been trained or chosen on: whose patients are in which split.

Splits can overlap by name or as slices ("train[:20%]" and "train"), and runs begin from other runs, so
patients are compared, not names.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any, NoReturn

from simclr_med import run_folder
from simclr_med.build import open_bags
from simclr_med.config import Config
from simclr_med.data.labels import LabelReading
from simclr_med.data.patients import named_by, patients_of
from simclr_med.errors import UserError
from simclr_med.evaluation import lineage
from simclr_med.evaluation.lineage import Stage
from simclr_med.run_folder import data_json, gfile

_USUAL = ("train", "validation", "test")  # in this order, others after them
_CHOOSE_RUNS = ("sweep", "study")  # modes
_MADE = {
    "training": "which the run was trained on",
    "probe": "whose labels the probes are fitted on",
    "selection": "which chose the run or its checkpoint",
}


def check_selection(config: Config, builder, *, to_choose: bool = False) -> None:
    """Checks that `--selection_split` is given and shares no patient with the other two splits.

    Args:
      config: of the run.
      builder: of the dataset that it is trained on.
      to_choose: nothing is reported yet: a training alone, or a point of a sweep, whose evaluation
        is part of the choice. Then `--eval_split` is not looked at.

    Raises:
      UserError: it is missing, or patients are shared; says with which split.
    """
    selection = config.data.selection_split
    if not selection:
        raise UserError(
            "--selection_split is missing: the split on which the best is chosen, such as "
            "validation. --eval_split is only for the final report."
        )
    chosen = _patients(config, builder, selection)
    trained = _patients(config, builder, config.data.train_split)
    reported = frozenset[str]() if to_choose else _patients(config, builder, config.data.eval_split)
    if shared := len(chosen & trained):
        free = _free(config, builder, "selection", trained | reported)
        _fail_selection(config, "train_split", shared, free)
    if shared := len(chosen & reported):
        free = _free(config, builder, "eval", trained | chosen)
        _fail_selection(config, "eval_split", shared, free)


def _fail_selection(config: Config, flag: str, shared: int, free: str) -> NoReturn:
    raise UserError(
        f"--selection_split={config.data.selection_split} and "
        f"--{flag}={getattr(config.data, flag)} share {shared:,} patients. Choose on patients that "
        f"are neither trained on nor reported. {free}"
    )


def of_run(config: Config, builder, model_dir: str | None = None) -> dict[str, Any]:
    """Returns the values of a run's config.json, or, without a folder, those that it would have.

    Args:
      config: of the run.
      builder: of the prepared dataset.
      model_dir: of the run; None: it has not begun.
    """
    values = {**config.to_dict(), "prepared_dataset": data_json.name_of(builder)}
    if model_dir:
        saved = run_folder.read_json(os.path.join(model_dir, "config.json"))
        values = {"prepared_dataset": data_json.name_of(builder), **saved}
    return values


def as_trained(config: Config, run_values: dict[str, Any]) -> Config:
    """Returns the configuration with the split that a fine-tuned run was really trained on.

    Args:
      config: of the evaluation.
      run_values: of the run's config.json.
    """
    if config.run.train_mode != "finetune" or "train_split" not in run_values:
        return config
    return config.replace(train_split=run_values["train_split"])


def check(
    config: Config, builder, run_values: dict[str, Any], model_dir: str | None, *, to_choose=False
) -> dict:
    """Returns result.json's entry on patients that the model knows; refuses results too good to be true.

    Args:
      config: of the run, as it is to be evaluated.
      builder: of the prepared dataset to evaluate on.
      run_values: of its config.json, which may not be written yet.
      model_dir: of the run; None: it has not begun.
      to_choose: the evaluation is part of a choice, and on the split that is chosen on.

    Returns:
      {"evaluated": patients of the split, "told_apart_by": ..., "allowed":
      --allow_patient_overlap, "in_common": [{"with": "training" | "pretraining" | "probe" |
      "selection", "dataset", "split", "patients": number in common or None, "why": of None}, ...],
      "not_known": what else is unknown, in words}.

    Raises:
      UserError: patients in common with the training, the probes' training or the selection.
    """
    evaluated = _patients(config, builder, config.data.eval_split)
    known, not_known = lineage.stages(run_values)
    last = known[0] if known else _here("training", config, builder, config.data.train_split)
    selected = _selected(config, builder, run_values, model_dir, last)
    if config.run.train_mode == "pretrain":
        known.insert(0, _here("probe", config, builder, config.data.train_split))
    rows = []
    for stage in [*selected, *known]:
        number, why = lineage.number_in_common(config, builder, evaluated, stage)
        rows.append(
            {
                "with": stage.what,
                "dataset": stage.dataset,
                "split": stage.split,
                "patients": number,
                "why": why,
            }
        )
    overlap = {
        "evaluated": len(evaluated),
        "told_apart_by": named_by(builder),
        "allowed": config.eval.allow_patient_overlap,
        "in_common": rows,
        "not_known": not_known,
    }
    if too_good := _too_good(rows, config.eval.allow_patient_overlap, to_choose=to_choose):
        _fail(config, builder, too_good, len(evaluated), [*selected, *known])
    return overlap


def _selected(
    config: Config, builder, run_values: dict, model_dir: str | None, trained: Stage
) -> list[Stage]:
    """Returns the splits that chose this run or its checkpoint, or are to choose it.

    Besides `--selection_split`: what a sweep chose the run on, whatever the command says now; and what
    selection.json was made on, unless the choice is made again.
    """
    is_own_data, split = trained.dataset == data_json.name_of(builder), config.data.selection_split
    chosen: list[str | None] = [split] if is_own_data and split else []
    if run_values.get("mode") in _CHOOSE_RUNS:
        chosen.append(run_values.get("selection_split"))
    path = os.path.join(model_dir or "", "selection.json")
    if model_dir and not (is_own_data and split) and gfile.exists(path):
        chosen.append(run_folder.read_json(path).get("split"))
    return [
        _here("selection", config, builder, split)
        if is_own_data
        else dataclasses.replace(trained, what="selection", split=split)
        for split in dict.fromkeys(filter(None, chosen))
    ]


def _here(what: str, config: Config, builder, split: str) -> Stage:
    data = config.data
    name = data_json.name_of(builder)
    return Stage(what, name, split, data.projection, data.manual_dir, data.data_dir)


def _too_good(rows: list[dict], allowed: bool, *, to_choose: bool) -> dict | None:
    """Returns the first row that makes results too good and is not allowed to; None if none does."""
    for row in rows:
        may_be = to_choose if row["with"] == "selection" else allowed
        if row["patients"] and row["with"] != "pretraining" and not may_be:
            return row
    return None


def _fail(config: Config, builder, row: dict, num_evaluated: int, stages: list[Stage]) -> NoReturn:
    """Raises the UserError for a row that makes results too good; says which splits would not."""
    everyone, excluded = _patients(config, builder, "all"), frozenset[str]()
    for stage in stages:
        if stage.with_labels and lineage.number_in_common(config, builder, everyone, stage)[0]:
            stage_builder = lineage.opened(builder, stage)
            excluded |= patients_of(
                stage_builder, stage.split, LabelReading(projection=stage.projection)
            )
    on_purpose = (
        "To look at them on purpose, add --allow_patient_overlap, and the report says so. "
    ) * (row["with"] != "selection")
    raise UserError(
        f"--eval_split={config.data.eval_split}: {row['patients']:,} of its {num_evaluated:,} "
        f"patients are in '{row['split']}', {_MADE[row['with']]}: what is measured on them says "
        f"nothing about others. {on_purpose}{_free(config, builder, 'eval', excluded)}"
    )


def _free(config: Config, builder, purpose: str, excluded: frozenset[str]) -> str:
    """Returns in words which splits there are, and which have no `excluded` patient: fit for the flag."""
    sizes = cases_of_splits(config, builder)
    available = ", ".join(f"{name} ({size:,} cases)" for name, size in sizes.items())
    free = [
        name for name, n in sizes.items() if n and not _patients(config, builder, name) & excluded
    ]
    words = (
        f"Free for --{purpose}_split: {', '.join(free)}."
        if free
        else f"None is free for --{purpose}_split."
    )
    return f"The splits are {available}. {words}"


def _patients(config: Config, builder, split: str) -> frozenset[str]:
    return patients_of(builder, split, LabelReading.of(config.data))


def cases_of_splits(config: Config, builder) -> dict[str, int]:
    """Returns {split: number of its cases, as they are read}, of every split of a dataset.

    Args:
      config: which says what images of a case are read.
      builder: of the dataset.
    """
    sizes = {}
    names = builder.info.splits
    usual = [name for name in _USUAL if name in names]
    for name in [*usual, *sorted(set(names) - set(usual))]:
        try:
            sizes[name] = open_bags(config, builder, name).num_bags
        except UserError:  # no image of that view
            sizes[name] = 0
    return sizes


def evaluated_part(config: Config, builder, num_cases: int) -> dict:
    """Returns how much of a dataset was evaluated, for result.json.

    Args:
      config: of the evaluation.
      builder: of the dataset.
      num_cases: that were evaluated.

    Returns:
      {"cases": `num_cases`, "of": cases of the dataset, "split": --eval_split, "cases_of_split": those
      of it (more where --eval_steps cuts), "cases_of_splits": {split: cases}, "splits_from": "hash"
      or "names of the dataset", "probes_fitted_on": None or [split, its cases]}.
    """
    sizes, data = cases_of_splits(config, builder), config.data
    probes = None
    if config.run.train_mode == "pretrain":
        probes = [data.train_split, open_bags(config, builder, data.train_split).num_bags]
    return {
        "cases": num_cases,
        "of": sum(sizes.values()),
        "split": data.eval_split,
        "cases_of_split": open_bags(config, builder, data.eval_split).num_bags,
        "cases_of_splits": sizes,
        "splits_from": "hash" if divided_by_hash(builder) else "names of the dataset",
        "probes_fitted_on": probes,
    }


def divided_by_hash(builder) -> bool:
    """Returns whether the splits are by a hash of the patients' ids, as no table of splits was given."""
    splits_from = (builder.info.metadata or {}).get("splits_from")
    if splits_from is None:  # prepared before that was kept: the folder's own table says
        config = getattr(builder, "builder_config", None)
        facts = getattr(getattr(config, "table", None), "facts", {})
        splits_from = getattr(
            getattr(config, "manifest", None), "splits_from", facts.get("splits_from")
        )
    return splits_from == "hash"


def whole_if_unseen(config: Config, builder, run_values: dict[str, Any]) -> Config:
    """Returns the configuration with `--eval_split=all` where no part of the data needs to be set aside.

    That is data that a fine-tuned run has never seen and whose splits are only this tool's: nothing is
    trained or chosen on it. Call it where the user named no split.

    Args:
      config: of the evaluation.
      builder: of the dataset to evaluate on.
      run_values: of the run's config.json.
    """
    if config.run.train_mode != "finetune" or not divided_by_hash(builder):
        return config
    for stage in lineage.stages(run_values)[0]:
        if lineage.comparable(config, builder, stage, lineage.opened(builder, stage)):
            return config
    return config.replace(eval_split="all")
