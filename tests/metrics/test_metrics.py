"""Exact metrics against scikit-learn and against loops over pairs; weights against repeated rows."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    balanced_accuracy_score,
    confusion_matrix,
    recall_score,
    roc_auc_score,
    top_k_accuracy_score,
)

from simclr_med import metrics

NAN = float("nan")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def auc_over_pairs(positive, scores):
    wins, pairs = 0.0, 0
    for p in scores[positive]:
        for q in scores[~positive]:
            wins += (p > q) + 0.5 * (p == q)
            pairs += 1
    return wins / pairs if pairs else NAN


def random_labels(seed):
    """Returns truth [n, 4] and scores of unknown labels, ties, a one-class label, constant scores."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(4, 40))
    truth = (rng.uniform(size=(n, 4)) < rng.uniform(0.1, 0.9, 4)).astype(float)
    truth[rng.uniform(size=truth.shape) < rng.uniform(0, 0.4)] = NAN
    truth[:, 2] = np.where(np.isnan(truth[:, 2]), NAN, seed % 2)
    scores = rng.integers(0, int(rng.integers(2, 20)), (n, 4)) / 20
    scores[:, 3] = 0.25
    if seed % 3 == 0:
        truth[:, 0] = NAN
    return truth, scores


@pytest.mark.parametrize("seed", range(200))
def test_areas_equal_scikit_learn_and_all_pairs(seed):
    truth, scores = random_labels(seed)
    aucs, aps = metrics.per_class_areas(metrics.rankings(truth, scores))
    expected_aucs, expected_aps = [], []
    for y, s in zip(truth.T, scores.T):
        y, s = y[~np.isnan(y)], s[~np.isnan(y)]
        defined = 0 < y.sum() < len(y)
        expected_aucs.append(roc_auc_score(y, s) if defined else NAN)
        expected_aps.append(average_precision_score(y, s) if y.sum() else NAN)
        np.testing.assert_allclose(expected_aucs[-1], auc_over_pairs(y == 1, s))
        assert metrics.roc_auc(y == 1, s) == pytest.approx(expected_aucs[-1], nan_ok=True)
        assert metrics.average_precision(y == 1, s) == pytest.approx(expected_aps[-1], nan_ok=True)
    np.testing.assert_allclose(aucs, expected_aucs, rtol=1e-12)
    np.testing.assert_allclose(aps, expected_aps, rtol=1e-12)
    if np.isfinite(expected_aucs).any():
        assert metrics.macro_roc_auc(truth, scores) == pytest.approx(np.nanmean(expected_aucs))
    if np.isfinite(expected_aps).any():
        expected = np.nanmean(expected_aps)
        assert metrics.macro_average_precision(truth, scores) == pytest.approx(expected)


def test_areas_of_many_cases_equal_scikit_learn():
    rng = np.random.default_rng(0)
    truth = rng.uniform(size=3000) < 0.3
    for scores in (rng.normal(size=3000) + truth, rng.integers(0, 900, 3000) + 100 * truth):
        assert metrics.roc_auc(truth, scores) == pytest.approx(roc_auc_score(truth, scores))
        expected = average_precision_score(truth, scores)
        assert metrics.average_precision(truth, scores) == pytest.approx(expected)


@pytest.mark.parametrize("seed", range(20))
def test_metrics_of_one_class_a_case_equal_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    truth = rng.choice(5, size=30, p=[0.5, 0.3, 0.1, 0.1, 0.0])  # class 4 is absent
    scores = rng.permuted(np.tile(np.arange(5) / 10, (30, 1)), axis=1)
    guess = scores.argmax(axis=1)
    assert metrics.top_k(truth, scores, 1) == pytest.approx((guess == truth).mean())
    for k in (2, 3):
        expected = top_k_accuracy_score(truth, scores, k=k, labels=range(5))
        assert metrics.top_k(truth, scores, k) == pytest.approx(expected)
    confusion = metrics.confusion_matrix(truth, scores)
    assert (confusion == confusion_matrix(truth, guess, labels=range(5))).all()
    recalls = metrics.recalls(truth, scores)
    present = np.unique(truth)
    expected = recall_score(truth, guess, labels=present, average=None)
    np.testing.assert_allclose(recalls[present], expected)
    assert np.isnan(recalls[4])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn remarks on guesses of class 4
        expected = balanced_accuracy_score(truth, guess)
    assert metrics.balanced_accuracy(truth, scores) == pytest.approx(expected)


def test_of_equal_scores_the_lower_class_is_first_as_in_argmax():
    scores = np.array([[0.2, 0.4, 0.4], [0.25, 0.25, 0.5], [0.3, 0.3, 0.3]])
    hits = [[metrics.in_top_k(np.full(3, c), scores, k).tolist() for c in range(3)] for k in (1, 2)]
    assert hits[0] == [[False, False, True], [True, False, False], [False, True, False]]
    assert hits[1] == [[False, True, True], [True, False, True], [True, True, False]]


@pytest.mark.parametrize("multilabel", [False, True])
def test_calibration_error_equals_a_loop_over_bins(multilabel):
    rng = np.random.default_rng(0)
    n = 200
    if multilabel:
        scores = rng.uniform(size=(n, 3))
        scores[:9, 0] = [0, 1, 1 / 15, 2 / 15, 0.2, 0.4, 0.6, 0.8, 14 / 15]  # edges of bins
        truth = rng.choice([0.0, 1.0, NAN], size=(n, 3))
        pairs = [(p, y) for ps, ys in zip(scores, truth) for p, y in zip(ps, ys) if not np.isnan(y)]
    else:
        scores = rng.dirichlet([0.3] * 4, size=n)
        truth = rng.integers(0, 4, n)
        pairs = [(s.max(), float(s.argmax() == y)) for s, y in zip(scores, truth)]
    expected = 0.0
    for b in range(15):
        inside = [(p, y) for p, y in pairs if b / 15 < p <= (b + 1) / 15 or (b == 0 and p == 0)]
        if inside:
            confidence, happened = np.mean(inside, axis=0)
            expected += len(inside) / len(pairs) * abs(happened - confidence)
    error = metrics.expected_calibration_error(truth, scores)
    assert error == pytest.approx(expected, rel=1e-12)


def test_calibration_error_is_undefined_for_what_is_no_probability():
    truth = np.array([0, 1])
    assert np.isnan(metrics.expected_calibration_error(truth, np.array([[3.0, 1], [-2, 0.5]])))
    one = np.array([[1.0, 0], [0, 1]])
    assert metrics.expected_calibration_error(truth, one) == 0
    some = np.array([[1.0, 0], [NAN, 1.0]])
    no_scores = np.array([[0.5, NAN], [0.5, NAN]])  # of the second label
    assert metrics.expected_calibration_error(some, no_scores) == pytest.approx(0.5)


def test_sensitivity_and_specificity_equal_counts():
    rng = np.random.default_rng(0)
    truth = rng.choice([0.0, 1.0, NAN], size=(50, 4))
    truth[:, 2] = np.where(np.isnan(truth[:, 2]), NAN, 1)
    scores, thresholds = rng.integers(0, 5, (50, 4)) / 4, np.array([0.5, 0.25, 0.5, NAN])
    sensitivity, specificity = metrics.sensitivity_specificity(truth, scores, thresholds)
    for label in (0, 1):
        yes, no = truth[:, label] == 1, truth[:, label] == 0
        called = scores[:, label] >= thresholds[label]
        assert sensitivity[label] == pytest.approx(called[yes].mean())
        assert specificity[label] == pytest.approx((~called)[no].mean())
    assert np.isfinite(sensitivity[2]) and np.isnan(specificity[2])
    assert np.isnan([sensitivity[3], specificity[3]]).all()


def one_class_metrics(truth, scores, weights=None):
    return [
        metrics.top_k(truth, scores, 1, weights),
        metrics.top_k(truth, scores, 3, weights),
        metrics.balanced_accuracy(truth, scores, weights),
        metrics.macro_roc_auc(truth, scores, weights),
        metrics.macro_average_precision(truth, scores, weights),
        metrics.expected_calibration_error(truth, scores, weights),
        *metrics.per_class_areas(metrics.rankings(truth, scores), weights)[0],
        *metrics.recalls(truth, scores, weights),
    ]


def multilabel_metrics(truth, scores, weights=None):
    aucs, aps = metrics.per_class_areas(metrics.rankings(truth, scores), weights)
    sides = metrics.sensitivity_specificity(truth, scores, np.full(4, 0.4), weights)
    ece = metrics.expected_calibration_error(truth, scores, weights)
    return [metrics.macro_roc_auc(truth, scores, weights), ece, *aucs, *aps, *sides[0], *sides[1]]


@pytest.mark.parametrize("multilabel", [False, True])
def test_a_weight_counts_like_repeated_rows(multilabel):
    rng = np.random.default_rng(0)
    n = 25
    scores = rng.integers(0, 6, (n, 4)) / 6
    truth = rng.choice([0.0, 1.0, NAN], size=(n, 4)) if multilabel else rng.integers(0, 4, n)
    metrics_of = multilabel_metrics if multilabel else one_class_metrics
    weights = rng.integers(0, 4, (2, 5, n))
    weights[0, 0] = 0  # nothing drawn: all undefined
    weights[0, 1, 3:] = 0
    weighted = np.array(metrics_of(truth, scores, weights))
    assert weighted.shape[1:] == (2, 5)
    assert np.isnan(weighted[:, 0, 0]).all()
    for i, j in np.ndindex(2, 5):
        rows = np.repeat(np.arange(n), weights[i, j])
        np.testing.assert_allclose(
            weighted[:, i, j], metrics_of(truth[rows], scores[rows]), rtol=1e-12
        )
    np.testing.assert_allclose(metrics_of(truth, scores), metrics_of(truth, scores, np.ones(n)))


def test_fractions_as_weights_keep_ratios():
    rng = np.random.default_rng(0)
    truth, scores = rng.integers(0, 4, 30), rng.integers(0, 6, (30, 4)) / 6
    weights = rng.integers(0, 4, (3, 30))
    np.testing.assert_allclose(
        one_class_metrics(truth, scores, weights / 7), one_class_metrics(truth, scores, weights)
    )


def test_an_undefined_label_is_nan_and_left_out_of_the_macro_average():
    assert np.isnan(metrics.roc_auc(np.array([True, True]), np.array([0.1, 0.2])))
    truth = np.array([0, 1, 0, 1])  # class 2 never occurs
    scores = np.array([[0.9, 0.1, 0.3], [0.2, 0.8, 0.1], [0.6, 0.4, 0.2], [0.7, 0.3, 0.1]])
    binary = [metrics.roc_auc(truth == c, scores[:, c]) for c in (0, 1)]
    assert metrics.macro_roc_auc(truth, scores) == pytest.approx(np.mean(binary))
    assert np.isnan(metrics.macro_roc_auc(np.array([2, 2]), scores[:2]))


def test_a_label_without_scores_has_no_areas():
    truth, scores = np.array([[1.0, 1.0], [0.0, 0.0]]), np.array([[0.9, NAN], [0.1, NAN]])
    aucs, aps = metrics.per_class_areas(metrics.rankings(truth, scores))
    assert aucs.tolist()[0] == 1 and np.isnan([aucs[1], aps[1]]).all()


def unknown_labels(seed):
    """Returns truth with unknown labels, one label without negatives, and scores with ties."""
    rng = np.random.default_rng(seed)
    truth = rng.choice([0.0, 1.0, NAN], size=(40, 4), p=[0.5, 0.3, 0.2])
    truth[:, 3] = np.where(np.isnan(truth[:, 3]), NAN, 1.0)
    return truth, rng.integers(0, 6, (40, 4)) / 5


@pytest.mark.parametrize("seed", range(20))
def test_macro_metrics_equal_scikit_learn_over_known_and_defined_labels(seed):
    truth, scores = unknown_labels(seed)
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
    truth, scores = unknown_labels(0)
    times = np.random.default_rng(1).integers(0, 3, (5, 40))
    values = metrics.macro_roc_auc(truth, scores, times)
    for value, draw in zip(values, times):
        drawn = np.repeat(np.arange(40), draw)
        assert value == pytest.approx(metrics.macro_roc_auc(truth[drawn], scores[drawn]))
