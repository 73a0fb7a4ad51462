"""The probes on features that make the right answer obvious."""

import numpy as np
import pytest

from simclr_med.evaluation.probes import EVALUATORS


@pytest.mark.parametrize("name", EVALUATORS)
def test_separable_features_are_separated_and_rows_are_probabilities(name):
    rng = np.random.default_rng(0)
    centres = 8 * np.eye(4, 6)
    labels = rng.integers(0, 3, 60)  # class 3 never occurs in training
    train = centres[labels] + rng.normal(size=(60, 6))
    truth = rng.integers(0, 3, 30)
    test = centres[truth] + rng.normal(size=(30, 6))
    scores = EVALUATORS[name](train, labels, np.arange(60), test, 4, 0)
    np.testing.assert_allclose(scores.sum(1), 1)
    assert (scores.argmax(1) == truth).mean() > 0.95
    assert (scores[:, 3] == 0).all()


@pytest.mark.parametrize("name", EVALUATORS)
def test_a_certain_probe_is_no_error(name):
    train = np.repeat([[1000.0, 0.0], [0.0, 1000.0]], 20, axis=0)
    labels = np.repeat([0, 1], 20)
    scores = EVALUATORS[name](train, labels, np.arange(40), train, 2, 0)
    assert (scores.argmax(1) == labels).all()
