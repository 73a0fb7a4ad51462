"""What --dry_run prints of a forecast: data, each kind of run, and the sums."""

from __future__ import annotations

import dataclasses
import datetime
import os
import shutil
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from simclr_med.build import labelled_cases, open_bags
from simclr_med.config import Config
from simclr_med.data import cases as data_cases
from simclr_med.experiments import forecast, study_plan
from simclr_med.experiments.forecast import Kind, Row
from simclr_med.experiments.forecast_data import Cases, Lengths
from simclr_med.experiments.forecast_jobs import Job
from simclr_med.run_folder import data_json, gfile, terminal
from simclr_med.training import startup


def show_data(jobs: list[Job], cases: Cases, start_time: float) -> None:
    """Prints cases, images, patients and labelled cases of each split that the runs read.

    Args:
      jobs: the runs.
      cases: of splits, remembered.
      start_time: of the command, seconds since 1970: a newer copy was prepared by it.
    """
    rows: dict[tuple[str, str], list[str]] = {}
    used: dict[tuple[str, str], dict[str, None]] = {}
    for job in jobs:
        for config, builder, split, use in _reads(job):
            key = data_json.name_of(builder), split
            used.setdefault(key, {})[use] = None
            if key not in rows:
                rows[key] = _counts(cases.of(config, builder, split))
    builders = {data_json.name_of(b): b for job in jobs for _, b, *_ in _reads(job)}
    columns = ["split", "for", "cases", "images", "patients", "labelled cases"]
    for name, builder in builders.items():
        is_new = _changed(os.path.join(builder.data_path, "dataset_info.json")) >= start_time
        when = "prepared by this dry run" if is_new else "prepared before"
        lines = [
            [split, ", ".join(used[of, split]), *counts]
            for (of, split), counts in rows.items()
            if of == name
        ]
        terminal.show([(f"Data: {name}, {when}, in {builder.data_path}", columns, lines)])
    _show_labels(jobs)


def _changed(path: str) -> float:
    """Returns when a file was changed, seconds since 1970; of a remote one in whole seconds."""
    return gfile.stat(path).mtime_nsec / 1e9 if "://" in path else os.stat(path).st_mtime


def _reads(job: Job) -> Iterator[tuple[Config, Any, str, str]]:
    """Yields (configuration, builder, split, what for) of all that a run reads."""
    data = job.config.data
    yield job.config, job.builder, data.train_split, "training"
    if job.config.run.train_mode == "finetune" and data.selection_split:
        yield job.config, job.builder, data.selection_split, "selection"
    if job.evaluated and data.eval_split not in (data.train_split, data.selection_split):
        yield job.config, job.builder, data.eval_split, "evaluation"
    for config, builder in job.elsewhere:
        yield config, builder, config.data.eval_split, "evaluation elsewhere"


def _counts(read: data_cases.Cases) -> list[str]:
    """Returns cases, images, patients and labelled cases."""
    counts = len(read.ids), read.num_images.sum(), len(set(read.patients)), read.labelled.sum()
    return [f"{count:,}" for count in counts]


def _show_labels(jobs: list[Job]) -> None:
    """Prints how many labelled cases train at each label fraction, unless all do."""
    first: dict[float, Job] = {}
    of_labels = [job for job in jobs if job.config.run.train_mode == "finetune"]
    for job in of_labels or jobs:
        first.setdefault(job.config.data.label_fraction, job)
    if set(first) == {1.0}:
        return
    words = []
    for fraction, job in sorted(first.items()):
        bags = open_bags(job.config, job.builder, job.config.data.train_split)
        if bags.class_names:
            words.append(f"{labelled_cases(job.config, bags)[1].sum():,} at {fraction:g}")
    print(f"Labelled cases that train, by --label_fraction (first seed): {', '.join(words)}.")


def show_kind(kind: Kind, lengths: Lengths, strategy: tf.distribute.Strategy) -> None:
    """Prints model, steps, rates and measurement of a kind of run.

    Args:
      kind: measured.
      lengths: of its runs.
      strategy: it was measured with.
    """
    rehearsal, plan = kind.rehearsal, kind.rehearsal.plan
    config, batch = plan.config, plan.config.train.train_batch_size
    parts = ", ".join(
        f"{n} {count:,}" for n, count in rehearsal.parameters.items() if n != "trained"
    )
    print(
        f"Model: {study_plan.architecture(config)}, {config.augment.image_size} px. Parameters: "
        f"{parts}; trained: {rehearsal.parameters['trained']:,}."
    )
    before, now = kind.jobs[0].config.to_dict(), config.to_dict()
    settled = [f"--{n}={now[n]}" for n, value in before.items() if value == "auto" != now[n]]
    if settled:
        by = f"the weights of {config.run.checkpoint}" if config.run.checkpoint else "default"
        print(f"auto means, by {by}: {', '.join(settled)}.")
    steps = sorted({lengths.steps(job) for job in kind.jobs})
    what = "images"
    if plan.method.keeps_bags:
        what = "bags" if plan.num_examples == plan.bags.num_bags else "draws of bags"
    epochs = [count * batch / plan.num_examples for count in steps]
    fractions = {job.config.data.label_fraction for job in kind.jobs}
    of_which = f", at --label_fraction={config.data.label_fraction:g}" * (len(fractions) > 1)
    print(
        f"Length: {_range(steps, ',.0f')} steps, batch {batch}: {_range(epochs, ',.1f')} epochs of "
        f"{plan.num_examples:,} {what}{of_which}."
    )
    optim = config.optim
    peaks = {job.config.optim.learning_rate for job in kind.jobs}
    rates = f"{plan.schedule.numbers['peak']:.4g}" if len(peaks) == 1 else "by run"
    print(
        f"Learning rate: {optim.optimizer}, peak {rates} (--learning_rate={_range(peaks, 'g')}, "
        f"{optim.learning_rate_scaling} in the batch), warm-up of "
        f"{plan.schedule.numbers['warmup_steps']:,} steps, then cosine to 0."
    )
    print(f"Machine: {startup.machine(config, strategy)}.")
    times = " ".join(f"{seconds:.2f}" for seconds in rehearsal.step_seconds)
    print(
        f"Measured: {times} s a step, median {rehearsal.seconds_per_step:.2f} s "
        f"({rehearsal.images_per_step / rehearsal.seconds_per_step:,.0f} images/s); first step after "
        f"{rehearsal.start_seconds:.1f} s."
    )
    on_device = ", ".join(f"{n} {_size(b)}" for n, b in rehearsal.device_bytes.items())
    resident = _size(kind.host_bytes) if kind.host_bytes else "unknown on this system"
    print(f"Memory: about {resident}{f'; on {on_device}' if on_device else ''}.")


def show_totals(kinds: list[Kind], rows: list[Row], model_dir: str) -> None:
    """Prints runs, those that are finished, time left and disk, by kind and in all.

    Args:
      kinds: measured.
      rows: of all parts of the command.
      model_dir: of the command.
    """
    if len(rows) > 1:
        sums = (sum(column) for column in zip(*(dataclasses.astuple(row)[1:] for row in rows)))
        rows = [*rows, Row("in all", *sums)]
    cells = [
        [
            row.title,
            str(row.runs),
            str(row.finished),
            str(datetime.timedelta(seconds=round(row.seconds))),
            _size(row.disk),
        ]
        for row in rows
    ]
    print()
    columns = ["runs", "number", "finished", "time left", "disk"]
    terminal.show([("What is left to do", columns, cells)])
    steps = [s.step for kind in kinds for s in kind.states if s.step and not s.finished]
    if steps:
        print(f"Unfinished runs go on from step {', '.join(f'{step:,}' for step in steps)}.")
    print(forecast.EVALUATION_RULE)
    print(forecast.MEMORY_RULE)
    if (free := _free_bytes(model_dir)) is not None:
        print(f"Free disk at --model_dir: {_size(free)}.")
        if free < rows[-1].disk:
            print("Warning: that is less than the runs need.")


def _range(values, form: str) -> str:
    """Returns "3", or "3 to 5" of several."""
    low, high = (format(value, form) for value in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _size(num_bytes: int) -> str:
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 1e9 else f"{num_bytes / 1e6:.0f} MB"


def _free_bytes(model_dir: str) -> int | None:
    """Returns the free space where a folder is, or would be made; None of a remote one."""
    if "://" in model_dir:
        return None
    above = os.path.abspath(model_dir)
    while not os.path.exists(above):
        above = os.path.dirname(above)
    return shutil.disk_usage(above).free
