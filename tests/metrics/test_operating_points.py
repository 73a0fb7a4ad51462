"""Operating points, against a scan over every threshold there could be."""

import csv
import io

import numpy as np
import pytest

from simclr_med.metrics import operating_points
from simclr_med.metrics.intervals import Patients, share


def random_cases(seed, n=200, ties=False):
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    scores = rng.dirichlet(np.ones(3), n) + 0.5 * np.eye(3)[truth]
    scores /= scores.sum(1, keepdims=True)
    return truth, np.round(scores, 1) if ties else scores


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_no_threshold_keeps_the_target_and_is_better(seed, ties):
    truth, scores = random_cases(seed, ties=ties)
    for c, points in enumerate(operating_points.choose(truth, scores)):
        positive, score = truth == c, scores[:, c]
        for point in points:
            grid = np.unique([*score, *(score + 1e-9), *(score - 1e-9)])
            other_at_threshold = {}
            for t in grid:
                sensitivity, specificity = (
                    (score[positive] >= t).mean(),
                    (score[~positive] < t).mean(),
                )
                pair = {"sensitivity": sensitivity, "specificity": specificity}
                if pair[point.what] >= point.target - 1e-12:
                    other = {"sensitivity": specificity, "specificity": sensitivity}[point.what]
                    other_at_threshold[t] = other
            measured = (
                (score[positive] >= point.threshold).mean(),
                (score[~positive] < point.threshold).mean(),
            )
            target_value = measured[0] if point.what == "sensitivity" else measured[1]
            assert target_value >= point.target - 1e-12
            assert measured[point.what == "sensitivity"] == max(other_at_threshold.values())
            assert (point.positives, point.negatives) == (positive.sum(), (~positive).sum())


def test_all_negatives_above_a_positive_leave_a_threshold_above_all():
    truth = np.r_[np.ones(20, int), np.zeros(20, int)]
    scores = np.c_[np.ones(40), np.r_[np.full(20, 0.1), np.full(20, 0.9)]]
    point = operating_points.choose(truth, scores)[1][0]
    assert point.title == "90% specificity" and point.threshold > 0.9
    assert (scores[:, 1] >= point.threshold).sum() == 0


def test_few_cases_and_unknown_labels():
    truth, scores = random_cases(0)
    truth[truth == 2] = 0
    truth[:9] = 2
    assert all(p.threshold is None for p in operating_points.choose(truth, scores)[2])
    labels = np.full((200, 3), np.nan)
    labels[:100] = truth[:100, None] == np.arange(3)
    of_known = operating_points.choose(labels, scores)
    assert of_known[:2] == operating_points.choose(truth[:100], scores[:100])[:2]


def test_they_are_measured_on_other_cases_with_intervals_over_patients(tmp_path):
    truth, scores = random_cases(0)
    names = ("=a", "b", "c")
    chosen = dict(zip(names, operating_points.choose(truth, scores)))
    other_truth, other_scores = random_cases(1)
    patients = Patients(np.arange(200) // 2)
    rows = operating_points.measure(chosen, other_truth, other_scores, names, patients)
    assert len(rows) == 12
    row = rows[5]
    point = chosen["b"][1]
    assert (row["class"], row["chosen_for"]) == ("b", "95% specificity")
    assert (row["threshold"], row["chosen_on_positives"]) == (point.threshold, point.positives)
    yes, positive = other_scores[:, 1] >= point.threshold, other_truth == 1
    assert row["sensitivity"] == yes[positive].mean()
    assert row["specificity_95"] == share(~yes, patients, ~positive).interval
    table = list(csv.DictReader(io.StringIO(operating_points.to_csv(rows))))
    assert table[0]["class"] == "'=a" and table[5]["chosen_for"] == "95% specificity"
    assert float(table[5]["threshold"]) == pytest.approx(point.threshold)
    assert float(table[5]["sensitivity_low"]) == pytest.approx(row["sensitivity_95"][0], abs=1e-4)
