"""What a study of an arms file takes: stages, weights, operations; and time, from one measured encoder.

Encoders that fill a pod are not tried here. The one of fewest operations makes a few steps of few images;
the others take as much longer as they compute more.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.experiments import runs, study_plan
from simclr_med.experiments.forecast_data import Cases, Lengths
from simclr_med.experiments.forecast_jobs import Job, State, state_of
from simclr_med.experiments.study_plan import Plan
from simclr_med.models import build_encoder, encoder_name
from simclr_med.models.resnet import SMALL_IMAGE
from simclr_med.run_folder import terminal
from simclr_med.training.rehearsal import MEASURED, rehearse

# Azizi et al. 2021, section 4.2: "With 64 TPU cores, it takes ~12 hours to pretrain a ResNet-50 (1x) with
# batch size 512 and for 100 epochs"; of their 454,295 images, two views each, at 224 px.
_PAPERS_CORE_SECONDS = 64 * 12 * 3600.0
_PAPERS_VIEWS = 100 * 454_295 * 2
_PAPERS_OPERATIONS = (
    3 * 8_250_995_712
)  # of a view, forward and backward: `size_of` ResNet-50, 224 px
_BATCH = 4  # of the measured steps
_PASSES = 3  # forward, and backward to inputs and to weights: as many operations each
RULE = (
    "Operations: of convolutions and dense layers, a step three times its forward pass; evaluations are "
    f"counted, tracing and reading are not. Here: {{encoder}}, batch {_BATCH}, median of {MEASURED} "
    "steps; others by their operations. TPU core-hours: at the pace of the paper's section 4.2 "
    "(ResNet-50 1x, 100 epochs of 454,295 images in 12 hours on 64 cores)."
)


@functools.cache
def size_of(model: Any, image_size: int) -> tuple[int, int]:
    """Returns (operations of a forward pass of an image, weights) of an encoder; nothing is computed.

    Args:
      model: `ModelConfig`.
      image_size: px.
    """
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder.float_operation()
    options["output"] = "none"
    with tf.Graph().as_default() as graph:
        encoder = build_encoder(
            encoder_name(model),
            width=model.width_multiplier,
            sk_ratio=model.sk_ratio,
            se_ratio=model.se_ratio,
            small_images=image_size <= SMALL_IMAGE,
        )
        encoder(
            tf.compat.v1.placeholder(tf.float32, [1, image_size, image_size, 3]), training=False
        )
        count = int(profiler.profile(graph, options=options).total_float_ops)
        return count, sum(int(np.prod(weight.shape)) for weight in encoder.trainable_variables)


def show(plan: Plan, jobs: list[Job], model_dir: str, strategy: tf.distribute.Strategy) -> None:
    """Prints the plan of a study, and what is left to do: runs, operations, hours.

    Args:
      plan: of the study.
      jobs: its runs.
      model_dir: of the study.
      strategy: from `build.set_up`.

    Raises:
      UserError: a mistake that the measured run would find before its first step.
    """
    _show_stages(plan)
    lengths, cases = Lengths(strategy.num_replicas_in_sync), Cases()
    states = [state_of(job, model_dir) for job in jobs]
    work: dict[tuple[str, str], list[float]] = {}
    for job, state in zip(jobs, states, strict=True):
        row = work.setdefault(_part(plan, job), [0, 0, 0, 0.0])
        row[0] += 1
        row[1] += state.finished
        if not state.finished:
            row[2] += _disk(job)
            row[3] += _operations_left(job, state, lengths, cases)
    seconds_per_operation, encoder = _measured(jobs, strategy)
    _show_work(work, seconds_per_operation)
    print(RULE.format(encoder=encoder))


def _show_stages(plan: Plan) -> None:
    """Prints stages and arms, what each begins with, and the arms that are left out."""
    titles = {stage.folder: stage.title for stage in plan.stages}
    cells = []
    for stage in plan.stages:
        start, train = stage.start, stage.config.train
        if isinstance(start, study_plan.Stage):
            start = f"{start.title} (above)"
        length = f"{train.train_steps:,} steps"
        if not train.train_steps:
            length = f"{train.train_epochs:,} epochs"
        size = f"{train.train_batch_size:,} x {stage.config.augment.image_size} px"
        cells.append([stage.title, start or "random weights", length, size])
    columns = ["stage of pretraining", "begins with", "length", "batch"]
    terminal.show([("Each stage is run once, for all arms that go on from it", columns, cells)])
    cells = []
    for arm in plan.arms:
        titles_of_start = (title for f, title in titles.items() if str(arm.checkpoint).endswith(f))
        begins = next(titles_of_start, None) or arm.checkpoint or "random weights"
        cells.append([arm.name, begins, f"{len(plan.fractions_of(arm))}"])
    terminal.show([("Arms", ["arm", "fine-tuned from", "label fractions"], cells)])
    if left_out := (plan.layout or {}).get("left_out", []):
        cells = [[row["arm"], row["path"], row["where"]] for row in left_out]
        title = f"Left out, as their weights are not there: {len(left_out)}"
        terminal.show([(title, ["arm", "looked for", "published at"], cells)])


def _part(plan: Plan, job: Job) -> tuple[str, str]:
    """Returns (what, architecture) of a run."""
    what = job.what or "pretraining"
    names = {"finetune": "fine-tuning", "probe_finetune": "fine-tuning from the probe"}
    return names.get(what, what), study_plan.architecture(job.config)


def _operations_left(job: Job, state: State, lengths: Lengths, cases: Cases) -> float:
    """Returns the operations that a run has before it."""
    config, data = job.config, job.config.data
    of_view, _ = size_of(config.model, config.augment.image_size)
    images = 0.0
    if not job.encoder:
        views = 2.0
        if config.run.train_mode == "finetune":  # an example is a case
            of_train = cases.of(config, job.builder, data.train_split)
            views = cases.seen(config, job.builder, data.train_split) / len(of_train.ids)
        steps = lengths.steps(job) - state.step
        images += _PASSES * steps * config.train.train_batch_size * views
    splits = [data.eval_split, *([data.selection_split] if data.selection_split else [])]
    images += sum(cases.seen(config, job.builder, split) for split in splits)
    for other, builder in job.elsewhere:
        images += cases.seen(other, builder, other.data.eval_split)
    return images * of_view


def _disk(job: Job) -> int:
    """Returns what is left of a run's checkpoints, bytes: weights and the optimizer's variables."""
    run, optim = job.config.run, job.config.optim
    num_checkpoints = run.keep_checkpoint_max if job.keeps is None else job.keeps
    if job.encoder or not num_checkpoints:
        return 0
    slots = 2 if optim.optimizer == "adam" else 1
    return (
        num_checkpoints
        * 4
        * (1 + slots)
        * size_of(job.config.model, job.config.augment.image_size)[1]
    )


def _measured(jobs: list[Job], strategy) -> tuple[float, str]:
    """Returns (seconds of an operation on this machine, the encoder that was measured)."""
    training = [job for job in jobs if not job.encoder]
    if not training:
        raise UserError("--dry_run of a study that trains nothing: there is nothing to measure.")

    def cost(job: Job) -> int:
        return size_of(job.config.model, job.config.augment.image_size)[0]

    job = min(training, key=cost)
    batch = _BATCH * strategy.num_replicas_in_sync
    config: Config = job.config.replace(checkpoint=None, train_batch_size=batch, init_head="random")
    what = f"{study_plan.architecture(config)}, {config.augment.image_size} px, batch {batch}"
    print(f"\nMeasuring {what} ...", flush=True)
    try:
        rehearsal = rehearse(config, job.builder, None, strategy)
    finally:
        runs.forget_models()
    operations = _PASSES * rehearsal.images_per_step * cost(job)
    return rehearsal.seconds_per_step / operations, study_plan.architecture(config)


def _show_work(work: dict[tuple[str, str], list[float]], seconds_per_operation: float) -> None:
    paper = _PAPERS_CORE_SECONDS / (_PAPERS_VIEWS * _PAPERS_OPERATIONS)

    def line(title: list[str], numbers: list[float]) -> list[str]:
        number, finished, disk, count = numbers
        hours = [count * seconds / 3600 for seconds in (seconds_per_operation, paper)]
        return [
            *title,
            *(f"{number:,.0f}", f"{finished:,.0f}", f"{disk / 1e9:,.1f} GB", f"{count:.1e}"),
            *(f"{of:,.2f}" if of < 10 else f"{of:,.0f}" for of in hours),
        ]

    cells = [line(list(part), numbers) for part, numbers in work.items()]
    total: Iterator[float] = (sum(column) for column in zip(*work.values()))
    cells.append(line(["in all", ""], list(total)))
    columns = [
        "runs",
        "encoder",
        "number",
        "finished",
        "disk",
        "operations",
        "hours here",
        "TPU core-hours",
    ]
    terminal.show([("What is left to do", columns, cells)])
