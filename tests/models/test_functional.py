"""An encoder as a functional model of stock layers: the same features, loaded without simclr_med."""

import os
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from helpers import encoders
from simclr_med.models import build_encoder
from simclr_med.models.functional import functional

LOAD = """
import sys
import numpy as np
import tensorflow as tf
try:
    import tf_keras as keras
except ImportError:
    keras = tf.keras
for path in sys.argv[2:]:
    model = keras.models.load_model(path)
    np.save(path + ".npy", model(np.load(sys.argv[1]), training=False))
assert "simclr_med" not in sys.modules
"""

ENCODERS = [
    ("resnet18", {"se_ratio": 0.1}),
    ("resnet18", {"small_images": True}),
    ("resnet50", {"sk_ratio": 0.1, "se_ratio": 0.1, "width": 2}),
    ("keras_resnet50", {}),
    ("bit_r50x1", {}),
]


def assert_close(value, expected, tolerance=1e-5):
    """Differences are measured against the largest value."""
    assert np.abs(np.asarray(value) - expected).max() <= tolerance * np.abs(expected).max()


def random_encoder(name, options):
    """An encoder whose every variable is random, so that none can be left out unseen."""
    encoder = build_encoder(name, **options)
    encoder(tf.zeros([1, 32, 32, 3]), training=False)
    rng = np.random.default_rng(0)
    for variable in encoder.variables:
        if len(variable.shape) == 1:  # of norms, and SE's biases
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    return encoder


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
    encoders.shorten(monkeypatch, (1, 2))


@pytest.mark.parametrize("name, options", ENCODERS)
def test_the_functional_model_gives_the_same_features_and_trains_as_the_encoder(name, options):
    encoder = random_encoder(name, options)
    model = functional(encoder)
    images = np.random.default_rng(1).random((2, 40, 50, 3), np.float32)
    assert_close(model(images, training=False), encoder(images, training=False))

    images = np.random.default_rng(1).random((4, 32, 32, 3), np.float32)
    assert_close(model(images, training=True), encoder(images, training=True), 1e-4)
    assert_close(statistics(model, "moving_mean"), statistics(encoder, "moving_mean"), 1e-4)
    # Keras's own layer corrects the variance by N / (N - 1), N = 4 images of 4 x 4 pixels or more.
    variances = [statistics(m, "moving_variance") for m in (model, encoder)]
    assert np.all(variances[0] >= variances[1] * (1 - 1e-4))
    assert np.all(variances[0] <= variances[1] * 64 / 63 * (1 + 1e-4))

    before = [v.numpy() for v in encoder.variables]
    for variable in model.variables:  # its own: changing them leaves the encoder as it was
        variable.assign(tf.zeros_like(variable))
    for variable, value in zip(encoder.variables, before):
        np.testing.assert_array_equal(variable, value)


def statistics(model, part):
    """The sorted moving statistics of a model; [0] where it has none."""
    moving = [v.numpy() for v in model.non_trainable_variables if part in v.name]
    return np.sort(np.concatenate([[0.0], *moving]))


@pytest.mark.slow
def test_a_file_of_it_loads_without_our_code(tmp_path):
    images = np.random.default_rng(1).random((2, 40, 50, 3), np.float32)
    np.save(tmp_path / "images.npy", images)
    expected = {}
    for name, options in (ENCODERS[2], ENCODERS[4]):
        encoder = random_encoder(name, options)
        functional(encoder).save(tmp_path / f"{name}.keras")
        expected[f"{name}.keras"] = encoder(images, training=False)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [sys.executable, "-c", LOAD, "images.npy", *expected]
    subprocess.run(command, check=True, cwd=tmp_path, env=environment)
    for name, features in expected.items():
        assert_close(np.load(tmp_path / f"{name}.npy"), features)
