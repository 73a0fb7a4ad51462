"""What a run says as it starts."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_med import losses
from simclr_med.config import Config
from simclr_med.training import startup


def test_the_negatives_of_the_first_batch_are_counted():
    """Of patients 5, 5, 5, 8: the first three have 2 of 6 views left."""
    line = startup.negatives(np.array([5, 8, 5, 5]))
    assert line.startswith("First batch: 3.0 negatives per view on average, of 6; 3.0 are views of")


@pytest.mark.parametrize(("same_patient", "words"), [("mask", "up to 6 neg"), ("keep", ", 6 neg")])
def test_the_machine_line_says_whether_all_other_views_are_negatives(strategy, same_patient, words):
    config = Config().replace(train_batch_size=4, same_patient_negatives=same_patient)
    assert words in startup.machine(config, strategy)


@pytest.mark.parametrize("compiled", [False, True])
def test_negative_pairs_equal_a_loop(compiled):
    patients = np.random.default_rng(0).integers(0, 2**31 - 1, 9)[[0, 3, 3, 1, 0, 5, 0, 2]]
    count = tf.function(losses.negative_pairs, jit_compile=compiled)
    pairs = count(8, tf.constant(patients, tf.int32))
    np.testing.assert_array_equal(pairs, [sum(p != q for q in patients) for p in patients])
    np.testing.assert_array_equal(losses.negative_pairs(3), [2, 2, 2])
