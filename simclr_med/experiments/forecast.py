"""What the runs of a command take, from measured steps: time, memory and disk.

Runs whose steps cost the same are of one kind, and each kind is measured once
(`training.rehearsal`). What is not measured follows stated rules: `EVALUATION_RULE`, `MEMORY_RULE`.
"""

from __future__ import annotations

import dataclasses
import math
import os

from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.errors import UserError
from simclr_med.experiments import runs
from simclr_med.experiments.forecast_data import Cases, Fits, Lengths
from simclr_med.experiments.forecast_jobs import Job, State, state_of
from simclr_med.run_folder import gfile
from simclr_med.training.rehearsal import Rehearsal, rehearse

EVALUATION_RULE = (
    "Times are of this machine as busy as it is now. Evaluations are not measured: an image counts a "
    "third of its share of a training step (a forward pass is one of three passes); each encoder, "
    "SavedModel and set of figures the time to start once more; a probe its fit to random features."
)
MEMORY_RULE = (
    "Memory is the most that these steps held, and one more copy of the weights and the optimizer's "
    "variables, which saving makes. Evaluations are not in it."
)
_CALIBRATED = 4096  # images at most that set BatchNorm's statistics, see evaluation/baselines.py


@dataclasses.dataclass(frozen=True)
class Kind:
    """The runs whose steps cost the same, and the rehearsal of one of them.

    Attributes:
      title: in words.
      jobs: its runs.
      states: of these runs.
      rehearsal: of one of them.
    """

    title: str
    jobs: list[Job]
    states: list[State]
    rehearsal: Rehearsal

    @property
    def host_bytes(self) -> int | None:
        """By MEMORY_RULE; None where the system does not say what was resident."""
        resident = self.rehearsal.host_bytes
        return None if resident is None else resident + self.rehearsal.state_bytes


@dataclasses.dataclass(frozen=True)
class Row:
    """Runs of one part of a command: how many, how many are finished, what is left.

    Attributes:
      title: in words.
      runs: their number.
      finished: how many of them are.
      seconds: that the others take from here.
      disk: bytes that the others leave in --model_dir.
    """

    title: str
    runs: int
    finished: int
    seconds: float
    disk: int


def measure(title: str, jobs: list[Job], model_dir: str, strategy) -> Kind:
    """Returns the measured step time and memory of runs of one kind, from the first unfinished one.

    Where the weights that it starts from do not exist yet, random ones are used; the cost is the same.

    Args:
      title: of the kind, in words.
      jobs: its runs, whose steps cost the same.
      model_dir: of the command.
      strategy: from `build.set_up`.

    Raises:
      UserError: a mistake that the run would find before its first step; out of memory.
    """
    states = [state_of(job, model_dir) for job in jobs]
    unfinished = [job for job, state in zip(jobs, states, strict=True) if not state.finished]
    job = (unfinished or jobs)[0]
    config, folder = job.config, os.path.join(model_dir, job.name) if job.name else model_dir
    start = config.run.checkpoint
    if start and _is_below(start, model_dir) and not checkpoint_files.list_prefixes(start):
        config = config.replace(checkpoint=None)
    has_begun = gfile.exists(os.path.join(folder, "config.json")) and job.state is None
    try:
        rehearsal = rehearse(config, job.builder, folder if has_begun else None, strategy)
    finally:
        runs.forget_models()
    return Kind(title, jobs, states, rehearsal)


def _is_below(path: str, folder: str) -> bool:
    path, folder = os.path.abspath(path), os.path.abspath(folder)
    return path.startswith(folder + os.sep)


def rows(
    kinds: list[Kind],
    probes: list[Job],
    lengths: Lengths,
    cases: Cases,
    fits: Fits,
    model_dir: str,
) -> list[Row]:
    """Returns a row for each part of each kind of run, then one of the probes if there are any.

    Args:
      kinds: measured; the last is of the encoder that the probes see.
      probes: runs that train nothing.
      lengths: of runs.
      cases: of splits.
      fits: of probes.
      model_dir: of the command.
    """
    table = []
    for kind in kinds:
        parts: dict[str, list[tuple[Job, State]]] = {}
        for job, state in zip(kind.jobs, kind.states, strict=True):
            parts.setdefault(job.what, []).append((job, state))
        for what, part in parts.items():
            unfinished = [(job, state.step) for job, state in part if not state.finished]
            of_part = [
                (_seconds(*run, kind.rehearsal, lengths, cases, fits), run[0]) for run in unfinished
            ]
            table.append(
                Row(
                    f"{kind.title}: {what}" if what else kind.title,
                    len(part),
                    len(part) - len(unfinished),
                    sum(seconds for seconds, _ in of_part),
                    sum(_disk(job, kind.rehearsal, lengths) for _, job in of_part),
                )
            )
    if probes:
        left_probes = [job for job in probes if not state_of(job, model_dir).finished]
        encoders = {job.encoder: job for job in left_probes}  # one pass serves all of an encoder
        rehearsal = kinds[-1].rehearsal
        seconds = sum(_seconds_of_features(job, rehearsal, cases) for job in encoders.values())
        seconds += sum(fits.seconds(job, rehearsal.num_features) for job in left_probes)
        done = len(probes) - len(left_probes)
        table.append(Row("probes of frozen features", len(probes), done, seconds, 0))
    return table


def seconds_per_image(rehearsal: Rehearsal) -> float:
    """Returns the time of a forward pass of an image, by EVALUATION_RULE."""
    return rehearsal.seconds_per_step / rehearsal.images_per_step / 3


def _seconds(
    job: Job, step: int, rehearsal: Rehearsal, lengths: Lengths, cases: Cases, fits: Fits
) -> float:
    """Returns the time that a run takes from a step on, with its evaluations."""
    config, data, total = job.config, job.config.data, lengths.steps(job)
    seconds, images, starts, num_fits = 0.0, 0.0, 0, 0
    if step < total:
        seconds, starts = (total - step) * rehearsal.seconds_per_step, 1
    if step == 0 and config.train.init_head == "probe":
        images += cases.seen(config, job.builder, data.train_split) * data.label_fraction
        starts, num_fits = starts + 1, 1
    for elsewhere, builder in job.elsewhere:
        images += cases.seen(elsewhere, builder, elsewhere.data.eval_split)
        starts += 1
    if job.evaluated:
        evaluated = cases.seen(config, job.builder, data.eval_split)
        starts += (config.run.keep_hub_module_max > 0) + job.pictures
        if config.run.train_mode == "finetune":
            candidates = min(config.run.keep_checkpoint_max, _saves(job, rehearsal, lengths))
            images += evaluated
            images += candidates * cases.seen(config, job.builder, data.selection_split)
            starts += 1
        else:  # probes of the trained encoder, the untrained one and that of --checkpoint
            of_train = cases.seen(config, job.builder, data.train_split)
            encoders = 2 + bool(config.run.checkpoint)
            images += encoders * (evaluated + of_train) + min(_CALIBRATED, of_train)
            starts, num_fits = starts + encoders, num_fits + encoders
    seconds += starts * rehearsal.start_seconds + images * seconds_per_image(rehearsal)
    return seconds + (num_fits * fits.seconds(job, rehearsal.num_features) if num_fits else 0.0)


def _seconds_of_features(job: Job, rehearsal: Rehearsal, cases: Cases) -> float:
    """Returns the time of a pass over all that the probes of an encoder see."""
    config, data = job.config, job.config.data
    splits = (data.train_split, data.selection_split, data.eval_split)
    images = sum(cases.seen(config, job.builder, split) for split in splits)
    for elsewhere, builder in job.elsewhere:
        images += cases.seen(elsewhere, builder, elsewhere.data.eval_split)
    return rehearsal.start_seconds + images * seconds_per_image(rehearsal)


def _saves(job: Job, rehearsal: Rehearsal, lengths: Lengths) -> int:
    """Returns how many checkpoints a run makes, as `train` does."""
    run = job.config.run
    epoch = round(rehearsal.plan.num_examples / job.config.train.train_batch_size)
    every = run.checkpoint_steps or max(1, run.checkpoint_epochs * epoch)
    return math.ceil(lengths.steps(job) / every)


def _disk(job: Job, rehearsal: Rehearsal, lengths: Lengths) -> int:
    """Returns what checkpoints and SavedModels of a run take when it is done, bytes."""
    run = job.config.run
    num_checkpoints = min(_saves(job, rehearsal, lengths), run.keep_checkpoint_max)
    num_checkpoints = num_checkpoints if job.keeps is None else min(job.keeps, num_checkpoints)
    saved_models = min(1, run.keep_hub_module_max) * job.evaluated
    return num_checkpoints * rehearsal.state_bytes + saved_models * rehearsal.encoder_bytes


def check_folder(model_dir: str) -> None:
    """Checks that a run could write to a folder; creates nothing.

    Raises:
      UserError: it, or the folder in which it would be created, is a file or cannot be written to.
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
