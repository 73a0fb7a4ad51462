"""Gradient checkpointing: a block stores only its input and recomputes the rest in the backward pass
(Chen et al. 2016, arXiv:1604.06174).
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
    """Returns whether this is the second run of a block, whose side effects have happened already."""
    return _thread.recomputing


def remat(block: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor) -> tf.Tensor:
    """Returns block(x), whose intermediate values are recomputed in the backward pass, not stored.

    Args:
      block: function of one tensor.
      x: its input.
    """
    is_first = True

    def run(x):
        nonlocal is_first
        again, is_first = not is_first, False
        with recomputing(again or is_recomputing()):
            return block(x)

    return tf.recompute_grad(run)(x)


@contextlib.contextmanager
def recomputing(value: bool = True):
    """Sets, while entered, whether what runs counts as a second run of a block."""
    before, _thread.recomputing = _thread.recomputing, value
    try:
        yield
    finally:
        _thread.recomputing = before
