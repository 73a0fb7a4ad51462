"""The runs that a command would make: how far each is, and which of them cost the same.

Runs of a study: `of_study`. Nothing is written.
"""

from __future__ import annotations

import dataclasses
import os
from typing import Any

from simclr_med import run_folder
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.restore import step_of
from simclr_med.config import GROUPS, Config
from simclr_med.errors import Diverged
from simclr_med.experiments import probe_runs, runs, study, study_plan
from simclr_med.experiments.probe_runs import EvalSet
from simclr_med.run_folder import data_json, gfile

_TITLES = {
    "simclr": "SimCLR pretraining",
    "micle": "MICLe pretraining",
    "finetune": "fine-tuning",
}
# Fields that change no step's cost, beside those of "eval" and "experiment".
_SAME_COST = {"mode", "model_dir", "checkpoint", "keep_head", "seed", "dry_run", "train_split"}
_SAME_COST |= {"checkpoint_epochs", "checkpoint_steps", "keep_checkpoint_max", "eval_split"}
_SAME_COST |= {"keep_hub_module_max", "selection_split", "label_fraction", "label_seed"}
_SAME_COST |= {"temperature", "zero_init_logits_layer", "init_head", "class_weights", "momentum"}
_SAME_COST |= {"train_epochs", "train_steps", "learning_rate", "learning_rate_scaling"}
_SAME_COST |= {"warmup_epochs", "weight_decay"}
for _group in ("eval", "experiment"):
    _SAME_COST |= {field.name for field in dataclasses.fields(GROUPS[_group])}


@dataclasses.dataclass(frozen=True)
class State:
    """How far a run is: finished, or trained up to a step."""

    finished: bool
    step: int = 0


@dataclasses.dataclass(frozen=True)
class Job:
    """A run that a command would make.

    Attributes:
      name: its folder below --model_dir; "": that folder itself, of a single run.
      config: of the run.
      builder: its prepared dataset.
      what: which part of the experiment it is, in words; "" where its kind says it.
      evaluated: whether it is evaluated when it is trained.
      pictures: whether its evaluation draws figures.
      elsewhere: (configuration, builder) of its evaluations on other data.
      encoder: of a probe, which trains nothing: what names the encoder; probes of one encoder share a
        pass over the images. "" of a run that trains.
      keeps: how many checkpoints are left when it has been evaluated; None: --keep_checkpoint_max.
      state: how far it is, where that is known.
    """

    name: str
    config: Config
    builder: Any
    what: str = ""
    evaluated: bool = True
    pictures: bool = False
    elsewhere: tuple[tuple[Config, Any], ...] = ()
    encoder: str = ""
    keeps: int | None = None
    state: State | None = None


def state_of(job: Job, model_dir: str) -> State:
    """Returns how far a run is.

    Args:
      job: the run.
      model_dir: of the command.

    Raises:
      UserError: the folder holds another run.
    """
    if job.state is not None:
        return job.state
    folder = os.path.join(model_dir, job.name) if job.name else model_dir
    if job.name:
        try:
            if runs.stored_result(job.config, job.builder, folder, read_only=True) is not None:
                return State(finished=True)
        except Diverged:  # is not tried again
            return State(finished=True)
    prefixes = checkpoint_files.list_prefixes(folder) if gfile.exists(folder) else []
    return State(finished=False, step=step_of(prefixes[-1]) if prefixes else 0)


def group(jobs: list[Job]) -> dict[str, list[Job]]:
    """Returns {title: runs whose steps cost the same}; equal titles are told apart by what differs."""
    by_key: dict[tuple, list[Job]] = {}
    for job in jobs:
        values = job.config.to_dict()
        of_config = tuple((name, v) for name, v in values.items() if name not in _SAME_COST)
        by_key.setdefault((data_json.name_of(job.builder), *of_config), []).append(job)
    groups = list(by_key.values())
    titles = [_TITLES[of_kind[0].config.method] for of_kind in groups]
    kinds = {}
    for title, of_kind in zip(titles, groups, strict=True):
        same_title = [
            g[0].config.to_dict() for t, g in zip(titles, groups, strict=True) if t == title
        ]
        own = of_kind[0].config.to_dict()
        differing = [
            f"--{name}={value}"
            for name, value in own.items()
            if name not in _SAME_COST and any(other[name] != value for other in same_title)
        ]
        kinds[title + (f" ({', '.join(differing)})" if differing else "")] = of_kind
    return kinds


def of_study(plan: study_plan.Plan, builders: study_plan.Builders, model_dir: str) -> list[Job]:
    """Returns the runs of a study, checked, in the order in which they are made.

    A fine-tuning whose search is not finished has the search's first point and its largest number of
    steps, and has not begun.

    Args:
      plan: of the study.
      builders: of its datasets.
      model_dir: of the study.
    """
    shift: tuple[tuple[Config, Any], ...] = ()
    if plan.config.experiment.shift_dataset:
        outside = study_plan.shift_builder(plan.config, plan.tuning, builders)
        shift = ((study_plan.elsewhere(plan.config, plan.tuning), outside),)
    keep_all = plan.config.experiment.study_keep_weights == "all"
    chosen = _chosen(plan, model_dir)
    jobs = []
    for job in study_plan.jobs(plan, model_dir):
        config, builder, state = job.config, builders(job.config), None
        if job.kind == "probe":
            eval_set = EvalSet("inside", config, builder)
            stored = probe_runs.stored(job, eval_set, builder, model_dir)
            state = State(finished=stored is not None)
        elif job.kind in study_plan.USES and plan.has_grid:
            values = chosen.get((job.arm, job.use, study_plan.searched_for(plan, job.fraction)))
            config = config.replace(**(values or {}))
            state = None if values else State(finished=False)
        is_pretraining = job.kind == "pretraining"
        jobs.append(
            Job(
                job.folder,
                config,
                builder,
                what="" if is_pretraining else job.kind,
                elsewhere=shift if job.kind in study_plan.USES else (),
                encoder=f"{job.arm}, seed {job.seed}" if job.kind == "probe" else "",
                keeps=None if keep_all else int(is_pretraining),
                state=state,
            )
        )
    return jobs


def _chosen(plan: study_plan.Plan, model_dir: str) -> study.Chosen:
    """Returns what the searches that are finished have chosen, as `study` has it."""
    chosen = {}
    for job in study_plan.searches(plan):
        path = os.path.join(model_dir, job.folder, "best.json")
        if gfile.exists(path):
            best = run_folder.read_json(path)
            chosen[job.arm, job.use, job.fraction] = {n: best[n] for n in study.sweep.CHOSEN}
    return chosen
