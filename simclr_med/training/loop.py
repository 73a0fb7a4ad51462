"""The steps of a training, with logs, checkpoints and handling of signals, several steps at a time.

Between two looks at its metrics a run makes steps for about half a second: on a GPU the next step is then
under way before the last one's numbers are back, and several workers ask each other for signals
once a look, not once a step. What is logged, saved and found diverged is the same at every pace.
"""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from simclr_med import checkpoints, distribution, run_folder
from simclr_med.augment import device_ops
from simclr_med.config import PRIVATE, Config, fields_that_shape_weights
from simclr_med.signals import Interrupted
from simclr_med.training import startup, views, workers
from simclr_med.training.methods import Method
from simclr_med.training.plan import Plan, batches_from, views_per_example
from simclr_med.training.step import Trained, make_run_steps
from simclr_med.transient import retried

_TPU_STEPS_PER_CALL = 50
_SECONDS_BETWEEN_LOOKS = 0.5
_STEPS_BETWEEN_LOOKS = 100  # at most


def run(
    plan: Plan,
    strategy: tf.distribute.Strategy,
    trained: Trained,
    saved: checkpoints.RunCheckpoints,
    stop: list[int],
) -> None:
    """Runs the steps from `saved.step` to the last one, logging and saving on the way.

    Args:
      plan: of the run.
      strategy: of the run.
      trained: model, optimizer and step.
      saved: the run's checkpoints, opened.
      stop: signals that were received, see `signals.stop_signals`.

    Raises:
      Diverged: the loss is no longer finite.
      Interrupted: after a signal, with everything saved.
    """
    config = plan.config
    batches_of = functools.partial(batches_from, plan, saved.step)
    own_part = distribution.worker_of(strategy)
    batches = batches_of(part=own_part)
    ops = device_ops_of(config)
    num_views = views_per_example(plan, batches)
    images_per_step = num_views * config.train.train_batch_size
    log = run_folder.RunLog(saved.model_dir, saved.step, plan.total_steps, images_per_step)
    if saved.step == 0:
        _show_first(plan, strategy, log, saved.model_dir, next(iter(batches)), ops)
    run_steps = make_run_steps(config, plan.method, strategy, trained, ops)
    is_tpu, began = distribution.is_tpu(strategy), saved.step

    def batches_now():
        """Returns an iterator over the batches that are left, now that `saved.step` are done."""

        def of_part(*part):
            is_made = part == own_part and saved.step == began
            return batches if is_made else batches_from(plan, saved.step, part)

        return iter(distribution.distribute_parts(of_part, strategy))

    steps = _Steps(run_steps, batches_now, alone=own_part[1] == 1, is_tpu=is_tpu)
    try:
        _run(plan, strategy, trained, saved, stop, steps, log)
    finally:
        log.close()


def device_ops_of(config: Config) -> dict[str, tuple]:
    """Returns the augmentations of a run on the device, see `augment.device_ops`."""
    return device_ops(
        color_jitter_strength=config.augment.color_jitter_strength,
        use_blur=config.augment.use_blur,
        grayscale_probability=config.augment.grayscale_probability,
        rotation_degrees=config.augment.rotation_degrees,
    )


def _show_first(plan: Plan, strategy, log, model_dir: str, batch: dict, ops: dict) -> None:
    """Writes views.png and the hyperparameters of a run that begins, and prints its negatives."""
    config, shaping = plan.config, fields_that_shape_weights()
    values = {n: v for n, v in config.to_dict().items() if n in shaping and n not in PRIVATE}
    log.hyperparameters(values)
    path = os.path.join(model_dir, "views.png")
    picture = views.save(path, batch, ops, config.run.seed, Method.kind_of(config))
    if picture is not None:
        log.picture("views", tf.constant(picture), step=0)
    if config.method != "finetune" and config.train.same_patient_negatives == "mask":
        print(startup.negatives(workers.gather(strategy, batch["patient"].numpy())), flush=True)


def _run(plan: Plan, strategy, trained: Trained, saved, stop: list[int], steps: _Steps, log):
    """Runs the steps, a look at a time."""
    batch_size, stops_at = plan.config.train.train_batch_size, _Stops(plan)
    pace = _TPU_STEPS_PER_CALL if steps.is_tpu else 1  # until a look has measured it
    sums: dict[str, float] = {}
    counted = 0
    while (step := saved.step) < plan.total_steps:
        start = time.monotonic()
        size = stops_at.next_after(step, pace) - step
        totals = list(_on_host(steps.run(size, stop)))
        for count, values in totals:
            if not all(abs(value) < float("inf") for value in values.values()):
                raise checkpoints.diverged(step + count, saved.latest)
            step, counted = step + count, counted + count
            sums = {name: sums.get(name, 0.0) + value for name, value in values.items()}
        done = sum(count for count, _ in totals)
        log.show(step, {name: sum(v[name] for _, v in totals) / done for name in sums})
        number, seconds = workers.agree(strategy, stop, (time.monotonic() - start) / done)
        if not steps.is_tpu:
            pace = min(_STEPS_BETWEEN_LOOKS, max(1, int(_SECONDS_BETWEEN_LOOKS / seconds)))
        must_save = stops_at.saves(step) or number
        if must_save or stops_at.logs(step):
            rate = float(tf.convert_to_tensor(trained.optimizer.learning_rate))
            means = {name: value / counted for name, value in sums.items()}
            epoch = step * batch_size / plan.num_examples
            log.write(step, {**means, "learning_rate": rate, "epoch": epoch})
            sums, counted = {}, 0
        if must_save:
            saved.save()
        if number:
            raise Interrupted(number)


def _on_host(
    totals: list[tuple[int, dict[str, tf.Tensor]]],
) -> Iterator[tuple[int, dict[str, float]]]:
    """Yields (steps, sums of their metrics) of each call; all are fetched at once."""
    names = list(totals[0][1])
    columns = [tf.stack([values[name] for _, values in totals]).numpy() for name in names]
    for (count, _), row in zip(totals, np.transpose(columns), strict=True):
        yield count, dict(zip(names, map(float, row)))


class _Steps:
    """Runs steps; after a transient fault of reading images, goes on from the step reached.

    Args:
      run_steps: from `make_run_steps`.
      batches: returns an iterator over the batches from the step on that the run has reached.
      alone: no other worker takes part in a step.
      is_tpu: several steps are one call, and a fault may be the TPU's.
    """

    def __init__(self, run_steps, batches, *, alone: bool, is_tpu: bool):
        self._run_steps, self._batches = run_steps, batches
        self._alone, self.is_tpu = alone, is_tpu
        self._iterator = batches()

    def run(self, size: int, stop: list[int]) -> list[tuple[int, dict[str, tf.Tensor]]]:
        """Returns (steps, sums of their metrics) of each call that made the next `size` steps.

        Who works alone ends early when `stop` holds a signal; several workers cannot know of it.
        """
        if self.is_tpu:
            return [(size, self._run_steps(self._iterator, tf.constant(size)))]
        results: list[tuple[int, dict[str, tf.Tensor]]] = []
        while len(results) < size and not (results and stop and self._alone):
            if self._alone:  # a fault is the storage's
                results.append((1, retried(self._one, "Reading images to train on")))
            else:
                results.append((1, self._run_steps(self._iterator, tf.constant(1))))
        return results

    def _one(self) -> dict[str, tf.Tensor]:
        if self._iterator is None:
            self._iterator = self._batches()
        try:
            return self._run_steps(self._iterator, tf.constant(1))
        except tf.errors.OpError:
            self._iterator = None  # the old one may have lost a batch
            raise


class _Stops:
    """After which steps the loop looks up in any case: to save or to log."""

    def __init__(self, plan: Plan):
        run_, batch_size = plan.config.run, plan.config.train.train_batch_size
        epoch = round(plan.num_examples / batch_size)
        self._save_every = run_.checkpoint_steps or max(1, run_.checkpoint_epochs * epoch)
        self._log_every = min(100, max(1, plan.total_steps // 100))
        self._last = plan.total_steps

    def next_after(self, step: int, pace: int) -> int:
        """Returns the step after which the loop looks up next, at most `pace` further."""
        ends = [(step // n + 1) * n for n in (self._save_every, self._log_every)]
        return min(step + pace, *ends, self._last)

    def saves(self, step: int) -> bool:
        """Returns whether a checkpoint is due after this step."""
        return step % self._save_every == 0 or step == self._last

    def logs(self, step: int) -> bool:
        """Returns whether a line of metrics is due after this step."""
        return step % self._log_every == 0
