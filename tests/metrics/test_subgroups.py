"""Metadata of cases: read, grouped, and what a fine-tuned head makes of other classes."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from simclr_med.data import Bags
from simclr_med.data.cases import Cases, with_classes
from simclr_med.errors import UserError
from simclr_med.metrics.scoring import classification
from simclr_med.metrics.subgroups import check_columns, subgroups

N = 90
RNG = np.random.default_rng(0)
TRUTH = RNG.integers(0, 3, N)
SCORES = RNG.dirichlet(np.ones(3), N)


def make_cases(**metadata):
    return Cases(
        ids=np.arange(N).astype(str),
        patients=(np.arange(N) // 2).astype(str),
        labels=TRUTH,
        num_images=np.ones(N, int),
        metadata={key: np.array(values) for key, values in metadata.items()},
    )


def groups(cases, columns="all"):
    return subgroups(cases, SCORES, ("a", "b", "c"), columns)


def test_a_group_has_the_metrics_of_its_cases_alone():
    sex = np.where(np.arange(N) < 20, "female", np.where(np.arange(N) < 80, "male", ""))
    found = groups(make_cases(sex=sex))
    assert [(g["value"], g["cases"]) for g in found] == [
        ("unknown", 10),
        ("female", 20),
        ("male", 60),
    ]
    hits = SCORES.argmax(1) == TRUTH
    assert found[1]["top_1"] == pytest.approx(hits[:20].mean())
    assert found[1]["patients"] == 10
    alone = dataclasses.replace(
        make_cases(),
        **{k: getattr(make_cases(), k)[:20] for k in ("ids", "patients", "labels", "num_images")},
    )
    row = classification(alone, SCORES[:20], ("a", "b", "c"))
    assert found[1]["macro_auc_95"] == row["macro_auc_95"]


def test_ages_make_bands_and_other_numbers_quartiles():
    ages = [str(a) for a in RNG.uniform(0, 99, N).round(1)]
    follow_up = [str(f) for f in range(N)]
    found = groups(make_cases(age=ages, follow_up=follow_up))
    bands = {g["value"]: g["cases"] for g in found if g["column"] == "age"}
    for low in range(0, 100, 20):
        inside = sum(low <= float(a) < low + 20 for a in ages)
        assert bands[f"{low:02d}-{low + 19}"] == inside
    quartiles = [g["cases"] for g in found if g["column"] == "follow_up"]
    assert sorted(quartiles) == [22, 22, 23, 23]


def test_free_text_is_left_out_unless_it_is_asked_for():
    cases = make_cases(note=[f"text {i}" for i in range(N)], view=["several"] * N)
    assert {g["column"] for g in groups(cases)} == {"view"}
    assert groups(cases, "none") == []
    assert len(groups(cases, "note")) == N
    assert groups(cases, "sex") == []  # of other data than the run's own, which has it


def test_a_column_that_is_not_there_is_a_sentence():
    metadata = {"view": [["frontal"]], "note": [["x"]]}
    dataset = tf.data.Dataset.from_tensor_slices({"metadata": metadata})
    bags = Bags(lambda: dataset, 1, 1, ("a",))
    check_columns("note, view", bags)
    check_columns("all", bags)
    with pytest.raises(UserError, match="'sex'; there are: note, view"):
        check_columns("view,sex", bags)


def test_what_is_no_number_among_ages_is_unknown():
    ages = [str(20 + i % 60) for i in range(N)]
    ages[:3] = ["85+", "nan", ""]
    found = groups(make_cases(age=ages))
    assert {g["value"]: g["cases"] for g in found}["unknown"] == 3
    assert sum(g["cases"] for g in found) == N
    assert {g["value"] for g in found} == {"unknown", "20-39", "40-59", "60-79"}


def labelled(labels):
    return dataclasses.replace(make_cases(), labels=np.array(labels))


def test_other_classes_are_numbered_as_the_head_has_them():
    found = with_classes(labelled([0, 1, -1, 1]), ("c", "a"), ("a", "b", "c"))
    assert found.labels.tolist() == [2, 0, -1, 0]
    found = with_classes(labelled([0, 1, -1, 2]), ("x", "a", "y"), ("a", "Other"))
    assert found.labels.tolist() == [1, 0, -1, 1]


def test_of_several_labels_what_the_data_lacks_is_unknown():
    found = with_classes(labelled(np.array([[1.0, np.nan], [0, 1]])), ("e", "p"), ("p", "q", "e"))
    np.testing.assert_array_equal(found.labels, [[np.nan, np.nan, 1], [1, np.nan, 0]])


@pytest.mark.parametrize(
    ("there", "labels"),
    [(("a", "x"), [0, 1]), (("x",), [0]), ((), [-1]), (("a", "x"), np.zeros((2, 2)))],
)
def test_a_class_that_the_head_does_not_know_is_a_sentence(there, labels):
    with pytest.raises(UserError, match="was fine-tuned for a, b; the data has"):
        with_classes(labelled(labels), there, ("a", "b"))
