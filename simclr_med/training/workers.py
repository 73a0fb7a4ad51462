"""Workers that train together: one writes the run's folder, all stop together, none waits forever."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from simclr_med import distribution, run_folder
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.errors import UserError, WorkerLost

_SIGNS = ("heartbeat", "Socket closed")  # of a loss, beside the error's type


@contextlib.contextmanager
def worker_session(strategy: tf.distribute.Strategy, model_dir: str) -> Iterator[str]:
    """Yields the folder where this process writes: for worker 0 or a single process the run's, locked.

    Other workers write to a folder that is removed at the end, and print nothing meanwhile.

    Args:
      strategy: of the run.
      model_dir: of the run.

    Raises:
      UserError: see `run_folder.locked`.
      WorkerLost: another worker, or the TPU, is gone.
    """
    index, count = distribution.worker_of(strategy)
    with contextlib.ExitStack() as stack:
        if count > 1 or distribution.is_tpu(strategy):
            stack.enter_context(raise_on_lost_worker(index, count, model_dir))
        if index == 0:
            stack.enter_context(run_folder.locked(model_dir))
            yield model_dir
        else:
            print(f"Worker {index} of {count} trains; worker 0 reports.", flush=True)
            silence = stack.enter_context(open(os.devnull, "w"))
            stack.enter_context(contextlib.redirect_stdout(silence))
            yield stack.enter_context(tempfile.TemporaryDirectory(prefix="simclr_med_worker"))


@contextlib.contextmanager
def raise_on_lost_worker(index: int, count: int, model_dir: str) -> Iterator[None]:
    """While entered, turns TensorFlow's error about a lost worker into `WorkerLost`.

    Args:
      index: of this worker.
      count: of workers; 1: with a TPU.
      model_dir: of the run, for the message.

    Raises:
      WorkerLost: another worker, or the TPU, is gone.
    """
    try:
        yield
    except tf.errors.OpError as error:
        text = str(error)
        lost = isinstance(error, tf.errors.UnavailableError) or any(s in text for s in _SIGNS)
        if not lost:
            raise
        tasks = [int(task) for task in re.findall(r"/job:worker/(?:replica:\d+/)?task:(\d+)", text)]
        remaining = [task for task in tasks if task != index]
        who = f"Worker {remaining[0]}" if remaining else "Another worker"
        latest = checkpoint_files.listed(model_dir) or (
            "the beginning, for there is no checkpoint yet"
        )
        if count == 1:
            raise WorkerLost(
                f"The TPU is gone, or part of its slice ({text.splitlines()[0][:200]}). Once it is "
                f"there again, the same command goes on from {latest}."
            ) from error
        raise WorkerLost(
            f"{who} of {count} is gone (killed, crashed or cut off; its own output may say why), so "
            f"worker {index} stopped too. Start all {count} again with the same command: they go on "
            f"from {latest}."
        ) from error


def check_same(strategy: tf.distribute.Strategy, values: dict[str, Any]) -> None:
    """Checks that all workers agree on some values; every worker has to call it.

    Args:
      strategy: of the run.
      values: {name for the message: value, compared by its repr}.

    Raises:
      UserError: on every worker; names what differs.
    """
    index, count = distribution.worker_of(strategy)
    if count == 1:
        return
    digests = [hashlib.sha256(repr(value).encode()).digest()[:4] for value in values.values()]
    own = [int.from_bytes(digest, "big") >> 1 for digest in digests]
    differs = (gather_ints(strategy, own) != own).any(axis=0)
    if wrong := [
        f"{name} (worker {index}: {value})"
        for (name, value), d in zip(values.items(), differs)
        if d
    ]:
        raise UserError(
            f"The workers do not agree on {'; '.join(wrong)}. Start all with the same flags, data "
            "and software, and a --model_dir that all of them see."
        )


def agree(
    strategy: tf.distribute.Strategy, received: list[int], seconds: float
) -> tuple[int, float]:
    """Returns (number of a signal that some worker received, 0 for none; seconds of the slowest worker).

    Every worker has to call it, and all get the same values.

    Args:
      strategy: of the run.
      received: signals of this worker.
      seconds: that a step of this worker took, at most 2,000.
    """
    own = received[0] if received else 0
    if distribution.worker_of(strategy)[1] == 1:
        return own, seconds
    microseconds = min(int(seconds * 1e6), 2**31 - 1)
    number, slowest = gather_ints(strategy, [own, microseconds]).max(axis=0)
    return int(number), float(slowest) / 1e6


def gather_ints(strategy: tf.distribute.Strategy, numbers: Sequence[int]) -> np.ndarray:
    """Returns the numbers that each replica's process contributes, int [R, n].

    Every worker has to call it at the same point of the program.

    Args:
      strategy: of the run.
      numbers: n of this worker, below 2^31.
    """
    own = strategy.experimental_distribute_values_from_function(
        lambda _: tf.constant([numbers], tf.int32)
    )
    return distribution.first_replica(strategy, _gather_over(strategy)(own)).numpy()


def gather(strategy: tf.distribute.Strategy, numbers: Sequence[int]) -> np.ndarray:
    """Returns the numbers of all workers, one worker's after the other's, int [W n].

    Every worker has to call it at the same point of the program, with equally many.

    Args:
      strategy: of the run.
      numbers: n of this worker, below 2^31.
    """
    count = distribution.worker_of(strategy)[1]
    if count == 1:
        return np.asarray(numbers)
    of_replicas = gather_ints(strategy, numbers)  # each replica has its worker's
    return of_replicas[:: len(of_replicas) // count].reshape(-1)


@functools.cache  # or it would be traced again each time
def _gather_over(strategy: tf.distribute.Strategy):
    return tf.function(lambda own: strategy.run(distribution.all_gather, (own,)), autograph=False)
