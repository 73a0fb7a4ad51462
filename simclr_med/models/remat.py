"""Gradient checkpointing: a block keeps its input alone and computes the rest again (Chen et al.
2016, arXiv:1604.06174).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

import tensorflow as tf


class _Thread(threading.local):  # replicas are traced in threads of their own
    recomputing = False


_thread = _Thread()


def is_recomputing() -> bool:
    """Returns whether this is the second run of a block, whose side effects were had already."""
    return _thread.recomputing


def remat(block: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Returns block(x), without keeping for the backward pass what the block computes inside."""
    is_first = True

    def run(x):
        nonlocal is_first
        again, is_first = not is_first, False
        with recomputing(again or is_recomputing()):
            return block(x)

    return tf.recompute_grad(run)(x)


@contextlib.contextmanager
def recomputing(value: bool = True):
    """While entered, what is computed counts as computed before, or not."""
    before, _thread.recomputing = _thread.recomputing, value
    try:
        yield
    finally:
        _thread.recomputing = before
