"""Influences against numerical derivatives, intervals against closed forms, loops and simulation."""

import itertools

import numpy as np
import pytest
import scipy.stats

from simclr_med import metrics
from simclr_med.metrics import influence, intervals
from simclr_med.metrics.intervals import Estimate, Patients


def scored(seed, n=40, share=0.3, digits=1):
    """Returns (positive bool [n], scores [n]) with ties."""
    rng = np.random.default_rng(seed)
    positive = rng.uniform(size=n) < share
    return positive, np.round(rng.normal(size=n) + positive, digits)


@pytest.mark.parametrize(
    ("influence_of", "metric"),
    [
        (influence.auc, metrics.roc_auc),
        (influence.average_precision, metrics.average_precision),
        (lambda y, s: influence.share(y), lambda y, s, w=None: metrics.share(y, w)),
    ],
)
def test_influence_is_the_derivative_of_the_metric_by_each_weight(influence_of, metric):
    for seed, digits in itertools.product(range(3), (0, 1, 6)):
        positive, scores = scored(seed, digits=digits)
        value, derivative = influence_of(positive, scores)
        assert value == pytest.approx(metric(positive, scores))
        step = 1e-6 * np.eye(len(scores))
        slow = (metric(positive, scores, 1 + step) - metric(positive, scores, 1 - step)) / 2e-6
        np.testing.assert_allclose(derivative, slow, atol=1e-8)


def test_auc_variance_is_delongs():
    """Against the covariance of the placements, in DeLong's own words."""
    positive, scores = scored(5, n=60)
    x, y = scores[positive], scores[~positive]
    above = (x[:, None] > y) + 0.5 * (x[:, None] == y)
    slow = above.mean(1).var(ddof=1) / len(x) + above.mean(0).var(ddof=1) / len(y)
    _, derivative = influence.auc(positive, scores)
    sides = [np.where(which, derivative, 0) for which in (positive, ~positive)]
    variance, _ = intervals._observed(sides, [len(x), len(y)])
    assert variance == pytest.approx(slow)


def test_wilson_equals_the_roots_of_its_equation_and_a_published_value():
    low, high = intervals.wilson(81 / 263, 263)  # Newcombe 1998, Table I: 0.2553 to 0.3662
    assert (low, high) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert intervals.wilson(1.0, 10)[0] == pytest.approx(10 / (10 + intervals.Z**2))
    roots = intervals._score(0.3, lambda t: t * (1 - t) / 50, intervals.Z**2)
    assert roots == pytest.approx(intervals.wilson(0.3, 50))


def test_one_case_a_patient_needs_no_correction_and_copies_add_nothing():
    hits = np.arange(40) % 4 > 0
    alone = intervals.share(hits, Patients(np.arange(40)))
    assert alone.interval == pytest.approx(intervals.wilson(0.75, 40))
    copies = intervals.share(np.repeat(hits, 5), Patients(np.repeat(np.arange(40), 5)))
    assert copies.interval == pytest.approx(alone.interval, abs=1e-6)
    rng = np.random.default_rng(0)
    unlike = rng.permutation(np.repeat(hits, 50))
    loose = intervals.share(unlike, Patients(np.repeat(np.arange(400), 5)))
    assert loose.interval == pytest.approx(intervals.wilson(0.75, 2000), abs=0.01)


def test_separated_scores_give_no_interval_of_width_zero():
    positive = np.arange(40) < 12
    auc = intervals.roc_auc(positive, positive * 1.0, Patients(np.arange(40)))
    assert auc.value == 1 and auc.high == 1 and 0.7 < auc.low < 0.95
    ap = intervals.average_precision(np.arange(60) < 25, -np.arange(60.0), Patients(np.arange(60)))
    assert ap.value == 1 and 0.7 < ap.low < 0.95


@pytest.mark.parametrize(
    ("positives", "n", "why"),
    [
        (0, 30, "no case with it"),
        (30, 30, "no case without it"),
        (3, 30, "too few: 3 positive patients"),
        (1, 30, "too few: 1 positive patient"),
        (25, 30, "too few: 5 negative patients"),
        (10, 30, ""),
    ],
)
def test_too_few_patients_give_a_reason_and_no_interval(positives, n, why):
    positive = np.arange(n) < positives
    scores = np.random.default_rng(0).normal(size=n)
    auc = intervals.roc_auc(positive, scores, Patients(np.arange(n)))
    assert auc.why == why and (auc.low == auc.low) == (not why)
    twice = intervals.roc_auc(  # two cases of a patient are one patient
        np.repeat(positive, 2), np.repeat(scores, 2), Patients(np.repeat(np.arange(n), 2))
    )
    assert twice.why == why
    assert intervals.share(positive[:9], Patients(np.arange(9))).why == "too few: 9 patients"


def test_sums_square_and_add_with_their_correlation():
    rng = np.random.default_rng(0)
    one, other = rng.normal(size=(2, 50))
    other -= one * (one @ other) / (one @ one)  # uncorrelated
    a = Estimate(0.7, 0.6, 0.75, one)
    b = Estimate(0.5, 0.3, 0.6, other)
    difference = intervals.difference(b, a)
    assert difference.interval == pytest.approx(
        [0.2 - np.hypot(0.1, 0.1), 0.2 + np.hypot(0.05, 0.2)]
    )
    same = intervals.difference(a, Estimate(0.7, 0.6, 0.75, one))
    assert same.interval == pytest.approx([0, np.sqrt(0.05**2 + 0.1**2 - 2 * 0.05 * 0.1)], abs=0.06)
    apart = intervals.difference_of_independent(b, Estimate(0.7, 0.6, 0.75, other))
    assert apart.interval == pytest.approx(difference.interval)  # though the influences are equal
    total = intervals.mean({"x": a, "y": Estimate(0.9, 0.8, 0.95, one)}, Patients(np.arange(50)))
    assert total.interval == pytest.approx([0.7, 0.85])  # wholly correlated: limits average
    few = intervals.mean({"x": a, "y": b.without_interval("too few: 2 patients")}, Patients([]))
    assert few.why == "too few: 2 patients (y)" and few.value == pytest.approx(0.6)


def test_the_design_effect_is_that_of_the_correlation_within_patients():
    rng = np.random.default_rng(1)
    patients, k, r = 4000, 3, 0.4
    values = np.sqrt(r) * rng.normal(size=(patients, 1)) + np.sqrt(1 - r) * rng.normal(
        size=(patients, k)
    )
    of_case = np.repeat(np.arange(patients), k)
    assert intervals._design_effect([values.ravel()], [of_case]) == pytest.approx(
        1 + (k - 1) * r, abs=0.06
    )
    alike = intervals._design_effect([np.ones(6)], [np.arange(6) // 2])
    assert alike == 2  # what cannot be seen is taken to be the worst


@pytest.mark.slow
@pytest.mark.parametrize(("positives", "patients", "k"), [(10, 20, 1), (10, 50, 3), (20, 200, 1)])
def test_intervals_cover(positives, patients, k):
    """Binormal scores with a patient effect; 3 standard errors of 1,000 simulations are 0.02."""
    rng, num_covering = np.random.default_rng(0), {"auc": 0, "share": 0}
    shift, r = 1.2, 0.4 if k > 1 else 0.0
    true = {"auc": scipy.stats.norm.cdf(shift / np.sqrt(2)), "share": scipy.stats.norm.cdf(0.6)}
    for _ in range(1000):
        latent = np.sqrt(r) * rng.normal(size=(patients, 1))
        latent = latent + np.sqrt(1 - r) * rng.normal(size=(patients, k))
        latent[:positives] += shift
        positive = np.repeat(np.arange(patients) < positives, k)
        of_case = Patients(np.repeat(np.arange(patients), k))
        scores = latent.ravel()
        estimates = {
            "auc": intervals.roc_auc(positive, scores, of_case),
            "share": intervals.share((scores > 0.6) == positive, of_case),
        }
        for name, estimate in estimates.items():
            num_covering[name] += estimate.low <= true[name] <= estimate.high
    for name, count in num_covering.items():
        assert 0.925 <= count / 1000 <= 0.98, name
