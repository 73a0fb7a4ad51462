"""Cross-entropy of several labels a case, some of them unknown, against a loop."""

import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_med import losses

NAN = math.nan


def test_masked_binary_cross_entropy_is_the_mean_over_known_labels():
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(5, 3)).astype(np.float32)
    labels = rng.choice([0.0, 1.0, NAN], size=(5, 3)).astype(np.float32)
    loss, accuracy = losses.supervised(tf.constant(labels), tf.constant(logits))
    total = hits = count = 0
    for y, x in zip(labels.ravel(), logits.ravel()):
        if not math.isnan(y):
            p = 1 / (1 + math.exp(-x))
            total -= math.log(p if y else 1 - p)
            hits += (x > 0) == (y > 0)
            count += 1
    assert 0 < count < 15
    assert float(loss) == pytest.approx(total / count, rel=1e-5)
    assert float(accuracy) == pytest.approx(hits / count, rel=1e-5)


def test_unknown_labels_have_no_gradient():
    logits = tf.Variable(tf.ones([2, 2]))
    with tf.GradientTape() as tape:
        loss, _ = losses.supervised(tf.constant([[NAN, 1.0], [0.0, NAN]]), logits)
    gradient = tape.gradient(loss, logits).numpy()
    assert np.isfinite(gradient).all()
    assert (gradient == 0).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]])
def test_soft_targets_equal_a_loop(weights):
    """Shares are targets; an unlabelled case counts for nothing; a weight is a class's, not a case's."""
    logits = np.random.default_rng(3).normal(size=(4, 3)).astype(np.float32)
    labels = np.array([2, -1, 0, 1])
    shares = np.array([[0.4, 0, 0.6], [0, 0, 0], [1, 0, 0], [0.2, 0.5, 0.3]], np.float32)
    class_weights = None if weights is None else tf.constant(weights)
    loss, accuracy = losses.supervised(
        tf.constant(labels), tf.constant(logits), class_weights, shares
    )
    total = norm = 0.0
    for case in range(4):
        for c in range(3):
            weight = shares[case, c] * (1.0 if weights is None else weights[c])
            probability = np.exp(logits[case, c]) / np.exp(logits[case]).sum()
            total, norm = total - weight * np.log(probability), norm + weight
    assert float(loss) == pytest.approx(total / norm, rel=1e-5)
    seen = labels >= 0
    assert float(accuracy) == pytest.approx((logits.argmax(1) == labels)[seen].mean())


@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0]])
def test_shares_of_one_label_are_that_label(weights):
    logits = tf.constant(np.random.default_rng(4).normal(size=(5, 3)).astype(np.float32))
    labels = tf.constant([2, -1, 0, 1, 1])
    class_weights = None if weights is None else tf.constant(weights)
    hard = losses.supervised(labels, logits, class_weights)
    soft = losses.supervised(labels, logits, class_weights, tf.one_hot(labels, 3))
    np.testing.assert_allclose(soft, hard, rtol=1e-6)
