"""Rows of result.json: schema, undefined values with their counts, thresholds against a search."""

import json
import warnings

import numpy as np
import pytest

from simclr_med import metrics
from simclr_med.data.cases import Cases
from simclr_med.data.labels import CHEXPERT5
from simclr_med.metrics import resampling, scoring

NAN = float("nan")


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def cases_of(labels, patients=None):
    n = len(labels)
    ids = np.array([f"case{i}" for i in range(n)])
    return Cases(ids, np.arange(n) if patients is None else patients, labels, np.ones(n, int))


def one_class(n=40, classes=4):
    rng = np.random.default_rng(0)
    return rng.integers(-1, classes, n), rng.dirichlet(np.ones(classes), n)


def test_a_row_of_one_class_a_case():
    labels, scores = one_class()
    patients = np.arange(40) // 2
    names = ("a", "b", "c", "d")
    row = scoring.classification(cases_of(labels, patients), scores, names, seed=5, resamples=200)
    known = labels >= 0
    assert row["cases"] == known.sum() and row["patients"] == len(np.unique(patients[known]))
    truth, scores, patients = labels[known], scores[known], patients[known]
    expected = {
        "top_1": lambda w=None: metrics.top_k(truth, scores, 1, w),
        "top_3": lambda w=None: metrics.top_k(truth, scores, 3, w),
        "balanced_accuracy": lambda w=None: metrics.balanced_accuracy(truth, scores, w),
        "macro_auc": lambda w=None: metrics.macro_roc_auc(truth, scores, w),
        "macro_ap": lambda w=None: metrics.macro_average_precision(truth, scores, w),
        "ece": lambda w=None: metrics.expected_calibration_error(truth, scores, w),
    }
    assert set(row) == {"cases", "patients", "per_class", "confusion"} | {
        name + end for name in expected for end in ("", "_95")
    }
    for name, metric in expected.items():
        assert row[name] == pytest.approx(metric())
        interval = metrics.bootstrap(metric, patients, resamples=200, seed=5)
        assert row[f"{name}_95"] == pytest.approx(list(interval))
    of_b = row["per_class"]["b"]
    assert (of_b["positives"], of_b["negatives"]) == ((truth == 1).sum(), (truth != 1).sum())
    assert of_b["ap"] == pytest.approx(metrics.average_precision(truth == 1, scores[:, 1]))
    assert of_b["ap_95"] == pytest.approx(
        list(
            metrics.bootstrap(
                lambda w: metrics.average_precision(truth == 1, scores[:, 1], w),
                patients,
                resamples=200,
                seed=5,
            )
        )
    )
    assert np.sum(row["confusion"]) == len(truth)
    json.dumps(row)


def test_top_3_is_there_only_with_more_than_three_classes():
    labels, scores = one_class(classes=3)
    row = scoring.classification(cases_of(labels), scores, list("abc"), seed=0, resamples=100)
    assert "top_1" in row and "top_3" not in row


def several(n=60, labels=5):
    rng = np.random.default_rng(0)
    truth = rng.choice([0.0, 1.0, NAN], size=(n, labels))
    truth[0] = NAN  # a case without any label
    return truth, rng.uniform(size=(n, labels))


def test_a_row_of_several_labels_with_thresholds():
    truth, scores = several()
    truth[:, 4] = np.where(np.isnan(truth[:, 4]), NAN, 0)  # no positives
    cases = cases_of(truth)
    thresholds = scoring.choose_thresholds(cases, scores)
    row = scoring.classification(
        cases, scores, CHEXPERT5, seed=0, resamples=100, thresholds=thresholds
    )
    assert row["cases"] == (~np.isnan(truth)).any(axis=1).sum() < 60
    assert row["chexpert5_auc"] == pytest.approx(row["macro_auc"])
    assert "top_1" not in row and "confusion" not in row and np.isnan(thresholds[4])
    undefined = row["per_class"]["Pleural Effusion"]
    assert undefined["positives"] == 0 and undefined["negatives"] > 0
    assert undefined["undefined_resamples"] == 100
    assert np.isnan([undefined["auc"], undefined["ap"], undefined["sensitivity"]]).all()
    assert np.isnan(undefined["auc_95"]).all()
    of_edema = row["per_class"]["Edema"]
    sides = metrics.sensitivity_specificity(truth, scores, thresholds)
    assert of_edema["threshold"] == thresholds[3]
    assert of_edema["sensitivity"] == pytest.approx(sides[0][3])
    low, high = of_edema["specificity_95"]
    assert low < of_edema["specificity"] < high and "undefined_resamples" not in of_edema


def test_the_mean_of_chexperts_five_needs_all_five_and_only_them():
    truth, scores = several(labels=6)
    names = ("Fracture", *reversed(CHEXPERT5))
    row = scoring.classification(cases_of(truth), scores, names, seed=0, resamples=100)
    aucs = [row["per_class"][name]["auc"] for name in CHEXPERT5]
    assert row["chexpert5_auc"] == pytest.approx(np.mean(aucs))
    assert row["chexpert5_auc"] != pytest.approx(row["macro_auc"])
    values = scoring.scorer(truth, scores, names, among=np.arange(6) < 5)()
    assert values["chexpert5_auc"] == pytest.approx(np.mean(aucs[1:]))  # all but the last column
    names = ("Fracture", "Mass", *CHEXPERT5[:4])
    row = scoring.classification(cases_of(truth), scores, names, seed=0, resamples=100)
    assert "chexpert5_auc" not in row


def test_thresholds_have_the_highest_youden_index():
    truth, scores = several(n=80)
    scores = np.round(scores * 8) / 8  # ties
    thresholds = scoring.choose_thresholds(cases_of(truth), scores)
    for c, chosen in enumerate(thresholds):
        indices = {
            t: sum(
                side[c] for side in metrics.sensitivity_specificity(truth, scores, np.full(5, t))
            )
            for t in np.unique(scores[:, c])
        }
        best = max(indices.values())
        assert chosen == max(t for t, value in indices.items() if value > best - 1e-12)


@pytest.mark.parametrize("labels", [np.full(3, -1), np.full((3, 2), NAN)])
def test_without_labels_everything_is_undefined(labels):
    row = scoring.classification(cases_of(labels), np.full((3, 2), 0.5), list("ab"), seed=0)
    assert row["cases"] == 0 and np.isnan(row["macro_auc"]) and np.isnan(row["macro_auc_95"]).all()


def test_one_patient_has_numbers_but_no_interval():
    labels = np.array([0, 1, 1])
    cases = cases_of(labels, np.zeros(3))
    row = scoring.classification(cases, np.eye(2)[labels], list("ab"), seed=0)
    assert row["top_1"] == 1 and np.isnan(row["top_1_95"]).all()


def test_macro_averages_can_be_over_some_classes():
    labels, scores = one_class()
    truth, scores = labels[labels >= 0], scores[labels >= 0]
    values = scoring.scorer(
        truth, scores, list("abcd"), among=np.array([True, False, True, False])
    )()
    assert values["macro_auc"] == pytest.approx(values["auc"][[0, 2]].mean())
    recalls = metrics.recalls(truth, scores)
    assert values["balanced_accuracy"] == pytest.approx(recalls[[0, 2]].mean())


def test_all_metrics_share_the_resamples():
    labels, scores = one_class()
    truth, scores = labels[labels >= 0], scores[labels >= 0]
    drawn = resampling.resample(
        scoring.scorer(truth, scores, list("abcd")),
        np.arange(len(truth)),
        resamples=70,
        seed=0,
        chunk=30,
    )
    assert drawn["auc"].shape == (4, 70) and drawn["ece"].shape == (70,)
    np.testing.assert_allclose(drawn["macro_auc"], np.nanmean(drawn["auc"], axis=0))
