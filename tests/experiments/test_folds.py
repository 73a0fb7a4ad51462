"""Cross-validation: what the folds predict is evaluated together, each case by the run that did not see
its patient."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from helpers import tiny_runs
from helpers.folders import draw_cases
from simclr_med import build
from simclr_med.build import open_bags
from simclr_med.commands.main import main
from simclr_med.data.cases import read_cases
from simclr_med.data.patients import patients_of
from simclr_med.errors import UserError
from simclr_med.evaluation.report.results import predictions_csv
from simclr_med.experiments import folds
from simclr_med.metrics.predictions import read_predictions
from simclr_med.run_folder import read_json
from tfds_builders.derm_bags import Builder, folder_config

CONFIG = tiny_runs.FINETUNE.replace(train_split="all", folds=3, dataset="derm_bags")


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """18 cases of 9 patients in two classes."""
    root = tmp_path_factory.mktemp("data")
    photos = draw_cases(
        root / "photos",
        {"train": 12, "validation": 2, "test": 4},
        columns={"patient_id": lambda case: f"p{case // 2}"},
    )
    builder = Builder(config=folder_config(photos), data_dir=root / "tfds")
    builder.download_and_prepare()
    return builder


def row(what="training", patients=0, split="x", why=""):
    return {"with": what, "dataset": "d", "split": split, "patients": patients, "why": why}


def write_folds(builder, root, configs):
    """Writes what runs of the folds would leave; returns (their results, {case: its scores})."""
    rng, results, scores_of = np.random.default_rng(0), [], {}
    for k, (name, config) in enumerate(configs.items()):
        bags = open_bags(config, builder, config.data.eval_split)
        cases = read_cases(bags, 0)
        scores = rng.dirichlet([1, 1], len(cases.ids))
        scores_of |= dict(zip(cases.ids, scores))
        (root / name).mkdir(parents=True)
        csv = predictions_csv(cases, scores, bags.class_names)
        (root / name / "predictions.csv").write_text(csv)
        data = {"class_names": list(bags.class_names), "several_labels": False}
        data["classes_without_training_cases"] = ["label1"] if k == 1 else []
        (root / name / "data.json").write_text(json.dumps(data))
        common = [row(split=config.data.train_split), row("pretraining", k, "before")]
        patients = {"evaluated": len(set(cases.patients)), "told_apart_by": "patient_id"}
        patients |= {"allowed": False, "in_common": common, "not_known": ""}
        results.append(
            {
                **{"files": {"predictions": ""}, "global_step": 2, "encoders": {}},
                **{"patients": patients, "train_split": config.data.train_split},
            }
        )
    return results, scores_of


def test_all_folds_together_are_all_cases_once(tmp_path, builder):
    configs = folds.make_configs(CONFIG)
    results, scores_of = write_folds(builder, tmp_path, configs)
    measured = folds.pooled(CONFIG, builder, [str(tmp_path / name) for name in configs], results)
    assert len(measured.cases.ids) == len(set(measured.cases.ids)) == 18
    expected = np.stack([scores_of[case] for case in measured.cases.ids])
    np.testing.assert_allclose(measured.predictions["predictions"], expected, rtol=1e-8)
    head = measured.result["classification"]["supervised head"]["trained"]
    assert head["cases"] == 18 and head["patients"] == 9
    # Label1 had no training case in a fold, so no average holds it: of two classes label0 is left.
    auc = roc_auc_score(measured.cases.labels == 0, expected[:, 0])
    assert head["macro_auc"] == pytest.approx(auc)
    assert head["top_1"] == pytest.approx((expected.argmax(1) == measured.cases.labels).mean())


def test_the_split_that_chooses_is_taken_from_each_run_s_own_patients(builder):
    config = CONFIG.replace(train_split="train:without_fold_1_of_4")
    config = config.replace(selection_split="train:fold_1_of_4")
    assert folds.divided(config) == "train" and folds.divided(CONFIG) == "all"
    seen = []
    for job in folds.make_configs(config).values():
        data = job.data
        names = (data.train_split, data.selection_split, data.eval_split)
        parts = [patients_of(builder, name) for name in names]
        assert sum(map(len, parts)) == len(frozenset().union(*parts)) == 6
        seen += parts[2]
    assert sorted(seen) == sorted(patients_of(builder, "train"))
    elsewhere = folds.make_configs(config.replace(train_split="all"))["fold_1"].data
    assert elsewhere.selection_split == "all:without_fold_1_of_3:fold_1_of_4"
    same = folds.make_configs(CONFIG.replace(train_split="train", selection_split="validation"))[
        "fold_1"
    ]
    assert same.data.selection_split == "validation"


def test_patients_in_common_are_added_up(tmp_path, builder):
    configs = folds.make_configs(CONFIG)
    results, _ = write_folds(builder, tmp_path, configs)
    folders = [str(tmp_path / name) for name in configs]
    patients = folds.pooled(CONFIG, builder, folders, results).result["patients"]
    assert patients["evaluated"] == 9
    assert patients["in_common"] == [
        row(split="the other folds of all"),
        row("pretraining", 0 + 1 + 2, "before"),
    ]
    for result in results:  # a pretraining, whose own split is that of the fold
        result["patients"]["in_common"][0]["with"] = "pretraining"
    patients = folds.pooled(CONFIG, builder, folders, results).result["patients"]
    assert patients["in_common"][0] == row("pretraining", 0, "the other folds of all")
    results[1]["patients"]["in_common"][1] = row("pretraining", None, "before", "gone")
    patients = folds.pooled(CONFIG, builder, folders, results).result["patients"]
    assert patients["in_common"][1] == row("pretraining", None, "before", "gone")


def test_folds_of_other_data_are_refused(tmp_path, builder):
    configs = folds.make_configs(CONFIG)
    results, _ = write_folds(builder, tmp_path, configs)
    one = str(tmp_path / "fold_1")
    with pytest.raises(UserError, match="12 cases are in no fold's predictions and 6 in several"):
        folds.pooled(CONFIG, builder, [one, one], results)


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--folds=1", "one fold leaves no patient to train on"),
        ("--folds=3 --repeats=2", "give one of the two"),
        ("--folds=3 --eval_split=test", "leave out --eval_split=test"),
        ("--folds=3 --eval_steps=1", "leave out --eval_steps=1"),
        ("--folds=7", "it has 6 patients. Choose at most 6 folds."),
        ("--folds=3 --train_split=all --selection_split=validation", "share 1 patients"),
    ],
)
def test_what_does_not_go_with_folds(tmp_path, builder, capsys, flags, words):
    manual_dir = f"--manual_dir={builder.builder_config.manifest.folder}"
    where = [manual_dir, f"--data_dir={builder._data_dir_root}", f"--model_dir={tmp_path / 'm'}"]
    small = ["--resnet_depth=18", "--image_size=34", "--train_steps=2", "--train_batch_size=4"]
    argv = [
        "run.py",
        "--mode=train_then_eval",
        "--train_mode=finetune",
        *where,
        *small,
        *flags.split(),
    ]
    assert main(argv) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "m").exists()


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.usefixtures("one_block")
def test_real_folds_end_in_one_evaluation_and_are_resumed(tmp_path, builder, capsys):
    config, model_dir = CONFIG.replace(train_split="train"), tmp_path / "m"
    strategy = build.set_up(config)
    result = folds.run(config, builder, str(model_dir), strategy, {})
    out = capsys.readouterr().out
    assert "6 of the 18 cases are in no fold (there are train 12, validation 2, test 4)" in out
    for k in (1, 2, 3):
        its = read_json(str(model_dir / f"fold_{k}" / "config.json"))
        assert its["train_split"] == f"train:without_fold_{k}_of_3"
    written = read_predictions(str(model_dir / "predictions.csv"))
    assert len(written.ids) == 12
    of_fold = read_predictions(str(model_dir / "fold_2" / "predictions.csv"))
    indices = [written.ids.tolist().index(case) for case in of_fold.ids]
    np.testing.assert_allclose(written.scores[indices], of_fold.scores, rtol=1e-8)
    assert result["not_drawn"] == {} and (model_dir / "report.html").exists()
    rows = read_json(str(model_dir / "folds.json"))["rows"]
    assert {len(r["values"]) for r in rows} == {3}
    folds.run(config, builder, str(model_dir), strategy, {})
    assert capsys.readouterr().out.count("is done") == 3
