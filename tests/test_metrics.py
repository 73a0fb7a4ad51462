"""Exact metrics against scikit-learn, weights against repeated rows, bootstrap against a loop."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from simclr_med import metrics


@pytest.mark.parametrize("seed", range(50))
def test_auc_and_average_precision_equal_scikit_learn_with_ties(seed):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(3, 60))
    truth = rng.uniform(size=n) < rng.uniform(0.1, 0.9)
    truth[:2] = [True, False]
    scores = rng.integers(0, int(rng.integers(1, 20)), size=n) / 7.0  # ties; sometimes constant
    assert metrics.roc_auc(truth, scores) == pytest.approx(roc_auc_score(truth, scores))
    expected = average_precision_score(truth, scores)
    assert metrics.average_precision(truth, scores) == pytest.approx(expected)


def test_a_weight_counts_like_repeated_rows():
    rng = np.random.default_rng(0)
    truth, scores = rng.uniform(size=20) < 0.4, rng.integers(0, 6, 20) / 3
    weights = rng.integers(0, 4, size=(5, 20))
    for metric in (metrics.roc_auc, metrics.average_precision):
        weighted = metric(truth, scores, weights)
        repeated = [metric(np.repeat(truth, w), np.repeat(scores, w)) for w in weights]
        np.testing.assert_allclose(weighted, repeated)


def test_an_undefined_label_is_nan_and_left_out_of_the_macro_average():
    assert np.isnan(metrics.roc_auc(np.array([True, True]), np.array([0.1, 0.2])))
    truth = np.array([0, 1, 0, 1])  # class 2 never occurs
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.1], [0.6, 0.4, 0.2], [0.7, 0.3, 0.1]])
    binary = [metrics.roc_auc(truth == c, scores[:, c]) for c in (0, 1)]
    assert metrics.macro_roc_auc(truth, scores) == pytest.approx(np.mean(binary))


def test_bootstrap_draws_patients_with_all_their_cases():
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(30), 4)
    correct = np.repeat(rng.uniform(size=30) < 0.5, 4)  # a patient is wholly right or wholly wrong
    truth, scores = np.zeros(120, int), np.stack([correct, ~correct], axis=1).astype(float)

    def accuracy(weights):
        return metrics.top_1(truth, scores, weights)

    low, high = metrics.bootstrap(accuracy, patients, resamples=2000)
    draws = rng.integers(0, 30, size=(2000, 30))
    slow = [correct[::4][draw].mean() for draw in draws]
    assert (low, high) == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.04)
    by_case = metrics.bootstrap(accuracy, np.arange(120), resamples=2000)
    assert high - low > 1.5 * (by_case[1] - by_case[0])


def test_bootstrap_equals_a_loop_over_the_same_draws():
    rng = np.random.default_rng(2)
    patients = rng.integers(0, 7, size=25)
    truth, scores = rng.uniform(size=25) < 0.5, rng.integers(0, 9, size=25) / 4
    low, high = metrics.bootstrap(
        lambda w: metrics.roc_auc(truth, scores, w), patients, resamples=60, seed=3, chunk=25
    )
    names, slow = np.unique(patients), []
    draws = np.random.default_rng(3)
    for size in (25, 25, 10):  # in chunks, as the resamples are drawn
        for times in draws.multinomial(len(names), np.full(len(names), 1 / len(names)), size):
            rows = np.concatenate(
                [
                    np.flatnonzero(patients == name)
                    for name, t in zip(names, times)
                    for _ in range(t)
                ]
            )
            slow.append(
                roc_auc_score(truth[rows], scores[rows]) if 0 < truth[rows].mean() < 1 else np.nan
            )
    assert (low, high) == pytest.approx(tuple(np.nanpercentile(slow, [2.5, 97.5])))


def test_no_defined_resample_gives_nan():
    scores = np.arange(4.0)
    interval = metrics.bootstrap(
        lambda w: metrics.roc_auc(np.ones(4, bool), scores, w), np.arange(4), resamples=10
    )
    assert np.isnan(interval).all()
