"""What evaluated runs have in common decides how --mode=compare compares them."""

import json

import numpy as np
import pytest

from simclr_med.config import Config
from simclr_med.data.cases import Cases
from simclr_med.evaluation import run_origins
from simclr_med.evaluation.compare_runs import compare_runs
from simclr_med.evaluation.report.results import predictions_csv
from simclr_med.metrics.compare import compare
from simclr_med.metrics.predictions import read_predictions, runs_of

FEW = {"label_fraction": 0.1, "train_split": "train"}
ALL = {"label_fraction": 1.0, "train_split": "train"}


def make_run(folder, skill, noise_seed, config=None, result=None, name=""):
    """Writes what an evaluated run leaves, and returns its folder."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = np.random.default_rng(0).integers(0, 3, 120)
    noise = np.random.default_rng(noise_seed).normal(size=(120, 3))
    scores = np.exp(skill * np.eye(3)[truth] + noise)
    ids = np.array([f"case{i:03}" for i in range(120)])
    cases = Cases(ids, ids, truth, np.ones(120, int))
    table = predictions_csv(cases, scores / scores.sum(1, keepdims=True), ("a", "b", "c"))
    (folder / f"predictions{name}.csv").write_text(table)
    for file, values in (("config.json", config), (f"result{name}.json", result)):
        if values:
            (folder / file).write_text(json.dumps(values))
    return str(folder)


def of_seeds(root, skill, seeds=range(3), result=None, **config):
    """Returns the item of --runs of one recipe: a fine-tuning of each seed, with its --seed."""
    config = {"train_mode": "finetune", "train_split": "train", **config}
    return "+".join(
        make_run(
            *(root / f"tuned_{seed}", skill, [int(10 * skill), seed], {**config, "seed": seed}),
            result and {**result, "seed": seed},
        )
        for seed in seeds
    )


def compared(a, b, capsys, **values):
    """Returns (printed, the comparison of compare.json) of two sides."""
    out = values.setdefault("model_dir", a.split("+")[0] + "_out")
    compare_runs(Config().replace(runs=f"{a},{b}", bootstrap_resamples=100, **values))
    with open(f"{out}/compare.json") as file:
        return " ".join(capsys.readouterr().out.split()), json.load(file)[0]


def by_hand(a, b, **arguments):
    sides = [[read_predictions(path) for path in runs_of(side)] for side in (a, b)]
    return compare(*sides, seed=0, permutations=100, **arguments)["macro_auc"]


def test_runs_of_the_same_few_labels_are_compared_with_each_other(tmp_path, capsys):
    a = of_seeds(tmp_path / "a", 0.4, result=FEW)
    b = of_seeds(tmp_path / "b", 1.2, seeds=(2, 0, 1), result=FEW)
    text, comparison = compared(a, b, capsys)
    assert "3 runs of A are each compared with the run of B of the same labelled cases." in text
    assert comparison["in_common"] == "labelled cases"
    assert comparison["metrics"]["macro_auc"]["pairs"] == 3
    expected = by_hand(a, b, blocks=((0, 1, 2), (2, 0, 1)))
    assert comparison["metrics"]["macro_auc"]["difference_95"] == expected["difference_95"]


@pytest.mark.parametrize(
    ("of_a", "of_b"),
    [
        (ALL, ALL),  # a seed alone
        (FEW, {**FEW, "label_fraction": 0.3}),
        (FEW, {**FEW, "train_split": "train[:50%]"}),
        (FEW, {**FEW, "label_seed": 7}),
        (FEW, {**FEW, "trained_on": "derm_bags/another/1.2.0"}),
        (FEW, None),  # not known
        (None, None),
    ],
)
def test_others_count_as_independent(tmp_path, capsys, of_a, of_b):
    a = of_seeds(tmp_path / "a", 0.4, result=of_a)
    b = of_seeds(tmp_path / "b", 1.2, result=of_b)
    text, comparison = compared(a, b, capsys)
    assert "Runs of A and B count as independent." in text and not comparison["in_common"]
    row = comparison["metrics"]["macro_auc"]
    assert row["pairs"] is None and row["difference_95"] == by_hand(a, b)["difference_95"]


def test_one_run_a_side_is_compared_over_patients_whatever_it_shares(tmp_path, capsys):
    a = of_seeds(tmp_path / "a", 0.4, seeds=(0,), result=FEW)
    b = of_seeds(tmp_path / "b", 1.2, seeds=(0,), result=FEW)
    text, comparison = compared(a, b, capsys)
    assert "[95 % over patients]" in text and comparison["in_common"] is None


def test_the_results_of_an_evaluation_by_name_are_its_own(tmp_path):
    result = {**FEW, "seed": 0}
    path = make_run(tmp_path, 1.0, 0, result={**result, "label_fraction": 1.0})
    make_run(tmp_path, 1.0, 0, result=result, name="_clinic")
    assert run_origins.blocks_of([f"{path}/predictions.csv"], []) == (None, "")
    _, name = run_origins.blocks_of([f"{path}/predictions_clinic.csv"], [])
    assert name == "labelled cases"


def test_with_all_labels_runs_from_one_first_pretraining_are_pairs(tmp_path, capsys):
    """SimCLR, then MICLe or the control: with its seed each goes on from the same SimCLR."""
    pretrained = {"train_mode": "pretrain", "train_split": "train"}
    sides = {}
    for arm, skill in (("control", 0.4), ("micle", 1.2)):
        for seed in range(3):
            first = make_run(tmp_path / f"simclr_{seed}", 0.3, 50 + seed, pretrained)
            config = {**pretrained, "checkpoint": first}
            second = make_run(tmp_path / f"{arm}_{seed}", skill, [60, seed], config)
            folder, result = tmp_path / "tuned" / arm / f"seed_{seed}", {**ALL, "seed": 5 + seed}
            config = {**pretrained, "train_mode": "finetune", "checkpoint": second}
            make_run(folder, skill, [int(skill * 10), seed], config, result)
        sides[arm] = str(tmp_path / "tuned" / arm)
    text, comparison = compared(sides["control"], sides["micle"], capsys)
    assert "of the same first pretraining." in text and comparison["pretrainings_a"] == 3
    expected = by_hand(*sides.values(), blocks=(range(3), range(3)))
    assert comparison["metrics"]["macro_auc"]["difference_95"] == expected["difference_95"]
    # The pretrainings themselves, evaluated by probes.
    pairs = ["+".join(str(tmp_path / f"{arm}_{seed}") for seed in range(3)) for arm in sides]
    assert compared(*pairs, capsys, model_dir=str(tmp_path / "out"))[1]["in_common"]
    # Two steps of one side from one pretraining have no counterpart each.
    twice = "+".join([pairs[0], str(tmp_path / "tuned" / "control" / "seed_0")])
    assert not compared(twice, pairs[1], capsys, model_dir=str(tmp_path / "out"))[1]["in_common"]


def test_what_identifies_a_pretraining(tmp_path):
    tuned = {"train_mode": "finetune", "seed": 3}
    path = make_run(tmp_path / "scratch", 1.0, 0, tuned)
    assert run_origins.pretraining_of(f"{path}/p.csv") == "random weights, seed 3"
    path = make_run(tmp_path / "tuned", 1.0, 0, {**tuned, "checkpoint": "gs://bucket/run"})
    assert run_origins.pretraining_of(f"{path}/p.csv") == "gs://bucket/run"
    (tmp_path / "tuned" / "initial_weights.json").write_text('{"encoder_sha256": "abc"}')
    assert run_origins.pretraining_of(f"{path}/p.csv") == "abc"  # wherever the run is now
    path = make_run(tmp_path / "pretrained", 1.0, 0, {"train_mode": "pretrain"})
    assert run_origins.pretraining_of(f"{path}/p.csv") == str(tmp_path / "pretrained")
    path = make_run(tmp_path / "probe", 1.0, 0)
    assert run_origins.pretraining_of(f"{path}/p.csv") is None
    (tmp_path / "probe" / "experiment.json").write_text('{"evaluations": {"": {"weights": "def"}}}')
    assert run_origins.pretraining_of(f"{path}/p.csv") == "def"


def test_the_folder_of_an_arm_of_a_study_is_all_its_runs(tmp_path):
    paths = [
        make_run(tmp_path / f"subset_{subset}" / f"seed_{seed}", 1.0, [subset, seed])
        for subset in (2, 10)
        for seed in (0, 1, 11)
    ]
    assert runs_of(str(tmp_path)) == [f"{path}/predictions.csv" for path in paths]
