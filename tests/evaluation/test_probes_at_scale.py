"""The probes' pieces and shared passes against scikit-learn, and against one label at a time."""

import math

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupShuffleSplit
from sklearn.preprocessing import StandardScaler

from simclr_med.evaluation.probes import knn, linear_probe, logistic, small

NAN = math.nan


@pytest.fixture
def in_pieces(monkeypatch):
    """As if there were many features, and they were read 7 cases at a time."""
    monkeypatch.setattr(linear_probe, "_SMALL", 0)
    monkeypatch.setattr(logistic, "_ROWS", 7)


def random_features(n=300, d=12, seed=0, dtype=np.float32):
    """Returns features of unequal scales and means, all correlated, one of them constant; patients."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, d)) / np.arange(1, d + 1) @ rng.normal(size=(d, d))
    x = x * rng.uniform(0.01, 100, d) + rng.normal(size=d) * 10
    x[:, 3] = 5.1
    return x.astype(dtype), rng.integers(0, n // 3, n).astype(str)


def labelled(x, num_labels=3, seed=1):
    """Returns labels [n, L], the later the rarer and the less dependent on x; a fifth is unknown."""
    rng = np.random.default_rng(seed)
    z = StandardScaler().fit_transform(x.astype(float))
    logits = z @ rng.normal(size=(x.shape[1], num_labels)) * 0.3 ** np.arange(num_labels)
    logits -= np.arange(num_labels)
    y = (logits + rng.logistic(size=logits.shape) > 0).astype(float)
    y[rng.random(y.shape) < 0.2] = NAN
    return y


def by_sklearn(x, y, elsewhere, c, tol=1e-10):
    """Returns scikit-learn's logits, [m] of two classes or [m, K], converged far by default."""
    scaler = StandardScaler().fit(x.astype(float))
    model = LogisticRegression(C=c, tol=tol, max_iter=100_000)
    model.fit(scaler.transform(x.astype(float)), y)
    return model.decision_function(scaler.transform(elsewhere.astype(float)))


def penalty_by_sklearn(x, y, patients, seed):
    """Returns the C of the least log loss on held-out patients; every fit is scikit-learn's."""
    fit, held_out = next(
        GroupShuffleSplit(1, test_size=0.25, random_state=seed).split(x, y, patients)
    )
    losses = []
    for c in linear_probe.PENALTIES:
        logits = by_sklearn(x[fit], y[fit], x[held_out], c)
        losses.append(np.logaddexp(0, np.where(y[held_out] == 1, -logits, logits)).mean())
    return linear_probe.PENALTIES[int(np.argmin(losses))]


def test_labels_have_the_log_odds_and_penalties_of_scikit_learn(in_pieces):
    x, patients = random_features()
    y, elsewhere = labelled(x), random_features(seed=2)[0]
    facts = {}
    scores = linear_probe.fit_predict_proba(x, y, patients, elsewhere, 3, 0, facts)
    odds = np.log(scores / (1 - scores))
    assert scores.dtype == np.float64
    assert facts["fits"] == 3 * 5 and facts["not_converged"] == 0
    for label in range(3):
        known = ~np.isnan(y[:, label])
        c = penalty_by_sklearn(x[known], y[known, label], patients[known], 0)
        assert facts["penalties"][label] == c
        expected = by_sklearn(x[known], y[known, label], elsewhere, c)
        np.testing.assert_allclose(odds[:, label], expected, atol=1e-4)
    assert len(set(facts["penalties"])) > 1  # or a C for all would do


@pytest.mark.parametrize("c", linear_probe.PENALTIES)
def test_classes_have_the_log_odds_of_scikit_learns_softmax(in_pieces, c, monkeypatch):
    x, patients = random_features()
    y = np.nan_to_num(labelled(x, 4)).argmax(1)
    monkeypatch.setattr(linear_probe, "PENALTIES", (c,))
    elsewhere = random_features(seed=2)[0]
    odds = np.log(linear_probe.fit_predict_proba(x, y, patients, elsewhere, 4, 0))
    expected = by_sklearn(x, y, elsewhere, c)
    np.testing.assert_allclose(odds - odds[:, :1], expected - expected[:, :1], atol=1e-4)


def test_few_features_are_fitted_by_scikit_learn_as_they_always_were():
    x, patients = random_features()
    y, elsewhere = labelled(x), random_features(seed=2)[0]
    facts = {}
    scores = linear_probe.fit_predict_proba(x, y, patients, elsewhere, 3, 0, facts)
    assert facts["fits"] == 15 and facts["not_converged"] == 0
    for label, c in enumerate(facts["penalties"]):
        known = ~np.isnan(y[:, label])
        expected = by_sklearn(x[known], y[known, label], elsewhere, c, tol=1e-4)
        odds = np.log(scores[:, label] / (1 - scores[:, label]))
        np.testing.assert_allclose(odds, expected, atol=0.02)
    y = np.nan_to_num(y).argmax(1)
    odds = np.log(linear_probe.fit_predict_proba(x, y, patients, elsewhere, 3, 0, facts))
    expected = by_sklearn(x, y, elsewhere, facts["penalties"][0], tol=1e-4)
    relative_odds = odds - odds[:, :1]
    np.testing.assert_allclose(relative_odds, expected - expected[:, :1], atol=0.02)


def test_correlated_features_need_few_passes(in_pieces, monkeypatch):
    """2,000 cases whose features' variances fall a millionfold; scikit-learn runs out of 300."""
    rng = np.random.default_rng(0)
    mixed = np.linalg.qr(rng.normal(size=(100, 100)))[0]
    x = (rng.normal(size=(2000, 100)) * np.geomspace(1, 1e-3, 100)) @ mixed
    x, y = x.astype(np.float32), labelled(x)
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 40)
    monkeypatch.setattr(logistic, "_ROWS", 1000)
    facts = {}
    linear_probe.fit_predict_proba(x, y, np.arange(2000), x[:1], 3, 0, facts)
    assert facts["not_converged"] == 0


@pytest.mark.parametrize("features", [0, 10**9])
def test_fits_that_run_out_of_iterations_are_reported(features, monkeypatch, capsys):
    x, patients = random_features()
    monkeypatch.setattr(linear_probe, "_SMALL", features)
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 1)
    monkeypatch.setattr(small, "MAX_ITERATIONS", 1)
    monkeypatch.setattr(linear_probe, "MAX_ITERATIONS", 1)
    facts = {}
    linear_probe.fit_predict_proba(x, labelled(x), patients, x, 3, 0, facts)
    assert facts["not_converged"] == 15 and facts["largest_gradient"] > 1e-3
    printed = capsys.readouterr().out
    assert printed.startswith(
        "Linear probe: 15 of 15 fits did not converge in 1 iterations; the largest gradient left is 0."
    )
    assert len(printed.splitlines()) == 1


def votes(x, y, test):
    """Returns kNN's score of one label: every similarity at once, sorted."""
    unit, unit_test = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, test))
    similarity = unit_test.astype(float) @ unit.astype(float).T
    nearest = np.argsort(-similarity, axis=1)[:, :20]
    weights = np.exp((np.take_along_axis(similarity, nearest, 1) - 1) / 0.07)
    return (weights * y[nearest]).sum(1) / weights.sum(1)


@pytest.mark.parametrize(
    ("pieces", "large"), [((1024, 8192), 1e11), ((11, 23), 1e11), ((1024, 8192), 0), ((11, 23), 0)]
)
def test_neighbours_are_the_nearest_that_know_the_label(pieces, large, monkeypatch):
    monkeypatch.setattr(knn, "_ROWS", pieces[0])
    monkeypatch.setattr(knn, "_COLUMNS", pieces[1])
    monkeypatch.setattr(knn, "_LARGE", large)  # 0: in bfloat16 first
    monkeypatch.setattr(knn, "_multiplies_bfloat16", lambda: True)
    x, _ = random_features()
    y = labelled(x, 4)
    y[:, 2] = np.nan_to_num(y[:, 2])  # known of all
    y[12:, 3] = NAN  # of fewer than there are neighbours
    y = np.concatenate([y, np.full((300, 1), NAN)], axis=1)
    test = random_features(n=50, seed=2)[0]
    scores = knn.fit_predict_proba(x, y, None, test, 5, 0)
    for label in range(4):
        known = ~np.isnan(y[:, label])
        expected = votes(x[known], y[known, label], test)
        np.testing.assert_allclose(scores[:, label], expected, atol=1e-4)
    assert np.isnan(scores[:, 4]).all()
    of_classes = knn.fit_predict_proba(x, y[:, 2].astype(int), None, test, 2, 0)
    np.testing.assert_allclose(of_classes[:, 1], scores[:, 2], atol=1e-6)


@pytest.mark.parametrize(
    ("alike", "candidates", "searched_again"),
    [("no", 48, 0), ("no", 20, 70), ("no", 21, 60), ("much", 21, 60), ("copies", 48, 24)],
)
def test_bfloat16_finds_the_neighbours_of_float32(alike, candidates, searched_again, monkeypatch):
    """Also where rounding hides neighbours, and where more are equal than are kept."""
    monkeypatch.setattr(knn, "_COLUMNS", 700)
    monkeypatch.setattr(knn, "_CANDIDATES", candidates)
    rng = np.random.default_rng(3)
    x, test = rng.standard_normal((2000, 32)), rng.standard_normal((70, 32))
    if alike == "much":  # cosines of 0.99 and more, 6e-5 apart at the limit
        x, test = 0.05 * x + 1, 0.05 * test + 1
    if alike == "copies":
        x[1::2] = x[1]
        test[::3] = x[1]
    x, test = x.astype(np.float32), test.astype(np.float32)
    known = rng.random((3, 2000)) < [[1.0], [0.9], [0.01]]
    searched = []  # rows in float32
    monkeypatch.setattr(
        knn, "_search", lambda *a, f=knn._search: searched.append(len(a[1])) or f(*a)
    )
    for result, members in zip(knn._search_rounded(x, test, known), known, strict=True):
        cases = np.flatnonzero(members)
        unit, unit_test = (
            v / np.linalg.norm(v.astype(float), axis=1, keepdims=True) for v in (x, test)
        )
        similarity = unit_test @ unit[cases].T
        expected = -np.sort(-similarity, axis=1)[:, :20]
        np.testing.assert_allclose(result.similarity, expected, atol=1e-6)
        own = np.take_along_axis(similarity, np.searchsorted(cases, result.index), 1)
        np.testing.assert_allclose(own, expected, atol=1e-6)
        assert (
            all(len(set(row)) == len(row) for row in result.index) and members[result.index].all()
        )
    assert searched[0] == 70 and sum(searched[1:]) in range(searched_again, 71)
    if not searched_again:
        assert searched == [70]
