"""A few real steps of a run that leave no file: how long a step takes, and in how much memory.

For `--dry_run`. Data, model, optimiser, strategy and step are those of `train`; the folder of the run
is read where one has begun, and never written.
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from typing import Any

import tensorflow as tf

from simclr_med import checkpoints, distribution, out_of_memory, run_folder
from simclr_med.checkpoints.weights import input_range
from simclr_med.config import Config
from simclr_med.keras_api import keras
from simclr_med.models import Model
from simclr_med.run_folder import data_json
from simclr_med.training.loop import device_ops_of
from simclr_med.training.plan import Plan, batches_from, make_plan, views_per_example
from simclr_med.training.step import Trained, make_run_steps
from simclr_med.training.train import initial_weights, kept_classes, make_trained

WARM_UP, MEASURED = 2, 5  # steps


@dataclasses.dataclass(frozen=True)
class Rehearsal:
    """Memory and time of a run, measured in its first steps.

    Attributes:
      plan: of the run, its input range settled.
      parameters: {part of the model: weights in it}, without moving statistics, and "trained": those
        that the optimiser changes.
      state_bytes: of weights, moving statistics and the optimiser's variables: a checkpoint's size.
      encoder_bytes: of the encoder's variables: a SavedModel's size.
      start_seconds: from nothing to the end of the first step: model, graph, first batch.
      step_seconds: of each of the MEASURED steps after WARM_UP others.
      images_per_step: views that pass the network in a step, on average.
      host_bytes: most resident memory of this process meanwhile; None where the system does not say.
      device_bytes: {GPU: most of its memory in use meanwhile}.
      num_features: width of the encoder's output, d.
    """

    plan: Plan
    parameters: dict[str, int]
    state_bytes: int
    encoder_bytes: int
    start_seconds: float
    step_seconds: tuple[float, ...]
    images_per_step: float
    host_bytes: int | None
    device_bytes: dict[str, int]
    num_features: int

    @property
    def seconds_per_step(self) -> float:
        """The median: the first steps after a pause find batches that were read ahead."""
        return statistics.median(self.step_seconds)


def rehearse(
    config: Config, builder, model_dir: str | None, strategy: tf.distribute.Strategy
) -> Rehearsal:
    """Makes WARM_UP + MEASURED steps of a run in memory, and returns what they showed.

    Args:
      config: of the run.
      builder: a prepared TFDS builder.
      model_dir: of the run, which may have begun: then it must be the same run, and its data order is
        kept. None: a run of which no file is looked at.
      strategy: from `build.set_up`.

    Raises:
      UserError: the mistakes that `train` would find before its first step; out of memory.
    """
    _forget_peaks()
    began = time.monotonic()
    weights = initial_weights(config, model_dir)
    config = input_range.resolve(config, model_dir, weights)
    order = run_folder.data_order(model_dir) if model_dir else None
    num_streams = run_folder.num_streams(model_dir) if model_dir else None
    plan = make_plan(config, builder, strategy.num_replicas_in_sync, order, num_streams)
    if model_dir:
        name = data_json.name_of(builder)
        run_folder.check_same_run(model_dir, config, name, plan.bags.class_names)
    with strategy.scope():
        trained = make_trained(plan)
    if weights:
        print(checkpoints.load(trained.model, weights, kept_classes(config, plan.bags)))
    with out_of_memory.explained(config, strategy.num_replicas_in_sync):
        ends, images_per_step = _steps(plan, trained, strategy)
    times = [after - before for before, after in zip(ends, ends[1:])]
    return Rehearsal(
        plan=plan,
        parameters=_parameters(trained),
        state_bytes=_bytes_of(_state(trained)),
        encoder_bytes=_bytes_of(trained.model.encoder.variables),
        start_seconds=ends[0] - began,
        step_seconds=tuple(times[-MEASURED:]),
        images_per_step=images_per_step,
        host_bytes=_host_peak(),
        device_bytes=_device_peaks(),
        num_features=trained.model.encoder.num_features,
    )


def _steps(plan: Plan, trained: Trained, strategy) -> tuple[list[float], float]:
    """Returns when each step ended, seconds, and how many images a step has."""
    config = plan.config
    images = views_per_example(plan, batches_from(plan, 0, (0, 1))) * config.train.train_batch_size
    run_steps = make_run_steps(config, plan.method, strategy, trained, device_ops_of(config))

    def of_part(*part):
        return batches_from(plan, 0, part)

    batches = iter(distribution.distribute_parts(of_part, strategy))
    ends = []
    for _ in range(WARM_UP + MEASURED):
        totals = run_steps(batches, tf.constant(1))
        for value in totals.values():
            float(value)  # waits for the device
        ends.append(time.monotonic())
    return ends, images


def _parameters(trained: Trained) -> dict[str, int]:
    model = trained.model
    parts: dict[str, Any] = {
        "encoder": model.encoder,
        "projection head": model.projection_head,
        "supervised head": model.supervised_head,
    }
    counts = {}
    for name, part in parts.items():
        if part is not None:
            statistics_of = _moving_statistics(part)
            weights = [v for v in part.variables if v.ref() not in statistics_of]
            counts[name] = _count(weights)
    return {**counts, "trained": _count(model.trainable_variables)}


def _moving_statistics(part) -> set:
    norms = [m for m in part.submodules if isinstance(m, keras.layers.BatchNormalization)]
    return {v.ref() for norm in norms for v in (norm.moving_mean, norm.moving_variance)}


def _count(variables) -> int:
    return sum(variable.shape.num_elements() for variable in variables)


def _state(trained: Trained) -> list:
    """Returns the variables that a checkpoint holds."""
    model: Model = trained.model
    optimizers = [o for o in (trained.optimizer, trained.head_optimizer) if o is not None]
    of_optimizers = []
    for optimizer in optimizers:
        variables = optimizer.variables  # Keras's older optimizers: a method
        of_optimizers += variables() if callable(variables) else variables
    return [*model.variables, *of_optimizers]


def _bytes_of(variables) -> int:
    return sum(v.shape.num_elements() * tf.as_dtype(v.dtype).size for v in variables)


def _forget_peaks() -> None:
    """Resets what `_host_peak` and `_device_peaks` return, where the system can."""
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # man 5 proc: resets VmHWM
    except OSError:
        pass
    for device in tf.config.list_logical_devices("GPU"):
        tf.config.experimental.reset_memory_stats(device.name)


def _host_peak() -> int | None:
    """Returns the most memory, bytes, that this process had resident; None where nothing says so."""
    try:
        with open("/proc/self/status") as file:
            return next(int(line.split()[1]) << 10 for line in file if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


def _device_peaks() -> dict[str, int]:
    gpus = tf.config.list_logical_devices("GPU")
    of = tf.config.experimental.get_memory_info
    return {device.name.split("device:")[-1]: of(device.name)["peak"] for device in gpus}
