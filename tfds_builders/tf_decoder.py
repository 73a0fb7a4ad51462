"""Checks with TensorFlow's own decoders that training can read what is about to be stored.

They run in a separate session on the CPU: an eager op would initialise all devices of this process,
after which neither GPUs nor workers can be configured. A call costs 10 us beside the decoding; an eager
op, or the public `Session.make_callable`, costs 100, half of the rest for a small photograph.
"""

import atexit
import functools
import threading

import numpy as np

from tfds_builders.jpeg import EOI, Frame

_LOCK = threading.Lock()
_DEEP = 16  # bits


@functools.cache
def _decoders():
    """Returns callables of bytes: the first pixel of a JPEG, PNG of 8 bits, PNG of 16 bits.

    They return None where TensorFlow refuses. It is imported here, as the processes that draw the
    demo do not need it.
    """
    import tensorflow as tf
    from tensorflow.core.protobuf import config_pb2

    with tf.Graph().as_default() as graph:
        encoded = tf.compat.v1.placeholder(tf.string, [])
        decoded = (
            tf.io.decode_and_crop_jpeg(encoded, [0, 0, 1, 1], channels=3, ratio=8),
            tf.io.decode_png(encoded),
            tf.io.decode_png(encoded, dtype=tf.uint16),
        )
    config = tf.compat.v1.ConfigProto(
        device_count={"GPU": 0},
        inter_op_parallelism_threads=-1,  # in the calling thread
        # Not 1: the first session of a process sizes the pool of all of them, training included.
        intra_op_parallelism_threads=0,
    )
    session = tf.compat.v1.Session(graph=graph, config=config)

    def make_callable(pixels):
        options = config_pb2.CallableOptions(feed=[encoded.name], fetch=[pixels.name])
        decode = session._make_callable_from_options(options)

        def decode_or_none(data: bytes) -> np.ndarray | None:
            try:
                return decode(np.array(data, dtype=object))[0]
            except tf.errors.OpError:
                return None

        return decode_or_none

    atexit.register(_decoders.cache_clear)  # later, TensorFlow is half gone and prints a traceback
    return tuple(make_callable(pixels) for pixels in decoded)


def _decoder(number: int):
    with _LOCK:  # the first of several threads makes them
        return _decoders()[number]


def reads_jpeg(data: bytes, frame: Frame) -> bool:
    """Returns whether TensorFlow accepts the headers, tables and first pixels of a JPEG.

    `jpeg.decode` has checked all other pixels. Of a progressive JPEG only the first scan is passed:
    TensorFlow would decode all of them to reach the first pixel.

    Args:
      data: a whole JPEG.
      frame: its headers.
    """
    if frame.is_progressive:
        data = data[: frame.first_scan_end] + EOI
    return _decoder(0)(data) is not None


def decode_png(data: bytes, bits: int) -> np.ndarray | None:
    """Returns [H, W, channels], uint16 if `bits` is 16, else uint8; None if TensorFlow refuses."""
    return _decoder(2 if bits == _DEEP else 1)(data)
