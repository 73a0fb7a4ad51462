"""What to tell a user whose training or evaluation does not fit in memory: which flags help."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator

import tensorflow as tf

from simclr_med.config import Config
from simclr_med.errors import UserError

# How XLA, and a copy to a full GPU, say it where TensorFlow has no ResourceExhaustedError of its own.
_SIGNS = ("RESOURCE_EXHAUSTED", "Out of memory", "Dst tensor is not initialized")


@contextlib.contextmanager
def explained(config: Config, num_replicas: int) -> Iterator[None]:
    """Turns an error of TensorFlow's about memory into one that names the flags that help to train.

    Args:
      config: of the run; a flag that is on already is not named.
      num_replicas: R, which share a batch.

    Raises:
      UserError: memory did not suffice.
    """
    size = f"--train_batch_size={config.train.train_batch_size}"
    with _explained(config, num_replicas, size, _remedies):
        yield


@contextlib.contextmanager
def explained_in_evaluation(config: Config, num_replicas: int) -> Iterator[None]:
    """Does the same for forward passes alone, where other flags help.

    Args:
      config: of the run.
      num_replicas: R, which share a batch.

    Raises:
      UserError: memory did not suffice.
    """
    size = f"--eval_batch_size={config.eval.eval_batch_size}"
    with _explained(config, num_replicas, size, _remedies_in_evaluation):
        yield


@contextlib.contextmanager
def _explained(
    config: Config, num_replicas: int, size: str, remedies: Callable[[Config, int], list[str]]
) -> Iterator[None]:
    try:
        yield
    except tf.errors.OpError as error:
        if not _is_about_memory(error):
            raise
        lines = error.message.strip().splitlines() or ["no reason given"]
        raise UserError(
            f"Out of memory at {size}, --image_size={config.augment.image_size} on {num_replicas} "
            "replica(s). What helps, first what costs least: "
            f"{'; '.join(remedies(config, num_replicas))}. (TensorFlow: {lines[0][:200]})"
        ) from error


def _is_about_memory(error: tf.errors.OpError) -> bool:
    if "No space left on device" in error.message:  # the disk's
        return False
    named = any(sign in error.message for sign in _SIGNS)
    return named or isinstance(error, tf.errors.ResourceExhaustedError)


def _remedies(config: Config, num_replicas: int) -> list[str]:
    train, remedies = config.train, []
    if not config.device.mixed_precision:
        remedies.append("--mixed_precision (activations in 16 bits)")
    if not config.model.remat:
        remedies.append("--remat (the same numbers, a third more time)")
    if not train.nt_xent_chunk and config.method != "finetune":
        remedies.append(
            "--nt_xent_chunk=1024 (the same numbers; helps from batches of some 4,096 on)"
        )
    local = train.train_batch_size // num_replicas
    at_once = train.micro_batch or local
    if at_once > 1:
        fewer = next(n for n in range(at_once // 2, 0, -1) if local % n == 0)
        remedies.append(
            f"--micro_batch={fewer} (the loss stays that of the whole batch; --help explains the "
            "effect on BatchNorm)"
        )
    return [*remedies, "a smaller --train_batch_size or --image_size"]


def _remedies_in_evaluation(config: Config, num_replicas: int) -> list[str]:
    size, remedies = config.eval.eval_batch_size, []
    if size > num_replicas:  # each of which gets an image at least
        effect = "the same numbers"
        if config.eval.eval_steps:  # which counts in batches
            effect += ", if --eval_steps grows as much"
        remedies.append(f"--eval_batch_size={max(num_replicas, size // 2)} or less ({effect})")
    remedies.append("a device that no other process uses, such as the training that is followed")
    if not config.device.mixed_precision:
        remedies.append("--mixed_precision (activations in 16 bits: slightly other numbers)")
    return remedies
