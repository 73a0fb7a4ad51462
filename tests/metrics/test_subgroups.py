"""Metadata of cases: read, grouped, and what a fine-tuned head makes of other classes."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from simclr_med.data import Bags
from simclr_med.data.cases import Cases, with_classes
from simclr_med.errors import UserError
from simclr_med.metrics import usual_columns
from simclr_med.metrics.scoring import classification
from simclr_med.metrics.subgroups import check_columns, pool_small, publishable, subgroups
from simclr_med.metrics.usual_columns import is_usual
from tfds_builders import usual_columns as usual_to_store

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


def groups(cases, columns="all", min_patients=1):
    return subgroups(cases, SCORES, ("a", "b", "c"), columns, min_patients=min_patients)


def test_a_group_has_the_metrics_of_its_cases_alone():
    sex = np.where(np.arange(N) < 20, "female", np.where(np.arange(N) < 80, "male", ""))
    rows = groups(make_cases(sex=sex))
    assert [(g["value"], g["cases"]) for g in rows] == [
        ("unknown", 10),
        ("female", 20),
        ("male", 60),
    ]
    hits = SCORES.argmax(1) == TRUTH
    assert rows[1]["top_1"] == pytest.approx(hits[:20].mean())
    assert rows[1]["patients"] == 10
    alone = dataclasses.replace(
        make_cases(),
        **{k: getattr(make_cases(), k)[:20] for k in ("ids", "patients", "labels", "num_images")},
    )
    row = classification(alone, SCORES[:20], ("a", "b", "c"))
    assert rows[1]["macro_auc_95"] == row["macro_auc_95"]


def test_ages_make_bands_and_other_numbers_quartiles():
    ages = [str(a) for a in RNG.uniform(0, 99, N).round(1)]
    follow_up = [str(f) for f in range(N)]
    rows = groups(make_cases(age=ages, follow_up=follow_up), "age,follow_up")
    bands = {g["value"]: g["cases"] for g in rows if g["column"] == "age"}
    for low in range(0, 100, 20):
        inside = sum(low <= float(a) < low + 20 for a in ages)
        assert bands[f"{low:02d}-{low + 19}"] == inside
    quartiles = [g["cases"] for g in rows if g["column"] == "follow_up"]
    assert sorted(quartiles) == [22, 22, 23, 23]
    names = {g["value"] for g in rows if g["column"] == "follow_up"}
    assert not any("89" in name for name in names)  # the greatest, which is one patient's


def test_free_text_is_left_out_unless_it_is_requested():
    cases = make_cases(note=[f"text {i}" for i in range(N)], view=["several"] * N)
    assert {g["column"] for g in groups(cases)} == {"view"}
    assert groups(cases, "none") == []
    assert len(groups(cases, "note")) == N
    assert groups(cases, "sex") == []  # of other data than the run's own, which has it


def test_a_column_that_is_not_there_is_an_error():
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
    rows = groups(make_cases(age=ages))
    assert {g["value"]: g["cases"] for g in rows}["unknown"] == 3
    assert sum(g["cases"] for g in rows) == N
    assert {g["value"] for g in rows} == {"unknown", "20-39", "40-59", "60-79"}


def labelled(labels):
    return dataclasses.replace(make_cases(), labels=np.array(labels))


def test_other_classes_are_numbered_as_the_head_has_them():
    converted = with_classes(labelled([0, 1, -1, 1]), ("c", "a"), ("a", "b", "c"))
    assert converted.labels.tolist() == [2, 0, -1, 0]
    converted = with_classes(labelled([0, 1, -1, 2]), ("x", "a", "y"), ("a", "Other"))
    assert converted.labels.tolist() == [1, 0, -1, 1]


def test_of_several_labels_what_the_data_lacks_is_unknown():
    converted = with_classes(
        labelled(np.array([[1.0, np.nan], [0, 1]])), ("e", "p"), ("p", "q", "e")
    )
    np.testing.assert_array_equal(converted.labels, [[np.nan, np.nan, 1], [1, np.nan, 0]])


@pytest.mark.parametrize(
    ("there", "labels"),
    [(("a", "x"), [0, 1]), (("x",), [0]), ((), [-1]), (("a", "x"), np.zeros((2, 2)))],
)
def test_a_class_that_the_head_does_not_know_is_an_error(there, labels):
    with pytest.raises(UserError, match="was fine-tuned for a, b; the data has"):
        with_classes(labelled(labels), there, ("a", "b"))


def of_sizes(**sizes):
    """Returns (values, patients): groups of n patients, the first of each with two cases."""
    values, patients = [], []
    for value, n in sizes.items():
        values += [value] * (n + 1)
        patients += [f"{value}{i}" for i in [0, *range(n)]]
    return np.array(values), np.array(patients)


@pytest.mark.parametrize(
    ("sizes", "shown", "pooled", "added"),
    [
        (dict(a=30, b=10), {"a", "b"}, 0, []),  # the minimum itself is enough
        (dict(a=30, b=4, c=9), {"a"}, 2, []),  # 13 together: nothing follows for b or c
        (dict(a=30, b=9), set(), 1, ["a"]),  # b would be all less a
        (dict(a=30, b=12, c=9), {"a"}, 1, ["b"]),  # the smallest of the others goes with it
        (dict(a=30, b=5, c=1), set(), 2, ["a"]),  # 6 together: too few
        (dict(a=5, b=1), set(), 2, []),  # all of the run has fewer
    ],
)
def test_small_groups_are_pooled_and_do_not_follow_from_the_rest(sizes, shown, pooled, added):
    values, patients = of_sizes(**sizes)
    pooled_values, pool = pool_small(values, patients, 10)
    assert set(pooled_values) - {pool.get("value")} == shown
    assert (pool.get("pooled", 0), pool.get("pooled_with", [])) == (pooled, added)
    assert not pool or pool["value"] == ", with ".join(["fewer than 10", *added])


@pytest.mark.parametrize("seed", range(40))
def test_no_sum_of_shown_rows_leaves_fewer_patients_than_the_minimum(seed):
    """The attack: all, less any of the rows. Patients may have cases in several groups."""
    rng = np.random.default_rng(seed)
    n, minimum = int(rng.integers(20, 200)), int(rng.integers(2, 12))
    values = rng.choice(list("abcdefg"), n, p=rng.dirichlet(np.ones(7) / 2)).astype(str)
    patients = rng.integers(0, n // 2, n)
    pooled_values, _ = pool_small(values, patients, minimum)
    names = np.unique(pooled_values)
    for bits in range(1, 2 ** len(names)):
        chosen = [name for i, name in enumerate(names) if bits >> i & 1]
        inside = np.isin(pooled_values, chosen)
        assert len(np.unique(patients[inside])) >= minimum or len(chosen) == len(names)


def test_a_pool_has_the_metrics_of_all_its_cases():
    """90 cases of 45 patients: 20 patients, 10, 7, 6, 2."""
    site = np.array(["arm"] * 40 + ["leg"] * 20 + ["neck"] * 14 + ["ear"] * 12 + ["lip"] * 4)
    rows = groups(make_cases(site=site), min_patients=10)
    assert [(g["value"], g["cases"], g["patients"]) for g in rows] == [
        ("leg", 20, 10),
        ("fewer than 10", 30, 15),
        ("arm", 40, 20),
    ]
    hits = SCORES.argmax(1) == TRUTH
    assert rows[1]["top_1"] == pytest.approx(hits[60:].mean())
    assert (rows[1]["pooled"], rows[1]["pooled_with"]) == (3, [])
    text = str(rows)
    assert not any(value in text for value in ("neck", "ear", "lip"))


def test_what_has_no_label_makes_no_group_large_enough():
    labels = np.where(np.arange(N) < 60, -1, TRUTH)  # all of "m", and 5 of 20 patients of "f"
    cases = dataclasses.replace(make_cases(sex=["m"] * 50 + ["f"] * 30 + ["x"] * 10), labels=labels)
    rows = groups(cases, min_patients=10)
    assert [(g["value"], g["patients"]) for g in rows] == [("fewer than 10, with f", 15)]


def test_all_means_the_usual_columns_and_says_which_are_left_out(capsys):
    names = dict.fromkeys(("sex", "Referring Physician", "postcode"), ["x"] * N)
    rows = groups(make_cases(**names))
    assert {g["column"] for g in rows} == {"sex"}
    assert "No subgroups by Referring Physician, postcode" in capsys.readouterr().out
    assert {g["column"] for g in groups(make_cases(**names), "postcode,sex")} == {"postcode", "sex"}


@pytest.mark.parametrize(
    "name",
    [
        "age",
        "Age",
        "age_group",
        "age_approx",
        "Patient Age",
        "AgeBand",
        "sex",
        "gender",
        "Geschlecht",
    ]
    + ["sex_at_birth", "Patient Gender", "site", "anatom_site_general", "localization", "body-site"]
    + ["localisation", "lesion location", "fitzpatrick_skin_type", "fitspatrick", "SkinTone"]
    + ["skin_type", "View Position", "AP/PA", "Frontal/Lateral", "projection", "views", "view"]
    + ["referring_physician", "postcode", "name", "agent", "date_of_birth", "image_path", "page"]
    + ["site_id", "website", "hospital", "region", "location", "type", "tone", "race", "notes", ""],
)
def test_the_usual_columns_are_known_by_any_spelling_and_stored_too(name):
    not_usual = ["referring_physician", "postcode", "name", "agent", "date_of_birth", "image_path"]
    not_usual += ["page", "site_id", "website", "hospital", "region", "location", "type", "tone"]
    not_usual += ["race", "notes", "", "Geschlecht"]
    assert is_usual(name) == (name not in not_usual)
    assert usual_to_store.is_usual(name) == is_usual(name)


def test_the_two_lists_of_usual_columns_are_one():
    assert usual_to_store._IS_USUAL.pattern == usual_columns._IS_USUAL.pattern


def test_rows_of_before_the_minimum_are_pooled_without_numbers():
    def row(column, value, patients):
        return {
            "column": column,
            "value": value,
            "cases": patients,
            "patients": patients,
            "top_1": 1,
        }

    rows = [row("sex", "x", 2), row("sex", "m", 20), row("sex", "f", 30), row("doctor", "d", 50)]
    rows += [row("view", "pa", 11), row("view", "ap", 12)]
    published = publishable(rows, "all", 10)
    assert [(g["column"], g["value"], g["patients"]) for g in published] == [
        ("sex", "fewer than 10, with m", None),  # else x would follow from m, f and all
        ("view", "pa", 11),
        ("view", "ap", 12),
        ("sex", "f", 30),
    ]
    assert "top_1" not in published[0]
    assert {g["column"] for g in publishable(rows, "doctor", 10)} == {"doctor"}
    assert publishable(rows, "none", 10) == []
    assert len(publishable(rows, "sex", 1)) == 3
