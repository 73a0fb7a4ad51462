"""What a constant answer reaches, against closed forms, and the loss itself at the best constant."""

import math

import numpy as np
import pytest
import tensorflow as tf

from simclr_med.data.base_rates import constant_guess
from simclr_med.data.label_fraction import balanced_weights
from simclr_med.losses import supervised


def test_of_equally_common_classes_the_loss_is_ln_of_their_number():
    guess = constant_guess(np.arange(70) % 7, 7)
    assert guess == {"loss": pytest.approx(math.log(7)), "accuracy": pytest.approx(1 / 7)}


def test_of_other_classes_it_is_their_entropy_and_balanced_weights_make_it_ln_again():
    labels = np.array([0] * 6 + [1] * 3 + [2] + [-1] * 5)  # 5 of no label, and a class of no case
    entropy = -(0.6 * math.log(0.6) + 0.3 * math.log(0.3) + 0.1 * math.log(0.1))
    guess = constant_guess(labels, 4)
    assert guess == {"loss": pytest.approx(entropy), "accuracy": pytest.approx(0.6)}
    balanced = constant_guess(labels, 4, balanced_weights(labels, 4))
    assert balanced == {"loss": pytest.approx(math.log(3)), "accuracy": pytest.approx(0.6)}


def test_of_several_labels_each_known_one_is_a_term():
    labels = np.array([[1, 0], [1, np.nan], [0, np.nan], [1, np.nan]])
    guess = constant_guess(labels, 2)
    terms = -(3 * math.log(3 / 4) + math.log(1 / 4))  # the other label is always absent: no loss
    assert guess == {"loss": pytest.approx(terms / 5), "accuracy": pytest.approx(4 / 5)}
    assert constant_guess(np.full((3, 2), np.nan), 2) == {}
    assert constant_guess(np.full(3, -1), 2) == {}


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("kind", ["one", "several", "differential"])
def test_no_constant_logits_have_a_smaller_loss(kind, balanced):
    rng = np.random.default_rng(0)
    shares = None
    labels = rng.choice(3, 40, p=[0.6, 0.3, 0.1])
    if kind == "several":
        labels = (rng.random((40, 3)) < [0.6, 0.3, 0.1]).astype(np.float32)
        labels[rng.random((40, 3)) < 0.2] = np.nan
    if kind == "differential":
        shares = rng.dirichlet([3, 2, 1], 40).astype(np.float32)
        labels = shares.argmax(1)
    weights = balanced_weights(labels, 3, shares) if balanced else None
    guess = constant_guess(labels, 3, weights, shares)
    logits = tf.Variable(tf.zeros([3]))
    for _ in range(400):  # plain descent to the best constant
        with tf.GradientTape() as tape:
            tiled = tf.tile(logits[tf.newaxis], [40, 1])
            loss, _ = supervised(tf.constant(labels), tiled, weights, shares)
        logits.assign_sub(2.0 * tape.gradient(loss, logits))
    assert float(loss) == pytest.approx(guess["loss"], abs=1e-4)
