"""What a run prints about its machines as it starts, and what its workers must agree on."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf

from simclr_med import distribution
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.data.streams import Streams

# Flags that say where.
_OF_ONE_MACHINE = ("checkpoint", "data_dir", "image_root", "manual_dir", "model_dir")


def machine(config: Config, strategy: tf.distribute.Strategy) -> str:
    """Returns a line with strategy, replicas, batch and negatives of each, precision and XLA."""
    replicas, batch_size = strategy.num_replicas_in_sync, config.train.train_batch_size
    workers = distribution.worker_of(strategy)[1]
    name = f"MultiWorkerMirroredStrategy over {workers} workers"  # its class has an older name
    parts = [
        name if workers > 1 else type(strategy).__name__,
        distribution.describe(strategy),
        f"{batch_size // replicas} examples per replica",
    ]
    if config.run.train_mode == "pretrain":  # the views of the other examples of all replicas
        masks = config.train.same_patient_negatives == "mask"  # then `negatives` says how many
        parts.append(f"{'up to ' * masks}{2 * batch_size - 2:,} negatives per view")
    precision = (
        "bfloat16 (weights and loss float32)" if config.device.mixed_precision else "float32"
    )
    compiled = config.device.jit_compile or distribution.is_tpu(strategy)
    return ", ".join([*parts, precision, f"step {'' if compiled else 'not '}compiled by XLA"])


def negatives(patients: np.ndarray) -> str:
    """Returns a line: how many negatives a view has, and how many are masked, in a batch.

    Args:
      patients: a number for the patient of each example of the global batch, int [B].
    """
    _, number, counts = np.unique(patients, return_inverse=True, return_counts=True)
    most, masked = 2 * len(patients) - 2, 2 * (counts[number] - 1)  # [B]
    return (
        f"First batch: {most - masked.mean():,.1f} negatives per view on average, of {most:,}; "
        f"{masked.mean():,.1f} are views of the same patient and are masked "
        "(--same_patient_negatives=keep keeps them)."
    )


def reading(streams: Streams, part: tuple[int, int]) -> str:
    """Returns a line: how much of the training split worker i of n reads.

    Args:
      streams: that the split is read in.
      part: (i, n), n at least 2.
    """
    count, workers, own = streams.count, part[1], len(streams.of_part(part))
    line = f"The training split is read in {count} stream{'s' * (count > 1)}; of {workers} workers "
    if own * workers == count:
        return f"{line}each reads 1/{workers}."
    why = f"a number of workers that divides {count} would share it"
    if count == 1:
        why = "too few files or examples, or an odd batch"
    return f"{line}this one reads {own / count:.0%} ({why})."


def common(config: Config, builder, bags: Bags) -> dict[str, Any]:
    """Returns what all workers of a run must agree on, {name: value} for `workers.check_same`."""
    metadata = builder.info.metadata or {}
    data = builder.info.full_name, metadata.get("fingerprint"), bags.num_bags, bags.num_images
    # Also flags that shape no weight: a worker that saves waits forever for one that does not.
    flags = {f"--{n}": value for n, value in config.to_dict().items() if n not in _OF_ONE_MACHINE}
    return {
        **flags,
        "the dataset": data,
        "TensorFlow's version": tf.__version__,
    }
