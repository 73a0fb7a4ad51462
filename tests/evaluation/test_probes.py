"""The probes on features that make the right answer obvious."""

import math

import numpy as np
import pytest

from helpers import tiny_runs
from simclr_med import metrics
from simclr_med.evaluation import measure
from simclr_med.evaluation.probes import EVALUATORS

NAN = math.nan


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


@pytest.mark.parametrize("name", EVALUATORS)
def test_probes_learn_each_label_from_the_cases_that_know_it(name):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (80, 2)).astype(float)
    x = np.concatenate([6 * truth, np.ones((80, 1))], 1) + rng.normal(size=(80, 3))
    train_y = truth[:60].copy()
    train_y[::3, 0] = NAN
    train_y = np.concatenate([train_y, np.full((60, 1), NAN)], 1)  # a label nobody knows
    scores = EVALUATORS[name](x[:60], train_y, np.arange(60), x[60:], 3, 0)
    assert ((scores[:, :2] > 0.5) == (truth[60:] == 1)).mean() >= 0.95
    assert np.isnan(scores[:, 2]).all()
    truth = np.concatenate([truth[60:], np.ones((20, 1))], 1)
    assert metrics.macro_roc_auc(truth, scores) == metrics.macro_roc_auc(
        truth[:, :2], scores[:, :2]
    )


def test_a_label_that_only_one_patient_knows_is_no_error():
    train_y = np.array([[1.0], [NAN], [NAN]])
    scores = EVALUATORS["linear probe"](np.eye(3), train_y, np.arange(3), np.eye(3), 1, 0)
    assert (scores == 1).all()


def test_a_result_says_which_seed_chose_the_labels_if_it_is_not_the_runs(tiny_data):
    chosen = {"checkpoint": "ckpt-2"}
    facts = measure._provenance(tiny_runs.BASE.replace(seed=5), tiny_data, chosen)
    assert facts["seed"] == 5 and "label_seed" not in facts
    facts = measure._provenance(tiny_runs.BASE.replace(label_seed=0), tiny_data, chosen)
    assert facts["label_seed"] == 0
