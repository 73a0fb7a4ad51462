"""Paired differences against loops, p-values under the null, and errors for what cannot be compared."""

import dataclasses
import itertools
import json

import numpy as np
import pytest
import scipy.stats

from simclr_med import metrics
from simclr_med.config import Config
from simclr_med.data.cases import Cases
from simclr_med.errors import UserError
from simclr_med.evaluation.compare_runs import compare_runs
from simclr_med.evaluation.report.results import predictions_csv
from simclr_med.metrics import compare, influence, intervals
from simclr_med.metrics.predictions import Predictions, read_predictions, runs_of

NAN = float("nan")
NAMES = ("acne", "eczema", "mole, other")


def predictions(seed, skill=1.0, n=60, patients=25, noise_seed=0, path=""):
    """Returns scores of the same cases for each seed: only the noise differs."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 3, n)
    patient_of_case = np.array([f"p{i}" for i in rng.integers(0, patients, n)])
    noise = np.random.default_rng([seed, noise_seed])
    logits = skill * np.eye(3)[truth] + noise.normal(size=(n, 3))
    scores = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ids = np.array([f"case{i:03}" for i in range(n)])
    return Predictions(ids, patient_of_case, truth, scores, NAMES, path)


def multilabel(seed, n=60):
    rng = np.random.default_rng(seed)
    truth = np.random.default_rng(0).choice([0.0, 1.0, NAN], size=(n, 3))
    scores = rng.uniform(size=(n, 3))
    ids = np.array([f"study{i}" for i in range(n)])
    return Predictions(ids, np.arange(n).astype(str), truth, scores, NAMES)


def write(path, run):
    path.parent.mkdir(parents=True, exist_ok=True)
    cases = Cases(run.ids, run.patients, run.truth, np.ones(len(run.ids), int))
    path.write_text(predictions_csv(cases, run.scores, run.class_names))
    return str(path)


@pytest.mark.parametrize("run", [predictions(0), multilabel(1)])
def test_predictions_are_read_as_they_were_written(tmp_path, run):
    truth, scores = run.truth.copy(), run.scores.copy()
    truth[3] = NAN if run.multilabel else -1
    if run.multilabel:
        scores[:, 1] = NAN
    run = dataclasses.replace(run, truth=truth, scores=scores)
    path = write(tmp_path / "predictions.csv", run)
    read = read_predictions(path)
    assert (read.ids == run.ids).all() and (read.patients == run.patients).all()
    np.testing.assert_array_equal(read.truth, truth)
    np.testing.assert_allclose(read.scores, scores, atol=1e-6)
    assert read.class_names == NAMES and read.path == path


def test_columns_are_found_by_name(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text(
        "case_id,patient_id,metadata: truth,metadata: acne,truth,prediction,acne,mole\n"
        "1,7,x,y,mole,acne,0.75,0.25\n2,8,x,y,,mole,0.25,0.75\n"
    )
    read = read_predictions(str(path))
    assert read.class_names == ("acne", "mole") and read.truth.tolist() == [1, -1]
    assert read.scores.tolist() == [[0.75, 0.25], [0.25, 0.75]]


HEAD = "case_id,patient_id,truth,prediction,a,b\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "lacks the column case_id"),
        ("case_id,truth,prediction,a\n1,a,a,1\n", "lacks the column patient_id"),
        (HEAD, "lacks any case"),
        (HEAD + "1,1,a,a,0.5\n", "case 1: 5 fields, not 6"),
        (HEAD + "1,1,a,a,0.5,many\n", "case 1, b: 'many' is no score"),
        (HEAD + "1,1,a,a,0.5,\n", "case 1: a class has no score"),
        (HEAD + "1,1,c,a,0.5,0.5\n", "the truth 'c' is none of a, b"),
        (HEAD + "1,1,a,a,1,0\n1,1,a,a,1,0\n", "case 1 appears twice, the second time in row 3"),
        ("case_id,patient_id,truth: a,a\n1,1,-1,0.5\n", "'-1' is neither 1, 0 nor empty"),
        ("case_id,patient_id,truth: a,b\n1,1,1,0.5\n", "do not name each class once"),
        ("case_id,patient_id,truth,prediction\n1,1,a,a\n", "do not name each class once"),
        ("\0", "cannot be read as a table|lacks the column"),
    ],
)
def test_a_damaged_table_is_refused_with_its_place(tmp_path, text, message):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        read_predictions(str(path))
    path.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(UserError, match="cannot be read as a table"):
        read_predictions(str(path))


def test_what_an_item_of_runs_means(tmp_path):
    run = predictions(0)
    plain = write(tmp_path / "plain" / "predictions.csv", run)
    named = write(tmp_path / "plain" / "predictions_nih.csv", run)
    seeds = [write(tmp_path / "many" / f"seed_{i}" / "predictions.csv", run) for i in (2, 10)]
    write(tmp_path / "many" / "predictions.csv", run)
    assert runs_of(str(tmp_path / "plain")) == [plain]
    assert runs_of(str(tmp_path / "plain:nih")) == [named]
    assert runs_of(named) == [named]
    assert runs_of(str(tmp_path / "many")) == seeds  # by number, not by letters
    for text, message in (
        (str(tmp_path / "none"), "there is no run in .*none"),
        (str(tmp_path / "none.csv"), "there is no file .*none.csv"),
        (
            str(tmp_path / "plain:x"),
            "holds no predictions_x.csv, but predictions.csv, predictions_",
        ),
        (str(tmp_path / "many:nih"), "seed_2 holds no predictions_nih.csv"),
        (str(tmp_path), "--mode=eval --model_dir="),
    ):
        with pytest.raises(UserError, match=message):
            runs_of(text)


def test_a_run_compared_with_itself_differs_by_nothing():
    run = predictions(0)
    for row in compare.compare([run], [run], seed=0).values():
        assert row["difference"] == 0 and row["p"] == 1
        assert row["difference_95"] is None or row["difference_95"] == pytest.approx(
            [0, 0], abs=0.06
        )
    repeats = [predictions(0, noise_seed=i) for i in range(3)]
    for row in compare.compare(repeats, repeats[::-1], seed=0).values():
        assert row["difference"] == pytest.approx(0) and (row["p"] == 1 or row["why"])


def swapped(a, b, patients):
    """Returns both runs with the scores of these patients exchanged."""
    which = np.isin(a.patients, patients)[:, None]
    return tuple(
        dataclasses.replace(one, scores=np.where(which, other.scores, one.scores))
        for one, other in ((a, b), (b, a))
    )


def test_p_values_equal_a_loop_over_all_swaps_of_patients():
    """Six patients, 64 swaps: what each metric is of the swapped predictions."""
    a, b = (predictions(3, n=24, patients=6, noise_seed=i) for i in (0, 1))
    ranked = [
        dataclasses.replace(run, scores=scipy.stats.rankdata(run.scores, axis=0)) for run in (a, b)
    ]
    names = np.unique(a.patients)
    values = {
        "top_1": (lambda r: metrics.top_k(r.truth, r.scores, 1), (a, b)),
        "balanced_accuracy": (lambda r: metrics.balanced_accuracy(r.truth, r.scores), (a, b)),
        "macro_auc": (lambda r: metrics.macro_roc_auc(r.truth, r.scores), ranked),
        "macro_ap": (lambda r: metrics.macro_average_precision(r.truth, r.scores), ranked),
        "ece": (lambda r: metrics.expected_calibration_error(r.truth, r.scores), (a, b)),
    }
    compared = compare.compare([a], [b], seed=0)
    assert set(compared) == set(values)
    for name, (metric, (one, other)) in values.items():
        slow = []
        for mask in itertools.product((False, True), repeat=len(names)):
            x, y = swapped(one, other, names[list(mask)])
            slow.append(metric(y) - metric(x))
        assert compared[name]["difference"] == pytest.approx(slow[0]), name
        expected = np.mean(np.abs(slow) >= abs(slow[0]) - 1e-12)
        assert compared[name]["p"] == pytest.approx(expected), name


def test_scores_on_another_scale_make_no_difference_to_areas():
    a, b = predictions(0, noise_seed=1), predictions(0, noise_seed=2)
    stretched = dataclasses.replace(b, scores=b.scores**3)
    plain, other = (compare.compare([a], [run], seed=0) for run in (b, stretched))
    for name in ("macro_auc", "macro_ap"):
        assert other[name]["p"] == plain[name]["p"]


def test_four_discordant_patients_of_a_hundred_give_mcnemars_p_value():
    truth = np.arange(100) % 2
    right = np.eye(2)[truth] * 0.8 + 0.1
    scores = right.copy()
    scores[:4] = right[:4, ::-1]
    ids = np.array([f"case{i}" for i in range(100)])
    runs = [Predictions(ids, ids, truth, x, ("benign", "malignant")) for x in (scores, right)]
    row = compare.compare(runs[:1], runs[1:], seed=0)["top_1"]
    assert row["p"] == pytest.approx(0.125) and row["difference"] == pytest.approx(0.04)
    assert row["difference_95"][0] < 0.04 < row["difference_95"][1] < 0.12


def test_two_patients_prove_nothing():
    truth, ids = np.array([0, 1]), np.array(["x", "y"])
    wrong, right = (
        Predictions(ids, ids, truth, x, ("a", "b")) for x in (np.eye(2)[::-1], np.eye(2))
    )
    for row in compare.compare([wrong], [right], seed=0).values():
        assert row["p"] >= 0.5 and row["difference_95"] is None and row["why"]


def test_pairing_makes_differences_more_certain_than_their_numbers():
    run = predictions(0, 0.7, n=200, patients=80)
    scores = run.scores + 0.02 * np.random.default_rng(9).uniform(size=run.scores.shape)
    other = dataclasses.replace(run, scores=scores / scores.sum(axis=1, keepdims=True))
    row = compare.compare([run], [other], seed=0, permutations=300)["macro_auc"]
    widths = {name: row[name][1] - row[name][0] for name in ("a_95", "b_95", "difference_95")}
    assert widths["difference_95"] < 0.3 * min(widths["a_95"], widths["b_95"])


def test_p_values_of_equally_good_models_are_roughly_uniform():
    comparisons = []
    for seed in range(200):
        runs = [predictions(seed, n=90, patients=60, noise_seed=i) for i in (0, 1)]
        comparisons.append(compare.compare(runs[:1], runs[1:], seed=seed, permutations=199))
    for name in ("macro_auc", "macro_ap"):
        p = np.array([row[name]["p"] for row in comparisons])
        assert 0.01 <= (p < 0.05).mean() <= 0.10, name  # binomial: 0.05 +- 3 x 0.015
        for level in (0.25, 0.5, 0.75):
            assert abs((p < level).mean() - level) < 0.11, name  # 3 x 0.035
    better = [
        compare.compare(
            [predictions(s, 0.5)], [predictions(s, 2.0, noise_seed=1)], seed=s, permutations=199
        )
        for s in range(10)
    ]
    assert max(row["macro_auc"]["p"] for row in better) < 0.05
    assert min(row["macro_auc"]["difference"] for row in better) > 0


def of_patients(a, b):
    """Returns the variance of the mean difference in macro-AUC that patients give, and its freedom."""
    moved = 0
    for sign, side in ((-1, a), (1, b)):
        for run in side:
            for c in range(3):
                derivative = influence.auc(run.truth == c, run.scores[:, c])[1]
                moved = moved + sign / len(side) / 3 * derivative
    names, of_case = np.unique(a[0].patients, return_inverse=True)
    of_patient = np.bincount(of_case, moved)
    n = len(names)
    return of_patient @ of_patient * n / (n - 1), n - 1


def t_interval(parts):
    """Returns the sum of variances, its degrees of freedom (Satterthwaite), and half an interval."""
    total = sum(v for v, _ in parts)
    freedom = total**2 / sum(v**2 / df for v, df in parts)
    return total, freedom, scipy.stats.t.ppf(0.975, freedom) * np.sqrt(total)


def test_several_runs_a_side_add_their_own_variance():
    """By hand: the patients' variance and each side's runs', a t interval (Satterthwaite)."""
    a, b = (
        [predictions(0, skill, n=120, patients=60, noise_seed=i) for i in seeds]
        for skill, seeds in ((0.8, (1, 2, 3)), (1.1, (4, 5, 6, 7)))
    )
    row = compare.compare(a, b, seed=0)["macro_auc"]
    values = [[metrics.macro_roc_auc(r.truth, r.scores) for r in side] for side in (a, b)]
    assert row["a_runs"] == pytest.approx(values[0]) and row["b"] == pytest.approx(
        np.mean(values[1])
    )
    parts = [of_patients(a, b), *((np.var(v, ddof=1) / len(v), len(v) - 1) for v in values)]
    total, freedom, half = t_interval(parts)
    assert row["difference_95"] == pytest.approx(
        [row["difference"] - half, row["difference"] + half]
    )
    assert row["p"] == pytest.approx(
        2 * scipy.stats.t.sf(abs(row["difference"]) / np.sqrt(total), freedom)
    )
    assert row["over"] == "runs and patients"
    # Two fine-tunings of each of two pretrainings are two, not four.
    grouped = compare.compare(a, b, seed=0, pretrainings=(("p", "q", "r"), ("x", "x", "y", "y")))
    assert np.diff(grouped["macro_auc"]["difference_95"]) != np.diff(row["difference_95"])


@pytest.mark.slow
@pytest.mark.one_stack
def test_the_same_recipe_with_other_seeds_is_seldom_called_better():
    """Runs that differ by their seed only, each a little better or worse as a whole."""
    rng, called = np.random.default_rng(0), {1: 0, 3: 0}
    for trial in range(150):
        for k in called:
            sides = [
                [
                    predictions(
                        trial, 1.0 + 0.5 * rng.normal(), n=200, patients=200, noise_seed=10 * s + i
                    )
                    for i in range(k)
                ]
                for s in (1, 2)
            ]
            called[k] += compare.compare(*sides, seed=0, permutations=199)["macro_auc"]["p"] < 0.05
    assert called[1] > 0.3 * 150  # models do differ
    assert called[3] < 0.12 * 150  # recipes do not: 0.05 + 4 standard errors


def test_copies_of_a_run_are_no_replications(tmp_path):
    run = predictions(0, path="A.csv")
    copy = dataclasses.replace(run, path="B.csv")
    with pytest.raises(UserError, match="A.csv and B.csv hold the same scores"):
        compare.compare([run, copy], [predictions(0, noise_seed=1)], seed=0)
    path = write(tmp_path / "a" / "predictions.csv", run)
    with pytest.raises(UserError, match="is given twice"):
        runs_of(f"{tmp_path}/a+{path}")


def test_holm_is_over_the_whole_family():
    rows = [{"p": p} for p in (0.01, 0.04, NAN, 0.03)]
    compare.correct(rows)
    assert [row["p_holm"] for row in rows] == pytest.approx([0.03, 0.06, NAN, 0.06], nan_ok=True)


def test_cases_and_classes_in_another_order_are_the_same():
    a, b = predictions(0, noise_seed=1), predictions(0, noise_seed=2)
    order = np.random.default_rng(0).permutation(60)
    columns = np.array([2, 0, 1])
    shuffled = dataclasses.replace(
        b.take(order),
        truth=np.argsort(columns)[b.truth[order]],
        scores=b.scores[order][:, columns],
        class_names=tuple(NAMES[c] for c in columns),
    )
    expected = compare.compare([a], [b], seed=0, permutations=100)
    compared = compare.compare([a], [shuffled], seed=0, permutations=100)
    for name, row in expected.items():
        assert compared[name]["b"] == pytest.approx(row["b"])
        assert compared[name]["difference_95"] == pytest.approx(row["difference_95"])
        assert compared[name]["p"] == pytest.approx(row["p"])


def test_a_label_that_one_run_could_not_learn_counts_for_neither():
    a, b = multilabel(1), multilabel(2)
    scores = b.scores.copy()
    scores[:, 1] = NAN
    compared = compare.compare([a], [dataclasses.replace(b, scores=scores)], seed=0)
    aucs = metrics.per_class_areas(metrics.rankings(a.truth, a.scores))[0]
    assert compared["macro_auc"]["a"] == pytest.approx(aucs[[0, 2]].mean())
    ece = metrics.expected_calibration_error(a.truth[:, [0, 2]], a.scores[:, [0, 2]])
    assert compared["ece"]["a"] == pytest.approx(ece)


def test_what_cannot_be_compared_is_refused():
    a = predictions(0, path="A.csv")
    subset = dataclasses.replace(a.take(np.arange(50)), path="B.csv")
    with pytest.raises(UserError, match=r"A.csv and B.csv hold different cases: 50 in common, 10 "):
        compare.compare([a], [subset], seed=0)
    truth = a.truth.copy()
    truth[7] = (truth[7] + 1) % 3
    with pytest.raises(UserError, match=r"agree on the truth of 1 \(case007\) cases"):
        compare.compare([a], [dataclasses.replace(a, truth=truth)], seed=0)
    with pytest.raises(UserError, match="agree on the patient of 60"):
        compare.compare([a], [dataclasses.replace(a, patients=a.ids)], seed=0)
    other = dataclasses.replace(a, class_names=("acne", "eczema", "nevus"), path="B.csv")
    with pytest.raises(UserError, match="B.csv the classes acne, eczema, nevus"):
        compare.compare([a], [other], seed=0)
    x = multilabel(0)
    unknown = x.truth.copy()
    unknown[0, 0] = 1 - unknown[0, 0] if x.known[0, 0] else 1
    with pytest.raises(UserError, match="truth of 1"):
        compare.compare([x], [dataclasses.replace(x, truth=unknown)], seed=0)


def test_drop_adds_the_uncertainty_of_two_independent_sets():
    inside, outside = predictions(0, 2.0, n=80), predictions(1, 0.5, n=80)
    drops = compare.drop(inside, outside)
    row = drops["macro_auc"]
    assert row["inside"] == pytest.approx(metrics.macro_roc_auc(inside.truth, inside.scores))
    assert row["outside"] == pytest.approx(metrics.macro_roc_auc(outside.truth, outside.scores))
    assert row["drop"] == pytest.approx(row["inside"] - row["outside"])
    assert 0 < row["drop_95"][0] < row["drop"] < row["drop_95"][1] and "over" not in row
    same = compare.drop(inside, inside)["top_1"]
    right = metrics.in_top_k(inside.truth, inside.scores, 1)
    one = intervals.share(right, intervals.Patients(inside.patients))
    arms = [one.value - one.low, one.high - one.value]
    assert same["drop"] == 0 and same["drop_95"] == pytest.approx(
        [-np.hypot(*arms), np.hypot(*arms)]
    )


def test_drop_averages_the_classes_that_both_sets_have():
    inside, outside = predictions(0, n=80), predictions(1, n=80)
    outside = outside.take(outside.truth != 1)
    drops = compare.drop(inside, outside)
    assert drops["macro_auc"]["over"] == ["acne", "mole, other"] and "over" not in drops["top_1"]
    aucs = metrics.per_class_areas(metrics.rankings(inside.truth, inside.scores))[0]
    assert drops["macro_auc"]["inside"] == pytest.approx(aucs[[0, 2]].mean())
    recalls = metrics.recalls(inside.truth, inside.scores)
    assert drops["balanced_accuracy"]["inside"] == pytest.approx(recalls[[0, 2]].mean())


def config_of(runs, **values):
    return Config().replace(runs=runs, bootstrap_resamples=100, **values)


def of_runs(seeds, skill):
    return [predictions(0, skill, n=120, patients=60, noise_seed=i) for i in seeds]


def test_runs_in_pairs_add_the_variance_of_their_differences():
    """By hand: the patients' variance and that of the pairs, those of a pretraining averaged."""
    a, b = of_runs((1, 2, 3, 4, 5, 6), 0.8), of_runs((11, 12, 13, 14, 15, 16), 1.1)
    blocks = [(seed, subset) for seed in range(3) for subset in range(2)]
    names = (["p", "p", "q", "q", "r", "r"], ["x", "x", "y", "y", "z", "z"])
    order = [3, 0, 5, 2, 1, 4]  # b's runs may come in any
    row = compare.compare(
        *(a, [b[i] for i in order]),
        seed=0,
        pretrainings=(names[0], [names[1][i] for i in order]),
        blocks=(blocks, [blocks[i] for i in order]),
    )["macro_auc"]
    values = [[metrics.macro_roc_auc(r.truth, r.scores) for r in side] for side in (a, b)]
    differences = np.subtract(values[1], values[0]).reshape(3, 2).mean(axis=1)
    total, freedom, half = t_interval([of_patients(a, b), (np.var(differences, ddof=1) / 3, 2)])
    assert row["pairs"] == 6 and row["difference"] == pytest.approx(differences.mean())
    assert row["difference_95"] == pytest.approx(
        [differences.mean() - half, differences.mean() + half]
    )
    assert row["p"] == pytest.approx(
        2 * scipy.stats.t.sf(abs(differences.mean()) / np.sqrt(total), freedom)
    )


def test_what_a_pair_shares_cancels_and_no_more():
    """A subset of the labels that moves both sides alike: the interval does not see it."""
    shared = [0.4, 1.0, 1.6]
    a = [predictions(0, skill, n=400, patients=400, noise_seed=1) for skill in shared]
    b = [predictions(0, skill + 0.3, n=400, patients=400, noise_seed=1) for skill in shared]
    widths = {}
    for name, blocks in {"paired": (range(3), range(3)), "mixed": (range(3), (1, 2, 0))}.items():
        row = compare.compare(a, b, seed=0, blocks=blocks)["macro_auc"]
        widths[name] = np.diff(row["difference_95"])[0]
    widths["alone"] = np.diff(compare.compare(a, b, seed=0)["macro_auc"]["difference_95"])[0]
    assert 2 * widths["paired"] < widths["alone"] and widths["alone"] < widths["mixed"]


@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [((0, 1, 2), (0, 1, 3)), ((0, 1, 1), (0, 1, 1)), ((0, 1, 2), (0, 1))],
)
def test_runs_without_a_counterpart_are_compared_as_sides(of_a, of_b):
    a, b = of_runs(range(len(of_a)), 0.8), of_runs(range(7, 7 + len(of_b)), 1.1)
    row = compare.compare(a, b, seed=0, blocks=(of_a, of_b))["macro_auc"]
    assert row == compare.compare(a, b, seed=0)["macro_auc"] and row["pairs"] is None


def test_runs_whose_pretrainings_cross_are_no_pairs():
    """Through runs 1 and 2 every pair shares a pretraining with another, so none stands alone."""
    a, b = of_runs((1, 2, 3), 0.8), of_runs((4, 5, 6), 1.1)
    crossing, nested = (["p", "p", "q"], ["x", "y", "y"]), (["p", "p", "q"], ["x", "x", "y"])
    blocks = (range(3), range(3))
    for names, pairs in ((crossing, None), (nested, 3)):
        row = compare.compare(a, b, seed=0, pretrainings=names, blocks=blocks)["macro_auc"]
        assert row["pairs"] == pairs
        if pairs is None:
            assert row == compare.compare(a, b, seed=0, pretrainings=names)["macro_auc"]


def test_pairs_from_one_pretraining_on_both_sides_are_each_their_own():
    a, b = of_runs((1, 2, 3), 0.8), of_runs((4, 5, 6), 1.1)
    blocks = (range(3), range(3))
    limits = [
        compare.compare(a, b, seed=0, blocks=blocks, pretrainings=names)["macro_auc"][
            "difference_95"
        ]
        for names in (None, (["x"] * 3, ["y"] * 3), (["x"] * 3, ["y", "z", "z"]))
    ]
    assert limits[0] == limits[1] != limits[2]  # in the third one side has two


def test_compare_runs_prints_a_table_and_writes_the_numbers(tmp_path, capsys):
    for name, skill in (("a", 0.5), ("b", 1.5)):
        write(tmp_path / name / "predictions.csv", predictions(0, skill, noise_seed=1))
    for i in range(2):
        path = tmp_path / "c" / f"seed_{i}" / "predictions.csv"
        write(path, predictions(0, 1.0, noise_seed=i))
    runs = [str(tmp_path / name) for name in "abc"]
    out = tmp_path / "out"
    assert compare_runs(config_of(",".join(runs), model_dir=str(out), seed=3)) == 0
    text = " ".join(capsys.readouterr().out.split())  # a long path breaks a line anywhere
    assert "macro-AUC" in text and "60 cases of" in text and "mean of 2 runs" in text
    assert "corrected for the 10 p-values shown" in text
    comparisons = json.loads((out / "compare.json").read_text())
    assert [(f["a"], f["b"], f["repeats_b"]) for f in comparisons] == [
        (runs[0], runs[1], 1),
        (runs[0], runs[2], 2),
    ]
    again = compare.compare(
        [read_predictions(f"{runs[0]}/predictions.csv")],
        [read_predictions(f"{runs[1]}/predictions.csv")],
        seed=3,
        permutations=100,
    )
    for name, row in again.items():
        stored = {key: comparisons[0]["metrics"][name][key] for key in row}
        assert stored == row
    rows = [row for comparison in comparisons for row in comparison["metrics"].values()]
    p_values = [row["p"] for row in rows]
    assert min(row["p_holm"] for row in rows) == pytest.approx(min(1, 10 * min(p_values)))
    lines = (out / "compare.csv").read_text().splitlines()
    assert lines[0] == "run_a,run_b,metric,a,b,difference,low,high,p,p_holm"
    assert len(lines) == 1 + 2 * 5
    assert compare_runs(config_of(",".join(runs[:2]))) == 0  # writes nothing


def run_of(tmp_path, name, skill, noise_seed, **config):
    """Returns the folder of an evaluated run."""
    write(tmp_path / name / "predictions.csv", predictions(0, skill, 200, 150, noise_seed))
    if config:
        (tmp_path / name / "config.json").write_text(json.dumps(config))
    return str(tmp_path / name)


def test_three_pretrainings_a_side_speak_of_the_recipe_and_fewer_of_models(tmp_path, capsys):
    sides = [
        "+".join(
            run_of(tmp_path, f"{side}{i}", skill, 10 * s + i, train_mode="pretrain")
            for i in range(3)
        )
        for s, (side, skill) in enumerate((("plain", 0.2), ("micle", 2.0)))
    ]
    compare_runs(config_of(",".join(sides)))
    text = " ".join(capsys.readouterr().out.split())
    assert "The recipes differ: B is better in top-1 accuracy" in text
    assert "(3 and 3 pretrainings)" in text and "95 % over runs and patients" in text
    one = [side.split("+")[0] for side in sides]
    compare_runs(config_of(",".join(one)))
    text = " ".join(capsys.readouterr().out.split())
    assert "These trained models differ on these patients: B is better" in text
    assert "from 1 and 1 pretraining(s) a side: that takes 3 each" in text
    tuned = [  # three fine-tunings of one pretraining
        "+".join(
            run_of(
                tmp_path,
                f"t{s}{i}",
                skill,
                100 + 10 * s + i,
                train_mode="finetune",
                checkpoint=f"p{s}",
            )
            for i in range(3)
        )
        for s, skill in enumerate((0.2, 2.0))
    ]
    compare_runs(config_of(",".join(tuned)))
    text = " ".join(capsys.readouterr().out.split())
    assert "from 1 and 1 pretraining(s)" in text
    bare = [run_of(tmp_path, f"bare{i}", 0.2 + 1.8 * i, 200 + i) for i in range(2)]
    compare_runs(config_of(",".join(bare)))
    assert "an unknown number and an unknown number" in capsys.readouterr().out


def test_a_plus_in_the_name_of_a_folder_is_part_of_it(tmp_path):
    paths = [
        write(tmp_path / name / "predictions.csv", predictions(0, noise_seed=i))
        for i, name in enumerate(("a+b", "c"))
    ]
    assert runs_of(f"{tmp_path}/a+b+{tmp_path}/c") == paths


@pytest.mark.parametrize("runs", ["", "a", "a,"])
def test_compare_needs_two_runs(runs):
    with pytest.raises(UserError, match="needs two runs or more"):
        compare_runs(config_of(runs))
