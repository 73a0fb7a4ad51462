"""Ids that a spreadsheet or a program has changed are refused, with their rows; others are not."""

import random

import pytest

from tfds_builders import identifiers
from tfds_builders.problems import Problems

ROUNDED = "identifiers that were rounded"
TWO_SPELLINGS = "identifiers written in several ways"
FLOATS = "identifiers that became floating-point numbers"
NOBODY = "identifiers that name nobody"


def check(ids, splits=None):
    """Returns [(kind, row)] of the problems; rows count from 2."""
    problems = Problems()
    identifiers.check(problems, ids, "patient_id", lambda i: ("t.csv", i + 2), splits)
    return [(problem.kind, problem.row) for problem in problems], list(problems)


@pytest.mark.parametrize(
    "ids, expected",
    [
        (["0017", "17"], [(TWO_SPELLINGS, 3)]),
        (["17", "17.0"], [(TWO_SPELLINGS, 3)]),
        (["17", "17,0"], [(TWO_SPELLINGS, 3)]),
        (["007", "8", "7"], [(TWO_SPELLINGS, 4)]),
        (["P4", "p4"], [(TWO_SPELLINGS, 3)]),
        (["Mu\u0308ller", "M\u00fcller"], [(TWO_SPELLINGS, 3)]),
        (["A 1", "A\u00a0 1"], [(TWO_SPELLINGS, 3)]),
        (["17.0", "18.0"], [(FLOATS, 2), (FLOATS, 3)]),
        (["17.", "x"], [(FLOATS, 2)]),
        (["1.23457E+15", "1.23457E+15"], [(ROUNDED, 2)]),
        (["1,23457E+15"], [(ROUNDED, 2)]),
        (["1E+15"], [(ROUNDED, 2)]),
        (["1e+16"], [(ROUNDED, 2)]),
        (["1.5e16"], [(ROUNDED, 2)]),
        (["-5156441036700827606.0"], [(ROUNDED, 2)]),
        (["123456789012345000", "987654321098765000"], [(ROUNDED, 2), (ROUNDED, 3)]),
        (["nan"], [(NOBODY, 2)]),
        (["P1", "Unknown", "#N/A", "\u2013", "###", "#REF!"], [(NOBODY, i) for i in range(3, 8)]),
    ],
)
def test_changed_ids(ids, expected):
    actual, problems = check(ids)
    assert actual == expected
    assert all(repr(ids[problem.row - 2]) in problem.what for problem in problems)


@pytest.mark.parametrize(
    "ids",
    [
        ["0001", "0002", "0017"],
        ["1", "2", "17"],
        ["1.1", "1.2", "1.0", "2.0"],  # visit 0 of patient 1
        ["12.1", "12.10"],
        ["1e5", "12e4", "3f0"],  # digits of a hash
        ["case 1", "case 01"],
        ["HAM_0000005", "HAM_5"],
        ["-9223372036854775808", "9223372036854775807", "4"],
        ["123456789012345670", "123456789012345678"],
        ["1.2.840.113619.2.1", "1.2.840.113619.2.10"],
        ["17", "-17"],
        ["", ""],
        ["x", "x", "x"],
    ],
)
def test_no_false_alarm(ids):
    assert check(ids)[0] == []


def test_a_leak_is_named_only_where_the_splits_differ():
    _, (leak, same) = check(["0017", "17", "08", "8"], ["train", "test", "train", "train"])
    assert "in splits test and train: a leak" in leak.what and "leak" not in same.what


def test_each_id_is_named_once_however_many_rows_it_has():
    assert check(["05", "5", "5", "05", "5"])[0] == [(TWO_SPELLINGS, 3)]


def test_numbers_against_python():
    """Two ids are one if Python reads the same whole number from both."""
    rng = random.Random(0)
    for _ in range(300):
        number, other = rng.choice([5, 50, 500]), rng.choice([5, 50, 500])
        first, second = (
            "0" * rng.randrange(3) + str(n) + rng.choice(["", ".0", ".00"]) for n in (number, other)
        )
        same = float(first) == float(second) and first != second
        assert ((TWO_SPELLINGS, 3) in check([first, second])[0]) == same, (first, second)
