"""Recomputation: the same loss, gradients and moving statistics, with fewer activations kept."""

import numpy as np
import pytest
import tensorflow as tf

from helpers import encoders
from simclr_med.keras_api import keras
from simclr_med.models import bit, build_encoder


@pytest.fixture(autouse=True)
def _shallow(monkeypatch):
    encoders.shorten(monkeypatch, (2,))  # a block with a projection, and one without


def one_step(encoder, compiled):
    """Loss, gradients and all variables after two training passes of a fresh encoder."""
    rng = np.random.default_rng(0)
    images = tf.constant(rng.random((4, 32, 32, 3), np.float32))
    encoder(images, training=False)
    for variable in encoder.trainable_variables:
        variable.assign(rng.normal(0.1, 0.1, variable.shape))

    def step():
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(encoder(images, training=True) ** 2)
        return loss, tape.gradient(loss, encoder.trainable_variables)

    step = tf.function(step) if compiled else step
    step()
    loss, gradients = step()
    return [loss, *gradients, *encoder.variables]


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize(
    "name, options",
    [
        ("resnet18", {"se_ratio": 0.1}),
        ("resnet50", {"sk_ratio": 0.1}),
        ("keras_resnet50", {}),
        ("bit_r50x1", {}),
    ],
)
def test_a_step_is_the_same_with_recomputation(name, options, compiled):
    plain = one_step(build_encoder(name, **options), compiled)
    recomputed = one_step(build_encoder(name, remat=True, **options), compiled)
    assert len(plain) == len(recomputed)
    for expected, value in zip(plain, recomputed):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-5 * scale)


def test_moving_statistics_move_once_a_step():
    encoder = build_encoder("resnet18", remat=True, batch_norm_decay=0.5)
    images = tf.random.stateless_uniform([4, 32, 32, 3], [0, 1])
    encoder(images, training=False)
    norm = encoder.groups[0][0].body[1].bn
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(encoder(images, training=True))
    seen = norm.moving_variance.numpy()
    tape.gradient(loss, encoder.trainable_variables)
    np.testing.assert_array_equal(norm.moving_variance, seen)
    assert np.abs(seen - 1).max() > 0.01  # they did move


def test_the_graph_of_the_backward_pass_runs_each_convolution_again():
    def convolutions(remat):
        encoder = build_encoder("resnet18", remat=remat)
        encoder(tf.zeros([1, 32, 32, 3]), training=False)

        @tf.function
        def step(images):
            with tf.GradientTape() as tape:
                loss = tf.reduce_sum(encoder(images, training=True))
            return tape.gradient(loss, encoder.trainable_variables)

        graph = step.get_concrete_function(tf.TensorSpec([2, 32, 32, 3])).graph
        return sum(op.type == "Conv2D" for op in graph.get_operations())

    plain, recomputed = convolutions(False), convolutions(True)
    assert recomputed - plain == plain - 1  # all but the stem's


def test_a_step_is_the_same_in_mixed_precision():
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        plain = one_step(build_encoder("bit_r50x1"), True)
        recomputed = one_step(build_encoder("bit_r50x1", remat=True), True)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    for expected, value in zip(plain, recomputed):
        scale = np.abs(expected).max()
        np.testing.assert_allclose(value, expected, atol=5e-2 * scale)  # bfloat16 has 8 bits


def test_group_norm_is_computed_in_float32_under_mixed_precision():
    x = np.random.default_rng(0).normal(20, 1, (2, 4, 4, 64)).astype(np.float32)
    x = tf.cast(tf.constant(x), tf.bfloat16)
    expected = bit.GroupNorm()(tf.cast(x, tf.float32))
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        y = bit.GroupNorm()(x)
    finally:
        keras.mixed_precision.set_global_policy("float32")
    np.testing.assert_array_equal(y, expected)
