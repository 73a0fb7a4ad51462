"""Temperature scaling finds the temperature that was put in; top-1 stays, the calibration error falls."""

import numpy as np
import pytest
import scipy.special

from simclr_med import metrics
from simclr_med.metrics import temperature


def random_cases(seed, n=20000, classes=4, spread=2.0):
    """Returns logits, and labels that are as likely as the logits say."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (n, classes))
    p = scipy.special.softmax(logits, axis=1)
    return logits, (p.cumsum(1) > rng.random((n, 1))).argmax(1)


@pytest.mark.parametrize("put_in", [0.4, 1.0, 3.0])
def test_the_temperature_that_was_put_in_is_found(put_in):
    logits, truth = random_cases(0)
    scores = scipy.special.softmax(logits * put_in, axis=1)  # too sure where it is above 1
    fitted = temperature.fit(truth, scores)
    assert fitted == pytest.approx(put_in, rel=0.05)
    scaled = temperature.scaled(scores, fitted, False)
    assert (scaled.argmax(1) == scores.argmax(1)).all()
    error = metrics.expected_calibration_error
    assert error(truth, scaled) < 0.012
    if put_in != 1:
        assert error(truth, scores) > 0.06
        nll = temperature.negative_log_likelihood
        assert nll(truth, scaled) < nll(truth, scores)


def test_it_is_the_best_of_a_scan():
    logits, truth = random_cases(1, n=300)
    scores = scipy.special.softmax(logits * 2.3, axis=1)
    grid = np.exp(np.linspace(np.log(0.5), np.log(6), 4001))
    losses = []
    for t in grid:  # written out: the mean over cases of log sum exp(z / t) - z_true / t
        z = logits * 2.3 / t
        losses.append((np.log(np.exp(z).sum(1)) - z[np.arange(300), truth]).mean())
    assert temperature.fit(truth, scores) == pytest.approx(grid[np.argmin(losses)], rel=2e-3)


def test_of_several_labels_each_has_its_sigmoid_and_unknown_ones_do_not_count():
    rng = np.random.default_rng(2)
    logits = rng.normal(0, 2, (20000, 3))
    truth = (rng.random((20000, 3)) < scipy.special.expit(logits)).astype(float)
    scores = scipy.special.expit(logits * 2.5)
    fitted = temperature.fit(truth, scores)
    assert fitted == pytest.approx(2.5, rel=0.05)
    np.testing.assert_allclose(
        temperature.scaled(scores, 2.5, True), scipy.special.expit(logits), rtol=1e-6
    )
    wrong = np.where(rng.random(truth.shape) < 0.5, np.nan, truth)
    assert temperature.fit(wrong, scores) == pytest.approx(2.5, rel=0.07)


def test_certain_scores_are_finite_and_too_few_cases_say_nothing():
    scores = np.eye(2)[np.r_[np.zeros(30, int), np.ones(30, int)]]
    truth = np.r_[np.zeros(29, int), 1, np.ones(30, int)]
    assert np.isfinite(temperature.scaled(scores, 3.0, False)).all()
    assert temperature.fit(truth, scores) > 1
    assert temperature.fit(truth[:19], scores[:19]) is None
