"""Rows of result.json: schema, undefined values with their counts, thresholds against a search."""

import dataclasses
import json
import re
import warnings

import numpy as np
import pytest

from simclr_med import metrics
from simclr_med.data.cases import Cases
from simclr_med.data.labels import CHEXPERT5
from simclr_med.metrics import intervals, scoring

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
    row = scoring.classification(cases_of(labels, patients), scores, names)
    known = labels >= 0
    assert row["cases"] == known.sum() and row["patients"] == len(np.unique(patients[known]))
    truth, scores, patients = labels[known], scores[known], patients[known]
    expected = {
        "top_1": metrics.top_k(truth, scores, 1),
        "top_3": metrics.top_k(truth, scores, 3),
        "balanced_accuracy": metrics.balanced_accuracy(truth, scores),
        "macro_auc": metrics.macro_roc_auc(truth, scores),
        "macro_ap": metrics.macro_average_precision(truth, scores),
        "ece": metrics.expected_calibration_error(truth, scores),
    }
    other_keys = {"cases", "patients", "per_class", "confusion", "left_out", "no_interval"}
    assert set(row) == other_keys | {name + end for name in expected for end in ("", "_95")}
    for name, value in expected.items():
        assert row[name] == pytest.approx(value)
        assert (row[f"{name}_95"] is None) == (name in row["no_interval"])
    of_patients = intervals.Patients(patients)
    assert (
        row["top_1_95"] == intervals.share(metrics.in_top_k(truth, scores, 1), of_patients).interval
    )
    assert row["ece_95"] is None and "biased" in row["no_interval"]["ece"]
    few = row["no_interval"]["macro_auc"]  # says which class
    assert re.fullmatch(r"too few: \d positive patients \([a-d]\)", few)
    of_b = row["per_class"]["b"]
    assert (of_b["positives"], of_b["negatives"]) == ((truth == 1).sum(), (truth != 1).sum())
    assert of_b["ap"] == pytest.approx(metrics.average_precision(truth == 1, scores[:, 1]))
    assert of_b["ap_95"] is None and of_b["no_interval"]["ap"].startswith("too few")
    assert np.sum(row["confusion"]) == len(truth)
    json.dumps(row)


def test_top_3_is_there_only_with_more_than_three_classes():
    labels, scores = one_class(classes=3)
    row = scoring.classification(cases_of(labels), scores, list("abc"))
    assert "top_1" in row and "top_3" not in row


def multilabel(n=60, labels=5):
    rng = np.random.default_rng(0)
    truth = rng.choice([0.0, 1.0, NAN], size=(n, labels))
    truth[0] = NAN  # a case without any label
    return truth, rng.uniform(size=(n, labels))


def test_a_row_of_several_labels_with_thresholds():
    truth, scores = multilabel()
    truth[:, 4] = np.where(np.isnan(truth[:, 4]), NAN, 0)  # no positives
    cases = cases_of(truth)
    thresholds = scoring.choose_thresholds(cases, scores)
    row = scoring.classification(cases, scores, CHEXPERT5, thresholds=thresholds)
    assert row["cases"] == (~np.isnan(truth)).any(axis=1).sum() < 60
    assert row["chexpert5_auc"] == pytest.approx(row["macro_auc"])
    assert "top_1" not in row and "confusion" not in row and np.isnan(thresholds[4])
    undefined = row["per_class"]["Pleural Effusion"]
    assert undefined["positives"] == 0 and undefined["negatives"] > 0
    assert row["left_out"] == {"Pleural Effusion": "no case with it"}
    assert np.isnan([undefined["auc"], undefined["ap"], undefined["sensitivity"]]).all()
    assert undefined["auc_95"] is None and undefined["no_interval"]["auc"] == "no case with it"
    of_edema = row["per_class"]["Edema"]
    sides = metrics.sensitivity_specificity(truth, scores, thresholds)
    assert of_edema["threshold"] == thresholds[3]
    assert of_edema["sensitivity"] == pytest.approx(sides[0][3])
    low, high = of_edema["specificity_95"]
    assert low < of_edema["specificity"] < high and "specificity" not in of_edema["no_interval"]


def test_the_mean_of_chexperts_five_needs_all_five_and_only_them():
    truth, scores = multilabel(labels=6)
    names = ("Fracture", *reversed(CHEXPERT5))
    row = scoring.classification(cases_of(truth), scores, names)
    aucs = [row["per_class"][name]["auc"] for name in CHEXPERT5]
    assert row["chexpert5_auc"] == pytest.approx(np.mean(aucs))
    assert row["chexpert5_auc"] != pytest.approx(row["macro_auc"])
    row = scoring.classification(cases_of(truth), scores, names, untrained=["Atelectasis"])
    assert row["chexpert5_auc"] == pytest.approx(np.mean(aucs[1:]))
    names = ("Fracture", "Mass", *CHEXPERT5[:4])
    row = scoring.classification(cases_of(truth), scores, names)
    assert "chexpert5_auc" not in row


def test_thresholds_have_the_highest_youden_index():
    truth, scores = multilabel(n=80)
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
    row = scoring.classification(cases_of(labels), np.full((3, 2), 0.5), list("ab"))
    assert row["cases"] == 0 and np.isnan(row["macro_auc"]) and row["macro_auc_95"] is None


def test_one_patient_has_numbers_but_no_interval():
    labels = np.array([0, 1, 1])
    cases = cases_of(labels, np.zeros(3))
    row = scoring.classification(cases, np.eye(2)[labels], list("ab"))
    assert row["top_1"] == 1 and row["top_1_95"] is None


def test_a_class_without_a_training_case_is_left_out_of_averages_and_named():
    labels, scores = one_class()
    row = scoring.classification(cases_of(labels), scores, list("abcd"), untrained=["b", "d"])
    truth, scores = labels[labels >= 0], scores[labels >= 0]
    aucs = metrics.per_class_areas(metrics.rankings(truth, scores))[0]
    assert row["macro_auc"] == pytest.approx(aucs[[0, 2]].mean())
    recalls = metrics.recalls(truth, scores)
    assert row["balanced_accuracy"] == pytest.approx(recalls[[0, 2]].mean())
    assert row["left_out"] == dict.fromkeys("bd", "no training case")
    assert row["top_1"] == metrics.top_k(truth, scores, 1)  # its cases are cases all the same
    assert row["per_class"]["b"]["auc"] == pytest.approx(aucs[1])


def test_answers_are_measured_against_the_differential_too():
    labels, scores = one_class()
    shares = np.where(np.random.default_rng(1).uniform(size=scores.shape) < 0.4, 0.5, 0.0)
    shares[np.arange(40), labels] = 0.5
    cases = dataclasses.replace(cases_of(labels), differential=shares)
    row = scoring.classification(cases, scores, list("abcd"))
    known = labels >= 0
    for k in (1, 3):
        slow = [
            any(s[c] > 0 for c in np.argsort(-x)[:k]) for s, x in zip(shares[known], scores[known])
        ]
        measured = row[f"top_{k}_differential"]
        assert measured == pytest.approx(np.mean(slow)) and measured >= row[f"top_{k}"]
    plain = scoring.classification(cases_of(labels), scores, list("abcd"))
    assert "top_1_differential" not in plain


def test_enough_patients_have_every_interval_around_their_values():
    rng = np.random.default_rng(3)
    labels = rng.permutation(np.repeat([0, 1, 2], [30, 40, 60]))
    logits = rng.normal(size=(130, 3)) + 1.2 * np.eye(3)[labels]
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    row = scoring.classification(cases_of(labels), scores, list("abc"))
    assert list(row["no_interval"]) == ["ece"] and not row["left_out"]
    for name in ("top_1", "balanced_accuracy", "macro_auc", "macro_ap"):
        low, high = row[f"{name}_95"]
        assert 0 < row[name] - low < 0.15 and 0 < high - row[name] < 0.15
    thirds = [row["per_class"][name]["auc_95"] for name in "abc"]
    low, high = np.mean(thirds, axis=0)  # averages vary less than their parts
    assert low < row["macro_auc_95"][0] and row["macro_auc_95"][1] < high
