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
