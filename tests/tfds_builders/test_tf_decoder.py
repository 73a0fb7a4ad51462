"""TensorFlow's decoders, asked before training: what they leave for the rest of the process."""

import subprocess
import sys

import pytest

from helpers import ROOT

_SUM = """
import io, sys
from PIL import Image
from tfds_builders import tf_decoder
if sys.argv[1] == "asked":
    png = io.BytesIO()
    Image.new("RGB", (9, 9)).save(png, "PNG")
    assert tf_decoder.decode_png(png.getvalue(), 8).shape == (9, 9, 3)
import tensorflow as tf
values = tf.random.stateless_normal([3_000_000], [0, 1])
print([float(tf.reduce_sum(values * k)).hex() for k in range(1, 9)])
"""


@pytest.mark.slow
def test_training_after_a_build_has_all_cores_and_so_the_same_sums():
    """A first session with one thread would make that the pool of every op of the process."""
    sums = [
        subprocess.run(
            [sys.executable, "-c", _SUM, way], cwd=ROOT, capture_output=True, text=True, check=True
        ).stdout
        for way in ("asked", "not asked")
    ]
    assert sums[0] == sums[1] and "0x" in sums[0]
