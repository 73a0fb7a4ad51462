"""Resampling of patients against loops over the same draws."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from simclr_med import metrics
from simclr_med.metrics import resampling


def test_a_patient_is_drawn_with_all_their_cases():
    patients = np.array(["b", "a", "b", "c", "b", "a"])
    weights = np.concatenate(list(resampling.draws(patients, 500, seed=0)))
    assert weights.shape == (500, 6)
    assert (weights[:, [2, 4]] == weights[:, [0]]).all() and (weights[:, 5] == weights[:, 1]).all()
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # as many patients as there are
    share = weights.mean(axis=0)
    np.testing.assert_allclose(share, 1, atol=0.15)
    never = (weights[:, [0, 1, 3]] == 0).mean()
    assert never == pytest.approx((2 / 3) ** 3, abs=0.04)  # with replacement


def test_draws_depend_on_the_seed_and_not_on_the_chunk():
    patients = np.arange(20)
    first, again, other = (
        np.concatenate(list(resampling.draws(patients, 50, seed, chunk)))
        for seed, chunk in ((0, 7), (0, 50), (1, 7))
    )
    assert (first == again).all() and (first != other).any()


def test_bootstrap_equals_a_loop_over_the_same_draws():
    rng = np.random.default_rng(2)
    patients = rng.integers(0, 7, size=25)
    truth, scores = rng.uniform(size=25) < 0.3, rng.integers(0, 9, size=25) / 4
    interval = metrics.bootstrap(
        lambda w: metrics.roc_auc(truth, scores, w), patients, resamples=60, seed=3, chunk=25
    )
    names, slow = np.unique(patients), []
    draws = np.random.default_rng(3)
    for _ in range(60):
        drawn = names[draws.integers(len(names), size=len(names), dtype=np.uint32)]
        rows = np.concatenate([np.flatnonzero(patients == name) for name in drawn])
        has_both = 0 < truth[rows].mean() < 1
        slow.append(roc_auc_score(truth[rows], scores[rows]) if has_both else np.nan)
    assert interval == pytest.approx(tuple(np.nanpercentile(slow, [2.5, 97.5])))


def test_intervals_by_patient_are_wider_where_cases_of_a_patient_are_alike():
    rng = np.random.default_rng(1)
    patients = np.repeat(np.arange(30), 4)
    correct = np.repeat(rng.uniform(size=30) < 0.5, 4)  # a patient is wholly right or wholly wrong
    truth, scores = np.zeros(120, int), np.stack([correct, ~correct], axis=1).astype(float)

    def accuracy(weights):
        return metrics.top_k(truth, scores, 1, weights)

    low, high = metrics.bootstrap(accuracy, patients, resamples=2000)
    draws = rng.integers(0, 30, size=(2000, 30))
    slow = [correct[::4][draw].mean() for draw in draws]
    assert (low, high) == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.04)
    by_case = metrics.bootstrap(accuracy, np.arange(120), resamples=2000)
    assert high - low > 1.5 * (by_case[1] - by_case[0])


def test_no_defined_resample_and_a_single_patient_give_nan():
    scores = np.arange(4.0)
    for truth, patients in (
        (np.ones(4, bool), np.arange(4)),
        (scores > 1, np.zeros(4)),
        (scores[:0] > 1, np.zeros(0)),
    ):
        interval = metrics.bootstrap(
            lambda w, t=truth: metrics.roc_auc(t, scores[: len(t)], w), patients, resamples=10
        )
        assert np.isnan(interval).all()


def test_undefined_resamples_are_left_out_of_the_interval():
    values = np.array([np.nan, 1.0, 2.0, 3.0, np.nan])
    assert resampling.interval(values) == pytest.approx(
        tuple(np.percentile([1, 2, 3], [2.5, 97.5]))
    )
