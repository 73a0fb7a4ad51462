"""What a command would run: which runs are finished, and what the others take, from measured steps.

Runs whose steps cost the same are of one kind, and each kind is measured once
(`training.rehearsal`). What is not measured follows stated rules: `EVALUATION_RULE`, `MEMORY_RULE`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import io
import math
import os
from typing import Any

import numpy as np

from simclr_med.build import open_bags
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.restore import step_of
from simclr_med.config import GROUPS, Config
from simclr_med.data import cases as data_cases
from simclr_med.data.labels import LabelReading
from simclr_med.errors import Diverged, UserError
from simclr_med.experiments import runs
from simclr_med.run_folder import data_json, gfile
from simclr_med.training.plan import make_plan
from simclr_med.training.rehearsal import Rehearsal, rehearse

EVALUATION_RULE = (
    "An evaluation is not measured: an image counts a third of its share of a training step, which is "
    "one of the three passes, and each evaluation the time to start once more."
)
MEMORY_RULE = (
    "Memory is the most that these steps held, and one more copy of the weights and the optimizer's "
    "variables, which saving makes; evaluation is not in it."
)
_CALIBRATED = 4096  # images at most that set BatchNorm's statistics, see evaluation/baselines.py
_TITLES = {
    "simclr": "SimCLR pretraining",
    "micle": "MICLe pretraining",
    "finetune": "fine-tuning",
}
# Fields that change no step's cost, beside those of "eval" and "experiment".
_SAME_COST = {"mode", "model_dir", "checkpoint", "keep_head", "seed", "dry_run", "train_split"}
_SAME_COST |= {"checkpoint_epochs", "checkpoint_steps", "keep_checkpoint_max"}
_SAME_COST |= {
    "keep_hub_module_max",
    "eval_split",
    "selection_split",
    "label_fraction",
    "label_seed",
}
_SAME_COST |= {
    "temperature",
    "zero_init_logits_layer",
    "init_head",
    "class_weights",
    "train_epochs",
}
_SAME_COST |= {"train_steps", "learning_rate", "learning_rate_scaling", "warmup_epochs"}
_SAME_COST |= {"weight_decay", "momentum"}
for _group in ("eval", "experiment"):
    _SAME_COST |= {field.name for field in dataclasses.fields(GROUPS[_group])}


@dataclasses.dataclass(frozen=True)
class Job:
    """A run that a command would make.

    Attributes:
      name: its folder below --model_dir; "": that folder itself, of a single run.
      config: of the run.
      builder: its prepared dataset.
      evaluated: whether it is evaluated when it is trained.
    """

    name: str
    config: Config
    builder: Any
    evaluated: bool = True


@dataclasses.dataclass(frozen=True)
class State:
    """How far a run is: finished, or trained up to a step."""

    finished: bool
    step: int = 0


@dataclasses.dataclass(frozen=True)
class Kind:
    """The runs whose steps cost the same, and what one of them showed.

    Attributes:
      title: in words.
      jobs: its runs.
      states: of these runs.
      shown: what the first showed.
    """

    title: str
    jobs: list[Job]
    states: list[State]
    shown: Rehearsal

    @property
    def host_bytes(self) -> int | None:
        """By MEMORY_RULE; None where the system does not say what was resident."""
        held = self.shown.host_bytes
        return None if held is None else held + self.shown.state_bytes


def state_of(job: Job, model_dir: str) -> State:
    """Returns how far a run is; nothing is written.

    Raises:
      UserError: the folder holds another run.
    """
    folder = os.path.join(model_dir, job.name) if job.name else model_dir
    if job.name:
        try:
            if runs.stored_result(job.config, job.builder, folder) is not None:
                return State(finished=True)
        except Diverged:  # is not tried again
            return State(finished=True)
    kept = checkpoint_files.kept(folder) if gfile.exists(folder) else []
    return State(finished=False, step=step_of(kept[-1]) if kept else 0)


def cost_key(job: Job) -> tuple:
    """Returns what is equal for runs whose steps cost the same."""
    values = job.config.to_dict()
    of_config = tuple((name, v) for name, v in values.items() if name not in _SAME_COST)
    return (data_json.name_of(job.builder), *of_config)


def group(jobs: list[Job]) -> dict[str, list[Job]]:
    """Returns {title: runs of a kind}; equal titles are told apart by what differs."""
    by_key: dict[tuple, list[Job]] = {}
    for job in jobs:
        by_key.setdefault(cost_key(job), []).append(job)
    groups = list(by_key.values())
    titles = [_TITLES[of_kind[0].config.method] for of_kind in groups]
    found = {}
    for title, of_kind in zip(titles, groups):
        alike = [g[0].config.to_dict() for t, g in zip(titles, groups) if t == title]
        mine = of_kind[0].config.to_dict()
        differing = [
            f"--{name}={value}"
            for name, value in mine.items()
            if name not in _SAME_COST and any(other[name] != value for other in alike)
        ]
        found[title + (f" ({', '.join(differing)})" if differing else "")] = of_kind
    return found


def measure(title: str, jobs: list[Job], model_dir: str, strategy) -> Kind:
    """Measures a kind by the first of its runs that is left, or else by the first, and returns it.

    A later stage starts from weights that may not be there yet: then from random ones, at the same
    cost.

    Raises:
      UserError: a mistake that the run would find before its first step; out of memory.
    """
    states = [state_of(job, model_dir) for job in jobs]
    left = [job for job, state in zip(jobs, states) if not state.finished]
    job = (left or jobs)[0]
    config, folder = job.config, os.path.join(model_dir, job.name) if job.name else model_dir
    start = config.run.checkpoint
    if start and is_below(start, model_dir) and not checkpoint_files.kept(start):
        config = config.replace(checkpoint=None)
    begun = gfile.exists(os.path.join(folder, "config.json"))
    try:
        shown = rehearse(config, job.builder, folder if begun else None, strategy)
    finally:
        runs._forget_models()
    return Kind(title, jobs, states, shown)


def is_below(path: str, folder: str) -> bool:
    """Returns whether a path is in a folder."""
    path, folder = os.path.abspath(path), os.path.abspath(folder)
    return os.path.commonpath([path, folder]) == folder if "://" not in path else False


class Lengths:
    """Steps of runs; those whose epochs are fixed have their data looked at, once for equal ones.

    Args:
      num_replicas: R.
    """

    def __init__(self, num_replicas: int):
        self._num_replicas = num_replicas
        self._known: dict[tuple, int] = {}

    def steps(self, job: Job) -> int:
        """Returns the steps of a whole run."""
        if job.config.train.train_steps:
            return job.config.train.train_steps
        alike = job.config.replace(
            checkpoint=None, learning_rate=1.0, weight_decay=0.0, eval_name=None, mode="train"
        )
        key = (data_json.name_of(job.builder), *alike.to_dict().items())
        if key not in self._known:
            with contextlib.redirect_stdout(io.StringIO()):  # its notes are the run's to print
                plan = make_plan(alike, job.builder, self._num_replicas)
            self._known[key] = plan.total_steps
        return self._known[key]


class Cases:
    """The cases of splits, each split read once."""

    def __init__(self) -> None:
        self._read: dict[tuple, data_cases.Cases] = {}

    def of(self, config: Config, builder, split: str) -> data_cases.Cases:
        """Returns the cases of a split, read as the configuration says."""
        key = data_json.name_of(builder), split, LabelReading.of(config.data)
        if key not in self._read:
            self._read[key] = data_cases.read_cases(open_bags(config, builder, split), 0)
        return self._read[key]

    def seen(self, config: Config, builder, split: str) -> int:
        """Returns how many images of a split are encoded, at most --max_bag_size of a case."""
        counts = self.of(config, builder, split).num_images
        return int(np.minimum(counts, config.data.max_bag_size).sum())

    def images_of_evaluation(self, job: Job, saves: int) -> int:
        """Returns how many images pass an encoder in one evaluation of a run.

        Args:
          job: the run.
          saves: checkpoints that it has made by then.
        """
        config, data = job.config, job.config.data
        evaluated = self.seen(config, job.builder, data.eval_split)
        if config.run.train_mode == "finetune":
            if not data.selection_split:
                return evaluated
            candidates = min(config.run.keep_checkpoint_max, saves)
            return evaluated + candidates * self.seen(config, job.builder, data.selection_split)
        models = 2 + bool(config.run.checkpoint)  # trained, untrained, before this run
        of_train = self.seen(config, job.builder, data.train_split)
        return models * (evaluated + of_train) + min(_CALIBRATED, of_train)


def num_saves(config: Config, num_examples: int, total_steps: int) -> int:
    """Returns how many checkpoints a run makes, as `train` does."""
    run = config.run
    epoch = round(num_examples / config.train.train_batch_size)
    every = run.checkpoint_steps or max(1, run.checkpoint_epochs * epoch)
    return math.ceil(total_steps / every)


def seconds_left(kind: Kind, lengths: Lengths, cases: Cases) -> float:
    """Returns the time, seconds, that the unfinished runs of a kind take from here."""
    shown, seconds = kind.shown, 0.0
    per_image = shown.seconds_per_step / shown.images_per_step / 3
    for job, state in zip(kind.jobs, kind.states):
        if state.finished:
            continue
        total = lengths.steps(job)
        if state.step < total:
            seconds += shown.start_seconds + (total - state.step) * shown.seconds_per_step
        if state.step == 0 and job.config.train.init_head == "probe":
            of_train = cases.seen(job.config, job.builder, job.config.data.train_split)
            seconds += of_train * job.config.data.label_fraction * per_image + shown.start_seconds
        if job.evaluated:
            saves = num_saves(job.config, shown.plan.num_examples, total)
            looked_at = cases.images_of_evaluation(job, saves)
            seconds += looked_at * per_image + shown.start_seconds
    return seconds


def disk_bytes(kind: Kind, lengths: Lengths) -> int:
    """Returns what checkpoints and SavedModels of the unfinished runs of a kind take on disk, bytes."""
    found = 0
    for job, state in zip(kind.jobs, kind.states):
        if state.finished:
            continue
        saves = num_saves(job.config, kind.shown.plan.num_examples, lengths.steps(job))
        found += min(saves, job.config.run.keep_checkpoint_max) * kind.shown.state_bytes
        found += (
            min(1, job.config.run.keep_hub_module_max) * job.evaluated * kind.shown.encoder_bytes
        )
    return found


def check_folder(model_dir: str) -> None:
    """Refuses a folder in which a run could not write; makes nothing.

    Raises:
      UserError: it, or the folder that it would be made in, is no folder or cannot be written.
    """
    if "://" in model_dir:
        return
    above = os.path.abspath(model_dir)
    while not os.path.lexists(above):
        above = os.path.dirname(above)
    if not os.path.isdir(above):
        raise UserError(f"--model_dir={model_dir} cannot be used: {above} is a file.")
    if not os.access(above, os.W_OK | os.X_OK):
        raise UserError(
            f"--model_dir={model_dir} cannot be used: no permission to write in {above}."
        )
