"""In which precision losses are computed."""

from __future__ import annotations

import tensorflow as tf


def at_least_float32(x: tf.Tensor) -> tf.Tensor:
    """Returns x in float32; in float64 where it is that already, as in tests of exactness."""
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)
