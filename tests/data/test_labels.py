"""Several labels a case: how uncertain and blank read, and what loss, probes and metrics make of it."""

import math

import numpy as np
import pytest
import tensorflow as tf
from sklearn.metrics import average_precision_score, roc_auc_score

from simclr_med import losses, metrics
from simclr_med.data.labels import CHEXPERT5, CHEXPERT14, LabelReading, make_policy
from simclr_med.errors import UserError
from simclr_med.evaluation.probes import EVALUATORS, label_scores

NAN = math.nan


def policy(stored=CHEXPERT14, label_set="chexpert5", uncertain="ignore", blank="negative", **more):
    options = dict(renamed={}, dataset="chexpert_studies", **more)
    return make_policy(stored, LabelReading(label_set, uncertain, blank), **options)


def read(policy, **values):
    """Returns the label vector of a case whose stored labels are `values`, else blank."""
    stored = {key: tf.constant(values.get(key.split()[0], NAN), tf.float32) for key in CHEXPERT14}
    return policy.apply(stored).numpy()


@pytest.mark.parametrize("uncertain, value", [("zeros", 0.0), ("ones", 1.0), ("ignore", NAN)])
@pytest.mark.parametrize("blank, blank_value", [("negative", 0.0), ("ignore", NAN)])
def test_each_policy_says_what_uncertain_and_blank_become(uncertain, value, blank, blank_value):
    found = read(
        policy(uncertain=uncertain, blank=blank), Atelectasis=1, Cardiomegaly=0, Consolidation=-1
    )
    np.testing.assert_array_equal(found, [1, 0, value, blank_value, blank_value])


def test_a_label_may_have_a_policy_of_its_own():
    mixed = policy(uncertain="zeros,Atelectasis:ones, Edema:ignore")
    np.testing.assert_array_equal(
        read(mixed, Atelectasis=-1, Cardiomegaly=-1, Edema=-1), [1, 0, 0, NAN, 0]
    )


def test_names_and_order_are_those_of_the_label_set_whatever_the_dataset_calls_them():
    nih = ("Atelectasis", "Effusion", "Edema", "Cardiomegaly", "Consolidation")
    renamed = {"Effusion": "Pleural Effusion"}
    options = dict(renamed=renamed, dataset="nih")
    five = make_policy(nih, LabelReading("chexpert5"), **options)
    assert five.names == CHEXPERT5 and five.keys[4] == "Effusion"
    assert make_policy(nih, LabelReading("all"), **options).names == nih


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(uncertain="maybe"), "'maybe' is not zeros, ones or ignore"),
        (dict(uncertain="zeros,Oedema:ones"), "'Oedema:ones'"),
        (dict(stored=("Mass",)), "no label 'Atelectasis'; it has: Mass"),
    ],
)
def test_mistakes_are_named(options, words):
    with pytest.raises(UserError, match=words):
        policy(**options)


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


def random_case(seed):
    """Returns truth with unknown labels, one label without negatives, and scores with ties."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([0.0, 1.0, NAN], size=(40, 4), p=[0.5, 0.3, 0.2])
    truth[:, 3] = np.where(np.isnan(truth[:, 3]), NAN, 1.0)
    return truth, rng.integers(0, 6, (40, 4)) / 5


@pytest.mark.parametrize("seed", range(20))
def test_macro_metrics_equal_scikit_learn_over_known_and_defined_labels(seed):
    truth, scores = random_case(seed)
    aucs, precisions = [], []
    for y, s in zip(truth.T, scores.T):
        known = ~np.isnan(y)
        precisions.append(average_precision_score(y[known], s[known]))
        if len(set(y[known])) == 2:
            aucs.append(roc_auc_score(y[known], s[known]))
    assert len(aucs) == 3
    assert metrics.macro_roc_auc(truth, scores) == pytest.approx(np.mean(aucs))
    assert metrics.macro_average_precision(truth, scores) == pytest.approx(np.mean(precisions))


def test_resampled_macro_auc_equals_the_auc_of_the_repeated_cases():
    truth, scores = random_case(0)
    times = np.random.default_rng(1).integers(0, 3, (5, 40))
    values = metrics.macro_roc_auc(truth, scores, times)
    for value, draw in zip(values, times):
        drawn = np.repeat(np.arange(40), draw)
        assert value == pytest.approx(metrics.macro_roc_auc(truth[drawn], scores[drawn]))


@pytest.mark.parametrize("name", EVALUATORS)
def test_probes_learn_each_label_from_the_cases_that_know_it(name):
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (80, 2)).astype(float)
    x = np.concatenate([6 * truth, np.ones((80, 1))], 1) + rng.normal(size=(80, 3))
    train_y = truth[:60].copy()
    train_y[::3, 0] = NAN
    train_y = np.concatenate([train_y, np.full((60, 1), NAN)], 1)  # a label nobody knows
    scores = label_scores(EVALUATORS[name], x[:60], train_y, np.arange(60), x[60:], 0)
    assert ((scores[:, :2] > 0.5) == (truth[60:] == 1)).mean() >= 0.95
    assert np.isnan(scores[:, 2]).all()
    truth = np.concatenate([truth[60:], np.ones((20, 1))], 1)
    assert metrics.macro_roc_auc(truth, scores) == metrics.macro_roc_auc(
        truth[:, :2], scores[:, :2]
    )


def test_a_label_that_only_one_patient_knows_is_no_error():
    train_y = np.array([[1.0], [NAN], [NAN]])
    scores = label_scores(
        EVALUATORS["linear probe"], np.eye(3), train_y, np.arange(3), np.eye(3), 0
    )
    assert (scores == 1).all()
