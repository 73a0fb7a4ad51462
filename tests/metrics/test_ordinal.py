"""Quadratic kappa against scikit-learn, loops, derivatives and simulation; the order of grades."""

import dataclasses
import itertools
import json
import warnings

import numpy as np
import pytest
import scipy.stats
from sklearn.metrics import cohen_kappa_score

from simclr_med import metrics
from simclr_med.config import Config
from simclr_med.data.cases import Cases
from simclr_med.errors import UserError
from simclr_med.evaluation.compare_runs import compare_runs
from simclr_med.evaluation.report import findings, results, summary
from simclr_med.metrics import compare, grades, influence, intervals, scoring, subgroups
from simclr_med.metrics.intervals import Patients
from simclr_med.metrics.over_runs import mean_over_runs
from simclr_med.metrics.predictions import Predictions

NAMES = ("0", "10", "2", "absent")  # as the builder sorts them
ORDINAL = Config().replace(ordinal=True, class_order="0,2,absent,10")
RANKS = np.array([0, 3, 1, 2])


@pytest.fixture(autouse=True)
def no_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


def random_cases(seed, n=60, classes=4, skill=1.0):
    """Returns (truth [n] without the last class, scores [n, classes] with ties in some)."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, classes - 1, n)
    scores = np.round(skill * np.eye(classes)[truth] + rng.normal(size=(n, classes)), seed % 3)
    return truth, scores


def predictions(seed, skill=1.0, n=120):
    truth, _ = random_cases(0, n)
    noise = np.random.default_rng([1, seed]).normal(size=(n, 4))
    scores = np.exp(skill * np.eye(4)[truth] + noise)
    ids = np.arange(n).astype(str)
    patients = np.array([f"p{i // 2}" for i in range(n)])
    return Predictions(ids, patients, truth, scores / scores.sum(1, keepdims=True), NAMES)


@pytest.mark.parametrize("seed", range(60))
def test_kappa_is_that_of_scikit_learn(seed):
    rng = np.random.default_rng(seed)
    classes = int(rng.integers(2, 7))
    truth, scores = random_cases(seed, int(rng.integers(5, 80)), classes + 1, rng.uniform(-1, 3))
    ranks = rng.permutation(classes + 1)
    true, predicted = ranks[truth], ranks[scores.argmax(1)]
    expected = cohen_kappa_score(
        true, predicted, labels=np.arange(classes + 1), weights="quadratic"
    )
    kappa = metrics.quadratic_kappa(truth, scores, ranks)
    if len(set(true)) < 2:
        assert np.isnan(kappa)
    else:
        assert kappa == pytest.approx(expected, abs=1e-12)
        # Weights are repetitions, of many draws at once.
        times = rng.integers(0, 3, (4, len(truth)))
        slow = [
            cohen_kappa_score(
                np.repeat(true, t),
                np.repeat(predicted, t),
                labels=range(classes + 1),
                weights="quadratic",
            )
            if len(set(np.repeat(true, t))) > 1
            else np.nan
            for t in times
        ]
        np.testing.assert_allclose(metrics.quadratic_kappa(truth, scores, ranks, times), slow)


def test_a_grade_that_nobody_has_keeps_its_place():
    """Without it neighbours move together, and kappa with them."""
    truth, predicted = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 1, 1, 1, 2, 0])
    near, apart = np.array([0, 1, 2]), np.array([0, 1, 3])
    for ranks in (near, apart):
        expected = cohen_kappa_score(
            ranks[truth], ranks[predicted], labels=[0, 1, 2, 3], weights="quadratic"
        )
        assert metrics.quadratic_kappa(truth, np.eye(3)[predicted], ranks) == pytest.approx(
            expected
        )
    assert metrics.quadratic_kappa(truth, np.eye(3)[predicted], near) != pytest.approx(
        metrics.quadratic_kappa(truth, np.eye(3)[predicted], apart)
    )


def test_influence_is_the_derivative_by_each_weight():
    for seed in range(6):
        truth, scores = random_cases(seed, 30)
        value, derivative = influence.quadratic_kappa(RANKS[truth], RANKS[scores.argmax(1)])
        assert value == pytest.approx(metrics.quadratic_kappa(truth, scores, RANKS))
        step = 1e-6 * np.eye(30)
        ends = [metrics.quadratic_kappa(truth, scores, RANKS, 1 + sign * step) for sign in (1, -1)]
        np.testing.assert_allclose(derivative, (ends[0] - ends[1]) / 2e-6, atol=1e-8)


def test_variance_is_that_of_fleiss_cohen_and_everitt():
    """Their formula of 1969 for weighted kappa, written out over cells (with agreement weights)."""
    truth, scores = random_cases(3, 200)
    true, predicted = RANKS[truth], RANKS[scores.argmax(1)]
    p = np.zeros((4, 4))
    np.add.at(p, (true, predicted), 1 / 200)
    w = 1 - np.subtract.outer(range(4), range(4)) ** 2 / 9
    row, column = p.sum(1), p.sum(0)
    observed, chance = (w * p).sum(), (w * np.outer(row, column)).sum()
    total = 0.0
    for i, j in itertools.product(range(4), repeat=2):
        means = w[i] @ column + w[:, j] @ row
        total += p[i, j] * (w[i, j] * (1 - chance) - means * (1 - observed)) ** 2
    total -= (observed * chance - 2 * chance + observed) ** 2
    slow = total / (200 * (1 - chance) ** 4)
    _, derivative = influence.quadratic_kappa(true, predicted)
    assert derivative @ derivative == pytest.approx(slow)


def test_interval_is_by_patient():
    """Cases of one patient that say the same are one case."""
    truth, scores = random_cases(1, 60)
    true, predicted = RANKS[truth], RANKS[scores.argmax(1)]
    one = intervals.quadratic_kappa(true, predicted, Patients(np.arange(60)))
    three = intervals.quadratic_kappa(
        np.repeat(true, 3), np.repeat(predicted, 3), Patients(np.repeat(np.arange(60), 3))
    )
    assert one.interval == pytest.approx(three.interval) and not one.why
    sd = np.sqrt((one.influence**2).sum() * 60 / 59) * scipy.stats.t.ppf(0.975, 59)
    half = sd / (1 - one.value**2)
    assert np.arctanh(one.interval) == pytest.approx(
        np.arctanh(one.value) + np.array([-half, half])
    )


def test_why_there_is_no_kappa_or_no_interval():
    def kappa_of(true, predicted):
        patients = Patients(np.arange(len(true)))
        return intervals.quadratic_kappa(np.array(true), np.array(predicted), patients)

    one_grade = kappa_of([1] * 50, [0, 1] * 25)
    assert np.isnan(one_grade.value) and one_grade.why == "all cases have one grade"
    few = kappa_of([0, 1, 2] * 13, [0, 1, 1] * 13)
    assert few.why == "too few: 39 patients" and few.value > 0
    right = kappa_of([0, 1] * 30, [0, 1] * 30)
    assert (right.value, right.why) == (1.0, "too few: 0 cases with a wrong grade")
    constant = kappa_of([0, 1] * 30, [1] * 60)
    assert constant.value == 0 and not constant.why  # as scikit-learn has it
    worst = kappa_of([0, 1] * 30, [1, 0] * 29 + [0, 1])
    assert -1 <= worst.low < worst.value < worst.high < 0


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize(("patients", "each"), [(40, 1), (40, 3), (100, 1), (100, 3)])
@pytest.mark.parametrize("noise", [0.3, 1.0])
def test_interval_covers_the_truth(patients, each, noise):
    """Graded normal variables with an effect of the patient; true kappa from 200,000 cases."""
    cuts = scipy.stats.norm.ppf([0.5, 0.75, 0.875])

    def draw(rng, n, m):
        latent, error = (
            (np.repeat(rng.normal(size=n), m) + rng.normal(size=n * m)) / np.sqrt(2) for _ in "ab"
        )
        return np.searchsorted(cuts, latent), np.searchsorted(cuts, latent + noise * error)

    true_kappa, _ = influence.quadratic_kappa(*draw(np.random.default_rng(0), 200_000, 1))
    rng, covered = np.random.default_rng(1), []
    patients_of_cases = Patients(np.repeat(np.arange(patients), each))
    for _ in range(1000):
        estimate = intervals.quadratic_kappa(*draw(rng, patients, each), patients_of_cases)
        if not estimate.why:
            covered.append(estimate.low <= true_kappa <= estimate.high)
    assert 0.915 < np.mean(covered) < 0.985 and len(covered) > 950


# The order of grades


@pytest.mark.parametrize(
    ("names", "order", "expected"),
    [
        (("10", "0", "1"), "", ("0", "1", "10")),
        (("2", "-1", "0,5", "1.5"), "", ("-1", "0,5", "1.5", "2")),
        (("mild", "none", "severe"), "none, mild,severe", ("none", "mild", "severe")),
        (("0", "1", "3"), "3,2,1,0", ("3", "2", "1", "0")),
    ],
)
def test_the_order(names, order, expected):
    assert grades.order_of(names, order) == expected
    config = Config().replace(ordinal=True, class_order=order)
    ranks = grades.grades_of(config, names, False)
    assert [expected[i] for i in ranks] == list(names)


@pytest.mark.parametrize(
    ("names", "order", "words"),
    [
        (("mild", "severe"), "", "mild, severe are not all different numbers"),
        (("0", "1", "Other"), "", "not all different numbers"),
        (("1", "1.0"), "", "not all different numbers"),
        (("0", "nan"), "", "not all different numbers"),
        (("a", "b"), "a", "'b' is missing: name each of a, b once"),
        (("a", "b"), "a,b,a", "'a' is there twice"),
        (("a", "b"), "a,,b", "there is an empty name"),
        ((), "", "the dataset has none"),
    ],
)
def test_an_order_that_is_not_known(names, order, words):
    with pytest.raises(UserError, match="--ordinal|--class_order") as caught:
        grades.order_of(names, order)
    assert words in str(caught.value)


def test_several_labels_have_no_grades():
    assert grades.grades_of(Config(), ("a", "b"), True) is None
    with pytest.raises(UserError, match=r"several labels a case \(a, b\)"):
        grades.grades_of(Config().replace(ordinal=True), ("a", "b"), True)
    with pytest.raises(UserError, match="add --ordinal"):
        Config().replace(selection_metric="quadratic_kappa").validate()


def test_the_order_in_words():
    line = grades.in_words(("0", "1", "3"), ("0", "1", "3"))
    assert line.startswith(
        "Grades, lowest first: 0 < 1 < 3. Without a class between them 1 and 3 count as neighbours; "
    )
    line = grades.in_words(("0", "1", "2", "3"), ("0", "1", "3"))
    assert line == (
        "Grades, lowest first: 0 < 1 < 2 < 3 (no class here: 2). The grade given to a case is that of "
        "its highest score."
    )
    assert "neighbours" not in grades.in_words(("a", "b"), ("a", "b"))


# Where it is shown


def test_in_the_row_of_a_result_its_subgroups_and_the_report():
    run = predictions(1)
    cases = Cases(
        run.ids,
        run.patients,
        run.truth,
        np.ones(120, int),
        metadata={"sex": np.array(["f", "m"])[np.arange(120) // 2 % 2]},
    )
    row = scoring.classification(cases, run.scores, NAMES, grades=RANKS)
    true, predicted = RANKS[run.truth], RANKS[run.scores.argmax(1)]
    expected = cohen_kappa_score(true, predicted, labels=range(4), weights="quadratic")
    assert row["quadratic_kappa"] == pytest.approx(expected)
    assert (
        row["quadratic_kappa_95"]
        == intervals.quadratic_kappa(true, predicted, Patients(run.patients)).interval
    )
    assert "quadratic_kappa" not in scoring.classification(cases, run.scores, NAMES)
    groups = subgroups.subgroups(cases, run.scores, NAMES, "sex", grades=RANKS)
    for group in groups:
        chosen = cases.metadata["sex"] == group["value"]
        slow = cohen_kappa_score(
            true[chosen], predicted[chosen], labels=range(4), weights="quadratic"
        )
        assert group["quadratic_kappa"] == pytest.approx(slow)
    result = {"classification": {"supervised head": {"trained": row}}, "subgroups": groups}
    result |= {"min_subgroup": 10, "grades": ["0", "2", "absent", "10"], "encoders": {}}
    page = findings.results(result) + findings.subgroups(result)
    assert page.count("quadratic kappa") >= 2 and "0 &lt; 2 &lt; absent &lt; 10" in page
    assert "grades agree beyond chance" in summary._meaning("quadratic_kappa", row)
    assert results._grades(result)[0].startswith("Grades, lowest first: 0 < 2 < absent < 10.")


def test_compared_models_against_loops(tmp_path):
    """The p-value: of all swaps of two models on twelve patients, how many differ as much."""
    a, b = (predictions(seed, skill, n=24) for seed, skill in ((1, 0.5), (2, 3.0)))
    row = compare.compare([a], [b], seed=0, grades=RANKS)["quadratic_kappa"]
    true = RANKS[a.truth]
    predicted = [RANKS[run.scores.argmax(1)] for run in (a, b)]

    def kappa(grades_of_cases):
        return cohen_kappa_score(true, grades_of_cases, labels=range(4), weights="quadratic")

    assert row["difference"] == pytest.approx(kappa(predicted[1]) - kappa(predicted[0]))
    patient = np.unique(a.patients, return_inverse=True)[1]
    observed, count = abs(row["difference"]), 0
    for swap in itertools.product([False, True], repeat=12):
        of_case = np.array(swap)[patient]
        difference = kappa(np.where(of_case, *predicted)) - kappa(
            np.where(of_case, *predicted[::-1])
        )
        count += abs(difference) >= observed - 1e-12
    assert row["p"] == pytest.approx(count / 2**12)
    assert "quadratic_kappa" not in compare.compare([a], [b], seed=0)


def test_over_runs_and_on_other_data():
    runs = [predictions(seed) for seed in (1, 2, 3)]
    row = mean_over_runs(runs, grades=RANKS)["quadratic_kappa"]
    values = [metrics.quadratic_kappa(r.truth, r.scores, RANKS) for r in runs]
    assert row["mean"] == pytest.approx(np.mean(values)) and row["values"] == pytest.approx(values)
    assert row["interval"][0] < row["mean"] < row["interval"][1]
    other = dataclasses.replace(runs[1], ids=runs[1].ids)
    drop = compare.drop(runs[0], other, RANKS)["quadratic_kappa"]
    assert drop["drop"] == pytest.approx(values[0] - values[1])
    assert drop["drop_95"][0] < drop["drop"] < drop["drop_95"][1]


def test_limits_below_zero_are_kept():
    """Kappa may be negative, and a difference of two as large as 2."""
    bad, good = (predictions(seed, skill) for seed, skill in ((1, -3.0), (2, 2.5)))
    row = compare.compare([bad], [good], seed=0, grades=RANKS)["quadratic_kappa"]
    assert row["a"] < 0 and row["a_95"][0] < row["a"]
    assert row["difference"] > 1 and row["difference_95"][1] > row["difference"]


def test_the_command_compares_grades_and_says_their_order(tmp_path, capsys):
    paths = []
    for seed in (1, 2):
        run = predictions(seed)
        cases = Cases(run.ids, run.patients, run.truth, np.ones(120, int))
        paths.append(tmp_path / f"{seed}.csv")
        paths[-1].write_text(results.predictions_csv(cases, run.scores, NAMES))
    config = ORDINAL.replace(runs=f"{paths[0]},{paths[1]}", model_dir=str(tmp_path))
    compare_runs(config.replace(bootstrap_resamples=200))
    out = capsys.readouterr().out
    assert "quadratic kappa" in out and "Grades, lowest first: 0 < 2 < absent < 10." in out
    (comparison,) = json.loads((tmp_path / "compare.json").read_text())
    assert comparison["metrics"]["quadratic_kappa"]["p"] <= 1
