"""Paired differences against loops, p-values under the null, and sentences for what cannot be."""

import dataclasses
import json

import numpy as np
import pytest

from simclr_med import metrics
from simclr_med.config import Config
from simclr_med.data.cases import Cases
from simclr_med.errors import UserError
from simclr_med.evaluation.compare_runs import compare_runs
from simclr_med.evaluation.report.results import predictions_csv
from simclr_med.metrics import compare
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


def several(seed, n=60):
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


@pytest.mark.parametrize("run", [predictions(0), several(1)])
def test_predictions_are_read_as_they_were_written(tmp_path, run):
    truth, scores = run.truth.copy(), run.scores.copy()
    truth[3] = NAN if run.several else -1
    if run.several:
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
    ("text", "sentence"),
    [
        ("", "lacks the column case_id"),
        ("case_id,truth,prediction,a\n1,a,a,1\n", "lacks the column patient_id"),
        (HEAD, "lacks any case"),
        (HEAD + "1,1,a,a,0.5\n", "case 1: 5 fields, not 6"),
        (HEAD + "1,1,a,a,0.5,many\n", "case 1, b: 'many' is no score"),
        (HEAD + "1,1,a,a,0.5,\n", "case 1: a class has no score"),
        (HEAD + "1,1,c,a,0.5,0.5\n", "the truth 'c' is none of a, b"),
        (HEAD + "1,1,a,a,1,0\n1,1,a,a,1,0\n", "case 1 is there twice"),
        ("case_id,patient_id,truth: a,a\n1,1,-1,0.5\n", "'-1' is neither 1, 0 nor empty"),
        ("case_id,patient_id,truth: a,b\n1,1,1,0.5\n", "do not name each class once"),
        ("case_id,patient_id,truth,prediction\n1,1,a,a\n", "do not name each class once"),
        ("\0", "cannot be read as a table|lacks the column"),
    ],
)
def test_a_damaged_table_is_refused_with_its_place(tmp_path, text, sentence):
    path = tmp_path / "predictions.csv"
    path.write_text(text)
    with pytest.raises(UserError, match=sentence):
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
    for text, sentence in (
        (str(tmp_path / "none"), "there is no run in .*none"),
        (str(tmp_path / "none.csv"), "there is no file .*none.csv"),
        (
            str(tmp_path / "plain:x"),
            "holds no predictions_x.csv, but predictions.csv, predictions_",
        ),
        (str(tmp_path / "many:nih"), "seed_2 holds no predictions_nih.csv"),
        (str(tmp_path), "--mode=eval --model_dir="),
    ):
        with pytest.raises(UserError, match=sentence):
            runs_of(text)


def test_a_run_compared_with_itself_differs_by_nothing():
    run = predictions(0)
    for a, b in (([run], [run]), ([run, predictions(0, noise_seed=1)], [run] * 1)):
        found = compare.compare(a, b, seed=0, resamples=200)
        if len(a) == 1:
            for row in found.values():
                assert row["difference"] == 0 and row["difference_95"] == [0, 0]
                assert row["p"] == 1 and row["p_holm"] == 1
        else:
            assert found["top_1"]["difference"] != 0
    repeats = [predictions(0, noise_seed=i) for i in range(3)]
    found = compare.compare(repeats, repeats[::-1], seed=0, resamples=200)
    assert all(row["p"] == 1 for row in found.values())  # though sums in another order differ


def test_differences_equal_a_loop_over_resamples_of_patients():
    a = [predictions(0, 0.5, noise_seed=1), predictions(0, 0.6, noise_seed=2)]
    b = [predictions(0, 1.0, noise_seed=3)]
    found = compare.compare(a, b, seed=4, resamples=150)
    names = np.unique(a[0].patients)
    draws, slow = np.random.default_rng(4), []
    for _ in range(150):
        drawn = names[draws.integers(len(names), size=len(names), dtype=np.uint32)]
        rows = np.concatenate([np.flatnonzero(a[0].patients == name) for name in drawn])
        auc = [metrics.macro_roc_auc(r.truth[rows], r.scores[rows]) for r in (*a, *b)]
        slow.append(auc[2] - (auc[0] + auc[1]) / 2)
    row = found["macro_auc"]
    whole = [metrics.macro_roc_auc(r.truth, r.scores) for r in (*a, *b)]
    assert row["a"] == pytest.approx(np.mean(whole[:2])) and row["b"] == pytest.approx(whole[2])
    assert row["difference"] == pytest.approx(row["b"] - row["a"])
    assert row["difference_95"] == pytest.approx(list(np.percentile(slow, [2.5, 97.5])))
    rarer = min(sum(d <= 0 for d in slow), sum(d >= 0 for d in slow))
    assert row["p"] == pytest.approx(2 * (1 + rarer) / 151)
    assert set(found) == {"top_1", "balanced_accuracy", "macro_auc", "macro_ap", "ece"}
    smallest = min(found.values(), key=lambda row: row["p"])
    assert smallest["p_holm"] == pytest.approx(min(1, 5 * smallest["p"]))


def test_pairing_makes_differences_more_certain_than_their_numbers():
    run = predictions(0, 0.7, n=200, patients=80)
    scores = run.scores + 0.02 * np.random.default_rng(9).uniform(size=run.scores.shape)
    other = dataclasses.replace(run, scores=scores / scores.sum(axis=1, keepdims=True))
    row = compare.compare([run], [other], seed=0, resamples=300)["macro_auc"]
    widths = {name: row[name][1] - row[name][0] for name in ("a_95", "b_95", "difference_95")}
    assert widths["difference_95"] < 0.3 * min(widths["a_95"], widths["b_95"])


def test_p_values_of_equally_good_models_are_roughly_uniform():
    found = []
    for seed in range(200):
        runs = [predictions(seed, n=90, patients=60, noise_seed=i) for i in (0, 1)]
        found.append(compare.compare(runs[:1], runs[1:], seed=seed, resamples=199))
    for name in ("macro_auc", "macro_ap"):
        p = np.array([row[name]["p"] for row in found])
        assert 0.01 <= (p < 0.05).mean() <= 0.10, name  # binomial: 0.05 +- 3 x 0.015
        for level in (0.25, 0.5, 0.75):
            assert abs((p < level).mean() - level) < 0.11, name  # 3 x 0.035
    better = [
        compare.compare(
            [predictions(s, 0.5)], [predictions(s, 2.0, noise_seed=1)], seed=s, resamples=199
        )
        for s in range(10)
    ]
    assert max(row["macro_auc"]["p"] for row in better) < 0.05
    assert min(row["macro_auc"]["difference"] for row in better) > 0


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
    expected = compare.compare([a], [b], seed=0, resamples=100)
    found = compare.compare([a], [shuffled], seed=0, resamples=100)
    for name, row in expected.items():
        assert found[name]["b"] == pytest.approx(row["b"])
        assert found[name]["difference_95"] == pytest.approx(row["difference_95"])


def test_a_label_that_one_run_could_not_learn_counts_for_neither():
    a, b = several(1), several(2)
    scores = b.scores.copy()
    scores[:, 1] = NAN
    found = compare.compare([a], [dataclasses.replace(b, scores=scores)], seed=0, resamples=50)
    aucs = metrics.per_class_areas(metrics.rankings(a.truth, a.scores))[0]
    assert found["macro_auc"]["a"] == pytest.approx(aucs[[0, 2]].mean())
    ece = metrics.expected_calibration_error(a.truth[:, [0, 2]], a.scores[:, [0, 2]])
    assert found["ece"]["a"] == pytest.approx(ece)


def test_what_cannot_be_compared_is_refused():
    a = predictions(0, path="A.csv")
    some = dataclasses.replace(a.take(np.arange(50)), path="B.csv")
    with pytest.raises(UserError, match=r"A.csv and B.csv hold different cases: 50 in common, 10 "):
        compare.compare([a], [some], seed=0)
    truth = a.truth.copy()
    truth[7] = (truth[7] + 1) % 3
    with pytest.raises(UserError, match=r"agree on the truth of 1 \(case007\) cases"):
        compare.compare([a], [dataclasses.replace(a, truth=truth)], seed=0)
    with pytest.raises(UserError, match="agree on the patient of 60"):
        compare.compare([a], [dataclasses.replace(a, patients=a.ids)], seed=0)
    other = dataclasses.replace(a, class_names=("acne", "eczema", "nevus"), path="B.csv")
    with pytest.raises(UserError, match="B.csv the classes acne, eczema, nevus"):
        compare.compare([a], [other], seed=0)
    one = dataclasses.replace(a, patients=np.full(60, "p"))
    with pytest.raises(UserError, match="60 labelled cases of 1 patients"):
        compare.compare([one], [one], seed=0)
    x = several(0)
    unknown = x.truth.copy()
    unknown[0, 0] = 1 - unknown[0, 0] if x.known[0, 0] else 1
    with pytest.raises(UserError, match="truth of 1"):
        compare.compare([x], [dataclasses.replace(x, truth=unknown)], seed=0)


def test_drop_draws_the_two_sets_independently():
    inside, outside = predictions(0, 2.0, n=80), predictions(1, 0.5, n=80)
    found = compare.drop(inside, outside, seed=0, resamples=500)
    row = found["macro_auc"]
    assert row["inside"] == pytest.approx(metrics.macro_roc_auc(inside.truth, inside.scores))
    assert row["outside"] == pytest.approx(metrics.macro_roc_auc(outside.truth, outside.scores))
    assert row["drop"] == pytest.approx(row["inside"] - row["outside"])
    assert 0 < row["drop_95"][0] < row["drop"] < row["drop_95"][1] and "over" not in row
    same = compare.drop(inside, inside, seed=0, resamples=500)["top_1"]
    assert same["drop"] == 0 and same["drop_95"][0] < -0.05 and same["drop_95"][1] > 0.05
    one = metrics.bootstrap(
        lambda w: metrics.top_k(inside.truth, inside.scores, 1, w), inside.patients, resamples=500
    )
    widths = (same["drop_95"][1] - same["drop_95"][0]) / (one[1] - one[0])
    assert widths == pytest.approx(np.sqrt(2), rel=0.12)


def test_drop_averages_the_classes_that_both_sets_have():
    inside, outside = predictions(0, n=80), predictions(1, n=80)
    outside = outside.take(outside.truth != 1)
    found = compare.drop(inside, outside, seed=0, resamples=50)
    assert found["macro_auc"]["over"] == ["acne", "mole, other"] and "over" not in found["top_1"]
    aucs = metrics.per_class_areas(metrics.rankings(inside.truth, inside.scores))[0]
    assert found["macro_auc"]["inside"] == pytest.approx(aucs[[0, 2]].mean())
    recalls = metrics.recalls(inside.truth, inside.scores)
    assert found["balanced_accuracy"]["inside"] == pytest.approx(recalls[[0, 2]].mean())


def config_of(runs, **values):
    return Config().replace(runs=runs, bootstrap_resamples=100, **values)


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
    assert "macro_auc" in text and "60 cases of" in text and "mean of 2" in text
    found = json.loads((out / "compare.json").read_text())
    assert [(f["a"], f["b"], f["repeats_b"]) for f in found] == [
        (runs[0], runs[1], 1),
        (runs[0], runs[2], 2),
    ]
    again = compare.compare(
        [read_predictions(f"{runs[0]}/predictions.csv")],
        [read_predictions(f"{runs[1]}/predictions.csv")],
        seed=3,
        resamples=100,
    )
    assert found[0]["metrics"] == again
    lines = (out / "compare.csv").read_text().splitlines()
    assert lines[0] == "run_a,run_b,metric,a,b,difference,low,high,p,p_holm"
    assert len(lines) == 1 + 2 * 5
    assert compare_runs(config_of(",".join(runs[:2]))) == 0  # writes nothing


@pytest.mark.parametrize("runs", ["", "a", "a,"])
def test_compare_needs_two_runs(runs):
    with pytest.raises(UserError, match="needs two runs or more"):
        compare_runs(config_of(runs))
