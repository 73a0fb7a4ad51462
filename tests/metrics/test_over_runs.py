"""The mean of a metric over runs, with its interval over runs and patients."""

import numpy as np
import pytest
import scipy.stats

from simclr_med.metrics.compare import compare
from simclr_med.metrics.over_runs import mean_over_runs
from simclr_med.metrics.predictions import Predictions


def runs(count, seed, strength=1.0, cases=60):
    """Predictions of runs on the same cases, two a patient, with noise of the patient and the run."""
    rng = np.random.default_rng(0)
    truth, ids = rng.integers(0, 2, cases), np.arange(cases).astype(str)
    patients = np.array([f"p{i // 2}" for i in range(cases)])
    shared, rng_of_runs = rng.normal(size=cases), np.random.default_rng(seed)
    predictions = []
    for _ in range(count):
        score = strength * truth + shared + 0.5 * rng_of_runs.normal(size=cases)
        logits = np.stack([-score, score], axis=1)
        scores = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        predictions.append(Predictions(ids, patients, truth, scores, ("a", "b")))
    return predictions


def auc(predictions):
    ones = predictions.scores[predictions.truth == 1, 1]
    return (ones[:, None] > predictions.scores[predictions.truth == 0, 1]).mean()


def test_the_interval_is_that_of_a_t_with_both_variances_and_satterthwaite_s_freedom():
    """By hand: the jackknife's influences of patients on the mean AUC, and the runs' own variance."""
    predictions = runs(4, seed=1)
    pretrainings = ["x", "x", "y", "z"]
    row = mean_over_runs(predictions, pretrainings=pretrainings)["macro_auc"]
    values = np.array([auc(run) for run in predictions])
    assert row["values"] == pytest.approx(values)
    assert row["mean"] == pytest.approx(values.mean())
    assert row["sd"] == pytest.approx(values.std(ddof=1))
    units = np.array([values[:2].mean(), values[2], values[3]])
    run_variance = units.var(ddof=1) / 3
    # Of patients: placement values of each case (DeLong 1988) less their mean, summed by patient.
    truth, patients = predictions[0].truth, predictions[0].patients
    moved = np.zeros(30)
    for run in predictions:
        score = run.scores[:, 1]
        for case in range(60):
            opposite = score[truth != truth[case]]
            better = (score[case] > opposite) if truth[case] else (score[case] < opposite)
            share = (better.mean() - auc(run)) / (truth == truth[case]).sum()
            moved[int(patients[case][1:])] += share / 4
    patient_variance = (moved**2).sum() * 30 / 29
    total = run_variance + patient_variance
    freedom = total**2 / (run_variance**2 / 2 + patient_variance**2 / 29)
    half = scipy.stats.t.ppf(0.975, freedom) * total**0.5
    low, high = values.mean() - half, min(1.0, values.mean() + half)
    assert row["interval"] == pytest.approx([low, high])
    assert row["over"] == "runs and patients"


def test_mean_and_interval_are_those_of_a_side_of_a_comparison():
    a, b = runs(3, seed=2), runs(3, seed=3, strength=2.0)
    compared, row = compare(a, b, seed=0), mean_over_runs(b)
    for metric in ("macro_auc", "macro_ap", "balanced_accuracy", "top_1"):
        assert row[metric]["mean"] == compared[metric]["b"]
        assert row[metric]["interval"] == compared[metric]["b_95"]


def test_one_run_has_an_interval_over_patients_alone():
    row = mean_over_runs(runs(1, seed=4))["macro_auc"]
    assert row["sd"] is None and row["over"] == "patients"
    assert row["interval"][0] < row["mean"] < row["interval"][1]


def test_without_an_interval_it_says_why():
    row = mean_over_runs(runs(2, seed=5, cases=12))["macro_auc"]
    assert row["interval"] is None and row["why"] and row["mean"] == row["mean"]
