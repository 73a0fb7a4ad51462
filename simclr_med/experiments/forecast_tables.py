"""What --dry_run prints of a forecast: data, each kind of run, and the sums."""

from __future__ import annotations

import datetime
import os
import shutil

import tensorflow as tf

from simclr_med.build import labelled_cases, open_bags
from simclr_med.experiments import forecast, study_plan
from simclr_med.experiments.forecast import Cases, Job, Kind, Lengths
from simclr_med.run_folder import data_json, gfile, terminal
from simclr_med.training import startup


def show_data(jobs: list[Job], cases: Cases, began: float) -> None:
    """Prints cases, images, patients and labelled cases of each split that the runs read.

    Args:
      jobs: the runs.
      cases: of splits, remembered.
      began: when the command did, seconds since 1970: a copy that is younger was prepared by it.
    """
    uses: dict[tuple, dict] = {}
    for job in jobs:
        for split, use in _splits_of(job).items():
            uses.setdefault((data_json.name_of(job.builder), split, job.config.data), {})[use] = job
    rows: dict[tuple, list[str]] = {}
    for (name, split, _), found in uses.items():
        job = next(iter(found.values()))
        bags = open_bags(job.config, job.builder, split)
        read = cases.of(job.config, job.builder, split)
        counts = len(read.ids), read.num_images.sum(), len(set(read.patients))
        labelled = f"{read.labelled.sum():,}" if bags.class_names else "no labels"
        before = rows.get((name, split), ["", ""])[1].split(", ")
        used = ", ".join(filter(None, dict.fromkeys([*before, *found])))
        rows[name, split] = [split, used, *(f"{n:,}" for n in counts), labelled]
    builders = {data_json.name_of(job.builder): job.builder for job in jobs}
    columns = ["split", "for", "cases", "images", "patients", "labelled cases"]
    for name, builder in builders.items():
        made = _changed(os.path.join(builder.data_path, "dataset_info.json")) >= began
        when = "prepared by this dry run" if made else "prepared before"
        lines = [row for (dataset, _), row in rows.items() if dataset == name]
        terminal.show([(f"Data: {name}, {when}, in {builder.data_path}", columns, lines)])
    _show_labels(jobs)


def _changed(path: str) -> float:
    """Returns when a file was changed, seconds since 1970; of a remote one in whole seconds."""
    return gfile.stat(path).mtime_nsec / 1e9 if "://" in path else os.stat(path).st_mtime


def _splits_of(job: Job) -> dict[str, str]:
    """Returns {split: what for} of a run."""
    data = job.config.data
    used = {data.train_split: "training"}
    if job.config.run.train_mode == "finetune" and data.selection_split:
        used[data.selection_split] = "selection"
    if job.evaluated:
        used.setdefault(data.eval_split, "evaluation")
    return used


def _show_labels(jobs: list[Job]) -> None:
    """Prints how many labelled cases train at each label fraction, unless all do."""
    first: dict[float, Job] = {}
    for job in jobs:
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
    """Prints model, steps, rates and measurement of a kind of run."""
    shown, plan = kind.shown, kind.shown.plan
    config, batch = plan.config, plan.config.train.train_batch_size
    parts = ", ".join(f"{n} {count:,}" for n, count in shown.parameters.items() if n != "trained")
    print(
        f"Model: {study_plan.architecture(config)}, {config.augment.image_size} px. Parameters: "
        f"{parts}; trained: {shown.parameters['trained']:,}."
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
    times = " ".join(f"{seconds:.2f}" for seconds in shown.step_seconds)
    print(
        f"Measured: {times} s a step, median {shown.seconds_per_step:.2f} s "
        f"({shown.images_per_step / shown.seconds_per_step:,.0f} images/s); first step after "
        f"{shown.start_seconds:.1f} s."
    )
    on_device = ", ".join(f"{n} {_size(b)}" for n, b in shown.device_bytes.items())
    resident = _size(kind.host_bytes) if kind.host_bytes else "unknown on this system"
    print(f"Memory: about {resident}{f'; on {on_device}' if on_device else ''}.")


def show_totals(kinds: list[Kind], lengths: Lengths, cases: Cases, model_dir: str) -> None:
    """Prints runs, those that are finished, time left and disk, by kind and in all."""
    rows, totals = [], [0, 0, 0.0, 0]
    for kind in kinds:
        done = sum(state.finished for state in kind.states)
        seconds = forecast.seconds_left(kind, lengths, cases)
        numbers = [len(kind.jobs), done, seconds, forecast.disk_bytes(kind, lengths)]
        totals = [total + number for total, number in zip(totals, numbers)]
        rows.append([kind.title, *_cells(numbers)])
    if len(kinds) > 1:
        rows.append(["in all", *_cells(totals)])
    print()
    columns = ["runs", "number", "finished", "time left", "disk"]
    terminal.show([("What is left to do", columns, rows)])
    begun = [s.step for kind in kinds for s in kind.states if s.step and not s.finished]
    if begun:
        print(f"Unfinished runs go on from step {', '.join(f'{step:,}' for step in begun)}.")
    print(forecast.EVALUATION_RULE)
    print(forecast.MEMORY_RULE)
    if (free := _free_bytes(model_dir)) is not None:
        print(f"Free disk at --model_dir: {_size(free)}.")
        if free < totals[3]:
            print("Warning: that is less than the runs need.")


def _cells(numbers: list) -> list[str]:
    count, done, seconds, disk = numbers
    return [str(count), str(done), str(datetime.timedelta(seconds=round(seconds))), _size(disk)]


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
