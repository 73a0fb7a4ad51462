"""What a result says in words about how much was evaluated, and on whom."""

import pytest

from simclr_med.evaluation.report import patients
from simclr_med.metrics import known_patients

PART = {
    "cases": 16,
    "of": 81,
    "split": "test",
    "cases_of_split": 16,
    "cases_of_splits": {"train": 56, "validation": 9, "test": 16},
    "splits_from": "hash",
    "probes_fitted_on": None,
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {},
            "16 of 81 cases: split 'test' (there are train 56, validation 9, test 16; by a hash of "
            "the patients' ids).",
        ),
        (
            {"split": "all", "cases": 81, "cases_of_split": 81},
            "81 of 81 cases: all splits (train 56, validation 9, test 16).",
        ),
        (
            {"cases": 8, "splits_from": "names of the dataset"},
            "8 of 81 cases: split 'test' (there are train 56, validation 9, test 16), its first 8 of "
            "16 by --eval_steps.",
        ),
        (
            {"probes_fitted_on": ["train", 56], "splits_from": "names of the dataset"},
            "16 of 81 cases: split 'test' (there are train 56, validation 9, test 16). Probes are "
            "fitted on 'train', 56 cases of the same data.",
        ),
    ],
)
def test_how_much_was_evaluated(change, words):
    assert known_patients.part({"evaluated": {**PART, **change}}) == words


def row(what, patients, split="train", why=""):
    return {"with": what, "dataset": "d/1", "split": split, "patients": patients, "why": why}


def result(*rows, not_known=""):
    overlap = {
        "evaluated": 7,
        "told_apart_by": "patient_id",
        "allowed": True,
        "not_known": not_known,
    }
    return {"patients": {**overlap, "in_common": list(rows)}, "evaluated": PART}


def test_only_labels_and_choices_make_numbers_too_good():
    rows = [row(what, 3) for what in ("selection", "probe", "training", "pretraining")]
    warnings = known_patients.warnings(result(*rows))
    assert len(warnings) == 3 and all(
        s.startswith("3 of the 7 evaluated patients") for s in warnings
    )
    assert ["they chose the run" in s for s in warnings] == [True, False, False]
    assert known_patients.warnings(result(row("training", 0), row("selection", None))) == []


def test_none_and_not_known_are_different_things():
    none = " ".join(known_patients.notes(result(row("training", 0), row("pretraining", 0))))
    assert "None of the 7 evaluated patients was trained on ('train')" in none
    assert "No evaluated patient was in the pretraining" in none and "Not known" not in none
    rows = [row("training", None, why="why"), row("pretraining", None, split="all", why="why")]
    unknown = known_patients.notes(result(*rows, not_known="the rest"))
    assert unknown == [
        "Not known: patients in common with the training on 'train', the pretraining on 'all' of "
        "d/1 (why).",
        "Not known: the rest.",
    ]


def test_a_result_of_before_says_nothing():
    assert known_patients.part({}) == "" and known_patients.warnings({}) == []
    assert known_patients.notes({}) == [] and patients.box({}) == ""


def test_the_report_warns_in_a_box_of_its_own_and_escapes_names():
    page = patients.box(result(row("training", 2, split="train[:<5]"), row("pretraining", 1)))
    assert page.index("warning") < page.index("Evaluated: 16 of 81 cases")
    assert "train[:&lt;5]" in page and "legitimate" in page
    clean = patients.box(result(row("training", 0)))
    assert "warning" not in clean and "None of the 7" in clean
