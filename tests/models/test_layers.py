"""BatchNorm by the fused kernel, and the convolution's own filter gradient, against obvious forms."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_med import distribution
from simclr_med.models import conv2d
from simclr_med.models.layers import BatchNorm


def _norm(center: bool, dtype) -> BatchNorm:
    norm = BatchNorm(momentum=0.9, epsilon=1e-5, center=center, synchronized=True, dtype=dtype)
    norm.build([None, None, None, 5])
    draws = np.random.default_rng(1)
    norm.gamma.assign(draws.uniform(0.5, 2, 5))
    norm.moving_mean.assign(draws.normal(size=5))
    norm.moving_variance.assign(draws.uniform(1, 3, 5))
    return norm


@pytest.mark.parametrize("center", [True, False])
def test_batch_norm_of_one_replica_equals_its_formula(center):
    """3 x 2 x 2 pixels, few enough that a variance over n - 1 would differ by a tenth."""
    x = tf.constant(np.random.default_rng(0).normal(1, 2, (3, 2, 2, 5)), tf.float32)
    weights = tf.constant(np.random.default_rng(2).normal(size=x.shape), tf.float32)
    norm = _norm(center, "float32")
    before = norm.moving_mean.numpy(), norm.moving_variance.numpy()
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        actual = norm(x, training=True)
        mean = tf.reduce_mean(x, [0, 1, 2])
        variance = tf.reduce_mean((x - mean) ** 2, [0, 1, 2])
        expected = (x - mean) / tf.sqrt(variance + 1e-5) * norm.gamma
        if center:
            expected += norm.beta
        losses = tf.reduce_sum(actual * weights), tf.reduce_sum(expected * weights)
    np.testing.assert_allclose(actual, expected, rtol=1e-5, atol=1e-5)
    for variable in [x, *norm.trainable_variables]:
        a, b = (tape.gradient(loss, variable) for loss in losses)
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5)
    np.testing.assert_allclose(norm.moving_mean, 0.9 * before[0] + 0.1 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.9 * before[1] + 0.1 * variance, rtol=1e-5)


def test_batch_norm_keeps_its_digits_where_examples_are_alike():
    """Features of 16 images that differ by 1e-3 of their mean, as at the start of a projection head.

    The mean of squares less the square of the mean, Keras's variance over replicas, is wrong by
    up to its own size here, and once below 0.
    """
    x = np.random.default_rng(0).normal(3.0, 3e-3, (16, 5)).astype(np.float32)
    weights = np.random.default_rng(2).normal(size=x.shape)
    exact = tf.constant(x, tf.float64)
    norm = BatchNorm(epsilon=1e-5, synchronized=True)
    with tf.GradientTape(persistent=True) as tape:
        features = tf.constant(x)
        tape.watch([features, exact])
        actual = norm(features, training=True)
        mean = tf.reduce_mean(exact, 0)
        slow = (exact - mean) / tf.sqrt(tf.reduce_mean((exact - mean) ** 2, 0) + 1e-5)
        loss = tf.reduce_sum(actual * tf.cast(weights, tf.float32))
        slow_loss = tf.reduce_sum(slow * weights)
    np.testing.assert_allclose(actual, slow, atol=2e-4)  # an image is known to 3e-7 / 3e-3
    expected = tape.gradient(slow_loss, exact).numpy()
    error = np.abs(tape.gradient(loss, features) - expected).max()
    assert error < 1e-3 * np.abs(expected).max()


def test_batch_norm_takes_the_fused_kernel_where_it_can():
    def ops(layer, rank, dtype="float32"):
        signature = tf.TensorSpec([3, *[2] * (rank - 2), 5], dtype)
        graph = (
            tf.function(lambda x: layer(x, training=True)).get_concrete_function(signature).graph
        )
        return {op.type for op in graph.get_operations()}

    assert "FusedBatchNormV3" in ops(_norm(True, "float32"), 4)
    assert "FusedBatchNormV3" in ops(_norm(True, "mixed_bfloat16"), 4, "bfloat16")
    assert "FusedBatchNormV3" not in ops(_norm(True, "float64"), 4, "float64")  # has no such kernel
    frozen = _norm(True, "float32")
    frozen.trainable = False
    assert "FusedBatchNormV3" not in ops(frozen, 4)  # uses its moving statistics


@pytest.mark.parametrize("stride, padding", [(1, "SAME"), (1, "VALID"), (2, "VALID")])
@pytest.mark.parametrize("kernel_size", [(3, 3), (1, 1), (2, 4)])
def test_filter_gradient_by_taps_equals_tensorflows(stride, padding, kernel_size):
    draws = np.random.default_rng(0)
    x = tf.constant(draws.normal(size=(3, 6, 5, 4)), tf.float32)
    kernel = tf.constant(draws.normal(size=(*kernel_size, 4, 7)), tf.float32)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch([x, kernel])
        actual = conv2d.convolve(x, kernel, stride, padding)
        expected = tf.nn.conv2d(x, kernel, [1, stride, stride, 1], padding)
        weights = tf.constant(draws.normal(size=actual.shape), tf.float32)
        losses = tf.reduce_sum(actual * weights), tf.reduce_sum(expected * weights)
    np.testing.assert_array_equal(actual, expected)
    for tensor in (x, kernel):
        a, b = (tape.gradient(loss, tensor) for loss in losses)
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5)


def test_filter_gradient_by_taps_is_for_small_maps_on_cpus():
    def convolutions_filter_gradient(side, dtype, strides=1):
        layer = conv2d.Conv2D(3, 3, strides, "same" if strides == 1 else "valid", dtype=dtype)

        @tf.function
        def gradient(x):
            with tf.GradientTape() as tape:
                y = layer(x)
            return tape.gradient(y, layer.trainable_variables)

        spec = tf.TensorSpec([2, side, side, 4], layer.compute_dtype)
        return any(
            op.type == "Conv2DBackpropFilter"
            for op in gradient.get_concrete_function(spec).graph.get_operations()
        )

    if not distribution.on_cpu():
        pytest.skip("the rule is for machines without an accelerator")
    assert not convolutions_filter_gradient(7, "mixed_bfloat16")
    assert not convolutions_filter_gradient(2, "float32")
    assert convolutions_filter_gradient(4, "float32")
    assert convolutions_filter_gradient(14, "mixed_bfloat16")
    assert not convolutions_filter_gradient(16, "mixed_bfloat16", strides=2)
