"""Many runs: nothing finished is redone, nothing is chosen on the test split, tables hold the runs.

Most tests replace training and evaluation by quick stand-ins that leave the same files; the last ones
are real, with an encoder that is a stem.
"""

import csv
import json
import os
import signal
import time
import types

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers import ROOT, processes
from helpers.folders import draw_cases
from helpers.stand_ins import Killed, StandIns, toy_weights
from helpers.sweep_worker import BASE, SWEEP
from simclr_med import build, signals
from simclr_med.commands import dataset, flags, recipes
from simclr_med.commands.main import main
from simclr_med.config import Config
from simclr_med.errors import Diverged, UserError
from simclr_med.evaluation import splits
from simclr_med.experiments import (
    grids,
    label_efficiency,
    repeats,
    runs,
    study,
    sweep,
)
from tfds_builders.derm_bags import Builder, folder_config


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    splits = {"train": 12, "validation": 6, "test": 6}
    photos = folder_config(draw_cases(root / "photos", splits))
    builder = Builder(config=photos, data_dir=root / "tfds")
    builder.download_and_prepare()
    return builder


@pytest.fixture
def stand_ins(monkeypatch):
    return StandIns(monkeypatch)


# One run


@pytest.mark.parametrize("kind", ["checkpoint", "SavedModel", "file"])
def test_other_initial_weights_at_the_same_path_are_noticed(tmp_path, kind):
    path = str(tmp_path / "weights")

    def write(value):
        if kind == "file":
            with open(path, "w") as file:
                file.write(str(value))
        elif kind == "SavedModel":
            module = tf.Module()
            module.x = tf.Variable(value)
            tf.saved_model.save(module, path)
        else:
            tf.train.Checkpoint(x=tf.Variable(value)).write(path)
        return runs._weights(path)

    first = write(1.0)
    assert first is not None and write(1.0) == first and write(2.0) != first


def test_a_finished_run_is_taken_from_its_folder(stand_ins, builder, tmp_path):
    def go(config):
        return runs.train_and_evaluate(config, builder, str(tmp_path / "r"), None, {})

    first = go(BASE)
    assert go(BASE) == first
    assert go(BASE.replace(keep_checkpoint_max=1, data_dir="elsewhere", eval_batch_size=9)) == first
    assert go(BASE.replace(features_dir=str(tmp_path / "features"))) == first
    assert (stand_ins.trained, stand_ins.evaluated) == (["r"], [("r", "test")])


@pytest.mark.parametrize("weights", ["kept", "removed"])
def test_a_result_of_an_older_version_stands(stand_ins, builder, tmp_path, weights):
    """Its record lacks fields, has one by its older name, and some that no longer count."""
    folder = tmp_path / "r"
    first = runs.train_and_evaluate(BASE, builder, str(folder), None, {})
    record = json.loads((folder / "experiment.json").read_text())
    made_of = record["evaluations"][""]
    made_of["views"] = made_of.pop("projection")
    del made_of["ordinal"], made_of["class_order"]
    made_of |= {"features_dir": "before", "of_a_field_that_is_gone": 3}
    (folder / "experiment.json").write_text(json.dumps(record))
    if weights == "removed":
        runs.remove_weights(str(folder))
    assert runs.train_and_evaluate(BASE, builder, str(folder), None, {}) == first
    assert (len(stand_ins.trained), len(stand_ins.evaluated)) == (1, 1)
    if weights == "kept":
        made_of["views"] = "frontal"
        (folder / "experiment.json").write_text(json.dumps(record))
        runs.train_and_evaluate(BASE, builder, str(folder), None, {})
        assert (len(stand_ins.trained), len(stand_ins.evaluated)) == (1, 2)


@pytest.mark.parametrize(
    "change",
    [
        {"eval_split": "validation"},
        {"bootstrap_resamples": 200},
        {"eval_steps": 1},
        {"selection_split": "validation"},
        {"subgroups": "none"},
        {"eval_name": "other"},
    ],
)
def test_another_question_is_evaluated_without_training(stand_ins, builder, tmp_path, change):
    for config in (BASE, BASE.replace(**change), BASE.replace(**change)):
        runs.train_and_evaluate(config, builder, str(tmp_path / "r"), None, {})
    assert len(stand_ins.trained) == 1 and len(stand_ins.evaluated) == 2


@pytest.mark.parametrize("lost", ["result.json", "predictions.csv"])
def test_a_lost_file_is_made_again(stand_ins, builder, tmp_path, lost):
    for _ in range(2):
        runs.train_and_evaluate(BASE, builder, str(tmp_path / "r"), None, {})
        (tmp_path / "r" / lost).unlink()
    assert len(stand_ins.trained) == 1 and len(stand_ins.evaluated) == 2


def test_a_run_of_another_configuration_is_refused(stand_ins, builder, tmp_path):
    runs.train_and_evaluate(BASE, builder, str(tmp_path / "r"), None, {})
    with pytest.raises(UserError, match="learning_rate was 0.1, now 0.3"):
        runs.train_and_evaluate(
            BASE.replace(learning_rate=0.3), builder, str(tmp_path / "r"), None, {}
        )


def test_a_run_from_weights_that_changed_since_is_refused(stand_ins, builder, tmp_path):
    start = str(tmp_path / "start")
    runs.train_and_evaluate(BASE, builder, start, None, {})
    config = BASE.replace(checkpoint=start)
    runs.train_and_evaluate(config, builder, str(tmp_path / "r"), None, {})
    weights = toy_weights(7.0)
    tf.train.CheckpointManager(weights, start, 5).save(2)
    with pytest.raises(UserError, match="began with other weights than --checkpoint="):
        runs.train_and_evaluate(config, builder, str(tmp_path / "r"), None, {})
    for file in tmp_path.glob("start/ckpt*"):
        file.unlink()
    runs.train_and_evaluate(config, builder, str(tmp_path / "r"), None, {})  # removed: no objection
    assert stand_ins.trained == ["start", "r"]


def test_progress_says_the_time_that_is_left():
    assert runs.progress(1, 27, None) == "run 1 of 27"
    assert runs.progress(3, 27, 3750.4) == "run 3 of 27, ETA 1:02:30"


def test_eta_takes_longer_runs_to_take_longer(stand_ins, builder, tmp_path, capsys):
    lengths = {"long": 20, "short": 5, "shorter": 1}
    configs = {name: BASE.replace(train_steps=steps) for name, steps in lengths.items()}
    seconds = iter([0.0, 40.0, 40.0, 60.0, 60.0, 61.0])
    for _ in runs.run_all(configs, builder, str(tmp_path), None, {}, clock=lambda: next(seconds)):
        pass
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run ")]
    assert lines == [
        "run 1 of 3: long",
        "run 2 of 3, ETA 0:00:12: short",  # 40 s for 20 steps: 6 are left
        "run 3 of 3, ETA 0:00:02: shorter",  # 60 s for 25: 1 is left
    ]


def test_eta_leaves_out_what_was_finished_before(stand_ins, builder, tmp_path, capsys):
    configs = repeats.make_configs(BASE, 3)
    list(runs.run_all(dict(list(configs.items())[:1]), builder, str(tmp_path), None, {}))
    seconds = iter([0.0, 10.0, 17.0, 20.0, 30.0])
    for _ in runs.run_all(configs, builder, str(tmp_path), None, {}, clock=lambda: next(seconds)):
        pass
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("run ")][1:]
    assert lines == [
        "run 1 of 3: seed_0 is done",
        "run 2 of 3: seed_1",
        "run 3 of 3, ETA 0:00:07: seed_2",
    ]


# Repeats


def test_repeats_have_numpy_mean_and_sample_deviation(stand_ins, builder, tmp_path):
    values = {3: 0.61, 4: 0.7, 5: 0.64}
    stand_ins.score = lambda config: values[config.run.seed]
    repeats.run(BASE.replace(seed=3, repeats=3), builder, str(tmp_path), None, {})
    saved = json.loads((tmp_path / "repeats.json").read_text())
    row = next(row for row in saved["rows"] if row["metric"] == "macro_auc")
    assert saved["seeds"] == [3, 4, 5] and row["values"] == [0.61, 0.7, 0.64]
    assert row["mean"] == pytest.approx(np.mean([0.61, 0.7, 0.64]))
    assert row["sd"] == pytest.approx(np.std([0.61, 0.7, 0.64], ddof=1))
    assert sorted(os.listdir(tmp_path))[-3:] == ["seed_3", "seed_4", "seed_5"]


def test_an_undefined_metric_has_no_mean(stand_ins, builder, tmp_path):
    stand_ins.score = lambda config: float("nan")
    result = repeats.run(BASE.replace(repeats=2), builder, str(tmp_path), None, {})
    row = next(row for row in result["rows"] if row["metric"] == "macro_auc")
    assert (row["values"], row["mean"], row["sd"]) == ([None, None], None, None)


# Sweep


def prefers(rate_on_validation, rate_on_test):
    """Returns a score that is best for one learning rate on validation, for another on test."""

    def score(config):
        best = {"validation": rate_on_validation, "test": rate_on_test}[config.data.eval_split]
        return 0.9 if config.optim.learning_rate == best else 0.6 + config.optim.weight_decay

    return score


def test_the_best_is_chosen_on_the_selection_split_and_it_alone_is_tested(
    stand_ins, builder, tmp_path
):
    stand_ins.score = prefers(0.01, 0.1)
    best = sweep.run(SWEEP, builder, str(tmp_path), None, {})
    assert (best["learning_rate"], best["weight_decay"]) == (0.01, 0.0)  # the first of equals
    of_test = [run for run, split in stand_ins.evaluated if split == "test"]
    assert of_test == ["lr_0.01_wd_0"]
    assert stand_ins.evaluated[-1] == ("lr_0.01_wd_0", "test")
    assert (tmp_path / "predictions.csv").read_text() == "test\n"
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["eval_split"] == "test"
    assert result["files"]["predictions"] == str(tmp_path / "predictions.csv")
    saved = json.loads((tmp_path / "best.json").read_text())
    assert saved["run"] == "lr_0.01_wd_0" and saved["macro_auc"] == 0.9
    assert saved["looked_at_before"] == []
    with open(tmp_path / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["run"] for row in rows] == [
        "lr_0.01_wd_0",
        "lr_0.01_wd_0.001",
        "lr_0.1_wd_0",
        "lr_0.1_wd_0.001",
    ]
    assert [float(row["macro_auc"]) for row in rows] == [0.9, 0.9, 0.6, 0.601]
    assert "0.01 (best)" in (tmp_path / "sweep.md").read_text()
    assert Image.open(tmp_path / "sweep.png").size[0] > 200


def test_a_sweep_of_steps_tests_the_best_number_of_them(stand_ins, builder, tmp_path):
    stand_ins.score = lambda config: 0.9 if config.train.train_steps == 4 else 0.6
    config = SWEEP.replace(sweep_train_steps="2,4,8", sweep_learning_rates="0.1")
    best = sweep.run(config, builder, str(tmp_path), None, {})
    assert (best["run"], best["train_steps"]) == ("lr_0.1_wd_0_steps_4", 4)
    assert stand_ins.evaluated[-1] == ("lr_0.1_wd_0_steps_4", "test")
    with open(tmp_path / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["train_steps"] for row in rows] == ["2", "2", "4", "4", "8", "8"]
    assert "| learning rate | weight decay | train steps |" in (tmp_path / "sweep.md").read_text()
    saved = json.loads((tmp_path / best["run"] / "config.json").read_text())
    assert saved["train_steps"] == 4


def test_any_flags_of_a_pretraining_are_swept(stand_ins, builder, tmp_path):
    pretrain = SWEEP.replace(
        **{"train_mode": "pretrain", "sweep_learning_rates": "0.1", "sweep_weight_decays": "0"},
        sweep_flags="temperature=0.1,0.5 train_batch_size=2,4 use_blur=true",
    )
    stand_ins.score = lambda config: (
        0.5 + config.to_dict()["temperature"] / 4 + (config.train.train_batch_size == 2) / 10
    )
    best = sweep.run(pretrain, builder, str(tmp_path), None, {})
    name = "lr_0.1_wd_0_temperature_0.5_train_batch_size_2_use_blur_True"
    assert best["run"] == name and len(stand_ins.trained) == 4
    assert (best["temperature"], best["train_batch_size"], best["use_blur"]) == (0.5, 2, True)
    assert stand_ins.evaluated[-1] == (name, "test")
    with open(tmp_path / "sweep.csv") as file:
        rows = list(csv.DictReader(file))
    assert [(row["temperature"], row["train_batch_size"]) for row in rows] == [
        *(("0.1", "2"), ("0.1", "4")),
        *(("0.5", "2"), ("0.5", "4")),
    ]


def test_pretrainings_are_judged_by_the_fine_tuning_of_a_recipe(stand_ins, builder, tmp_path):
    """The probe prefers the low temperature, fine-tuning the high one; another point diverges there."""

    def score(config):
        if config.run.train_mode == "pretrain":
            return 1 - config.to_dict()["temperature"]
        return 0.9 if "temperature_0.5" in config.run.checkpoint else 0.6

    def before(config):
        if config.run.train_mode == "finetune" and "temperature_0.7" in config.run.checkpoint:
            raise Diverged("The loss became NaN.")

    stand_ins.score, stand_ins.before = score, before
    pretrain = SWEEP.replace(
        **{"train_mode": "pretrain", "sweep_learning_rates": "0.1", "sweep_weight_decays": "0"},
        sweep_flags="temperature=0.1,0.5,0.7",
    )
    judge = sweep.Judge(SWEEP.replace(train_steps=3), builder)
    best = sweep.run(pretrain, builder, str(tmp_path), None, {}, judge)
    name = "lr_0.1_wd_0_temperature_0.5"
    assert best["run"] == name and best["failed"] == ["lr_0.1_wd_0_temperature_0.7"]
    of_test = [run for run, split in stand_ins.evaluated if split == "test"]
    assert of_test == ["finetune"] and best["result"]["macro_auc"] == 0.9
    saved = json.loads((tmp_path / name / "finetune" / "config.json").read_text())
    assert saved["checkpoint"] == str(tmp_path / name) and saved["train_steps"] == 3
    trained = len(stand_ins.trained)
    sweep.run(pretrain, builder, str(tmp_path), None, {}, judge)
    assert len(stand_ins.trained) == trained


def test_a_judge_has_the_encoder_and_the_machine_of_the_sweep_and_all_else_of_its_recipe():
    sweep_of_paper = ROOT / "flags" / "sweep_cxr_pretraining.flags"
    line = ["run.py", f"--flagfile={sweep_of_paper}", "--resnet_depth=18", "--manual_dir=X"]
    given = flags.parse(line).given
    assert len(sweep.points(flags.config_from(given))) == 18
    judge = recipes.judge_of(given)
    assert (judge.model.resnet_depth, judge.data.manual_dir) == (18, "X")
    assert (judge.run.train_mode, judge.train.train_steps) == ("finetune", 30_000)
    assert judge.augment.color_jitter_strength == 0.5 and judge.optim.learning_rate == 0.01


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("temperature", "'temperature' is not a flag"),
        ("warmth=1,2", "'warmth=1,2' is not a flag"),
        ("temperature=0.1 temperature=0.2", "'temperature' is given twice"),
        ("learning_rate=1", "for learning_rate there is --sweep_learning_rates"),
        ("dataset=a,b", "--dataset is the same for all runs"),
        ("temperature=0", "--temperature=0.0 must be above 0"),
        ("train_batch_size=2.5", "'2.5' is not a value of --train_batch_size"),
        ("use_blur=maybe", "'maybe' is not a value of --use_blur"),
    ],
)
def test_a_mistake_in_the_swept_flags_is_an_error_message(text, words):
    with pytest.raises(UserError, match=f"--sweep_flags={text}: {words}"):
        grids.of_flags(text)


def test_a_finished_sweep_run_again_trains_and_tests_nothing(stand_ins, builder, tmp_path):
    first = sweep.run(SWEEP, builder, str(tmp_path), None, {})
    calls = len(stand_ins.trained), len(stand_ins.evaluated)
    assert sweep.run(SWEEP, builder, str(tmp_path), None, {}) == first
    assert (len(stand_ins.trained), len(stand_ins.evaluated)) == calls == (4, 5)


@pytest.mark.parametrize("error", [Killed(), signals.Interrupted(15)])
def test_a_sweep_stopped_in_the_middle_loses_no_finished_run(stand_ins, builder, tmp_path, error):
    def die_at_third(config):
        if len(stand_ins.trained) == 3:
            raise error

    stand_ins.before = die_at_third
    with pytest.raises(type(error)):
        sweep.run(SWEEP, builder, str(tmp_path), None, {})
    assert len(list(csv.DictReader((tmp_path / "sweep.csv").open()))) == 2
    stand_ins.before = lambda config: None
    sweep.run(SWEEP, builder, str(tmp_path), None, {})
    assert stand_ins.trained == [
        "lr_0.01_wd_0",
        "lr_0.01_wd_0.001",
        "lr_0.1_wd_0",
        "lr_0.1_wd_0",
        "lr_0.1_wd_0.001",
    ]


def test_a_diverged_point_is_noted_and_not_tried_again(stand_ins, builder, tmp_path):
    def diverge(config):
        if config.optim.learning_rate == 0.1:
            raise Diverged("The loss became NaN at step 1; training stopped.")

    stand_ins.before = diverge
    best = sweep.run(SWEEP, builder, str(tmp_path), None, {})
    assert best["failed"] == ["lr_0.1_wd_0", "lr_0.1_wd_0.001"]
    assert "failed: The loss became NaN" in (tmp_path / "sweep.md").read_text()
    sweep.run(SWEEP, builder, str(tmp_path), None, {})
    assert len(stand_ins.trained) == 4
    with pytest.raises(UserError, match="No point of the sweep has a macro_auc"):
        only = SWEEP.replace(sweep_learning_rates="0.1")
        sweep.run(only, builder, str(tmp_path), None, {})


def test_another_mistake_than_divergence_ends_the_sweep(stand_ins, builder, tmp_path):
    def mistake(config):
        raise UserError("--train_batch_size is too large.")

    stand_ins.before = mistake
    with pytest.raises(UserError, match="too large"):
        sweep.run(SWEEP, builder, str(tmp_path), None, {})


def test_a_second_look_at_the_test_split_is_told(stand_ins, builder, tmp_path, capsys):
    stand_ins.score = prefers(0.01, 0.1)
    sweep.run(SWEEP, builder, str(tmp_path), None, {})
    stand_ins.score = lambda config: config.optim.learning_rate
    wider = SWEEP.replace(sweep_learning_rates="0.01,1")
    best = sweep.run(wider, builder, str(tmp_path), None, {})
    assert best["run"] == "lr_1_wd_0" and best["looked_at_before"] == ["lr_0.01_wd_0"]
    assert "another look" in capsys.readouterr().out.replace("\n", " ")


def test_another_selection_metric_uses_the_finished_runs(stand_ins, builder, tmp_path):
    stand_ins.score = prefers(0.01, 0.1)
    sweep.run(SWEEP, builder, str(tmp_path), None, {})
    sweep.run(SWEEP.replace(selection_metric="top_1"), builder, str(tmp_path), None, {})
    assert len(stand_ins.trained) == 4
    # Evaluated again: the best of the kept checkpoints may be another by that metric.
    assert len([1 for _, split in stand_ins.evaluated if split == "validation"]) == 4 + 4
    with pytest.raises(UserError, match="--selection_metric=macro_ap is not measured here"):
        sweep.run(SWEEP.replace(selection_metric="macro_ap"), builder, str(tmp_path), None, {})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "a number is missing"),
        ("0.1,,1", "a number is missing"),
        ("0.1;1", "'0.1;1' is not a number"),
        ("0.1,fast", "'fast' is not a number. Give numbers separated by commas"),
        ("0.1,-1", "--learning_rate=-1.0 must be above 0"),
        ("nan", "--learning_rate=nan must be above 0"),
        ("inf", "--learning_rate=inf must be finite"),
        ("0.1,1e-1", "0.1 is given twice"),
    ],
)
def test_a_mistake_in_a_grid_is_an_error_message(builder, tmp_path, text, sentence):
    with pytest.raises(UserError) as raised:
        sweep.run(SWEEP.replace(sweep_learning_rates=text), builder, str(tmp_path), None, {})
    assert str(raised.value).startswith(f"--sweep_learning_rates={text}: ")
    assert sentence in str(raised.value)


def test_grids_keep_their_order_and_read_the_paper_s_default():
    assert grids.numbers("x", "1, 0.5 ,2", "learning_rate") == [1.0, 0.5, 2.0]
    default = Config().replace(selection_split="validation")
    assert len(sweep.points(default)) == 28


@pytest.mark.parametrize(
    ("selection", "sentence"),
    [
        (None, "--selection_split is missing"),
        ("test", "share 6 patients"),
        ("test[:50%]", "--eval_split=test share 3 patients"),
        ("train[:50%]", "--train_split=train share 6 patients"),
        ("nowhere", "no split 'nowhere'"),
    ],
)
def test_choosing_on_what_is_trained_on_or_reported_is_refused(builder, selection, sentence):
    with pytest.raises(UserError, match=sentence.replace("[", r"\[")):
        splits.check_selection(BASE.replace(selection_split=selection), builder)


# Label efficiency


def test_label_efficiency_has_a_row_for_each_fraction(stand_ins, builder, tmp_path):
    stand_ins.score = lambda config: config.data.label_fraction / 2 + config.run.seed / 10
    config = BASE.replace(repeats=3, label_fractions="1,0.5")
    curve = label_efficiency.run(config, builder, str(tmp_path), None, {})
    assert len(stand_ins.trained) == 6
    assert (tmp_path / "fraction_0.5" / "seed_2" / "result.json").exists()
    assert [row["fraction"] for row in curve["rows"]] == [0.5, 1.0]
    assert curve["rows"][0]["macro_auc"]["values"] == pytest.approx([0.25, 0.35, 0.45])
    assert curve["rows"][1]["macro_auc"]["mean"] == pytest.approx(0.6)
    assert curve["rows"][1]["macro_auc"]["sd"] == pytest.approx(0.1)
    page = (tmp_path / "label_efficiency.md").read_text()
    assert "steps are fixed" in page and "| 50 % | 0.175 ± 0.050 | 0.350 ± 0.100 |" in page
    assert json.loads((tmp_path / "label_efficiency.json").read_text()) == curve
    assert len((tmp_path / "label_efficiency.csv").read_text().splitlines()) == 1 + 2 * 2
    assert (tmp_path / "label_efficiency.png").exists()
    shown = json.loads((tmp_path / "report.html").read_text())  # what the report was given to draw
    assert [p["label_fraction"] for p in shown] == [0.5, 1.0]
    assert [p["macro_auc"] for p in shown] == pytest.approx([0.35, 0.6])
    assert [p["macro_auc_std"] for p in shown] == pytest.approx([0.1, 0.1])
    assert "epochs are fixed" in label_efficiency.what_is_fixed(BASE.replace(train_steps=0))


def test_label_efficiency_of_pretraining_is_refused(builder, tmp_path):
    with pytest.raises(UserError, match="add --train_mode=finetune"):
        config = BASE.replace(train_mode="pretrain")
        label_efficiency.run(config, builder, str(tmp_path), None, {})


# The command


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["--mode=sweep"], "sweep"),
        (["--mode=label_efficiency"], "label_efficiency"),
        (["--mode=train_then_eval", "--repeats=2"], "repeats"),
        ([f"--flagfile={ROOT / 'flags' / 'study_demo.flags'}"], "study"),
    ],
)
def test_the_command_starts_the_experiment(monkeypatch, capsys, arguments, called):
    calls = []
    modules = {"sweep": sweep, "repeats": repeats, "study": study}
    for name, module in {**modules, "label_efficiency": label_efficiency}.items():

        def note(*args, name=name, judge=None):
            calls.append((name, args[-3]))
            raise signals.Interrupted(15)

        monkeypatch.setattr(module, "run", note)
    prepared = types.SimpleNamespace(info=types.SimpleNamespace(full_name="d"))
    monkeypatch.setattr(dataset, "prepare", lambda config: prepared)
    monkeypatch.setattr(build, "set_up", lambda config: None)
    monkeypatch.setattr(runs.evaluate, "check_splits", lambda config, builder: None)
    data = [] if called == "study" else ["--dataset=derm_bags/demo"]
    assert main(["run.py", *arguments, *data]) == 128 + 15
    ((name, model_dir),) = calls
    assert name == called and called in model_dir
    assert f"The same command goes on from {model_dir}" in capsys.readouterr().out


# Real runs


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_sweep_that_is_killed_loses_no_finished_run(builder, tmp_path):
    model_dir = tmp_path / "sweep"
    photos, data = builder.builder_config.manifest.folder, builder._data_dir_root
    command = [ROOT / "tests" / "helpers" / "sweep_worker.py", photos, data, model_dir]
    environment = processes.environments(1)[0]
    process = processes.start(command, environment, tmp_path / "log1", tmp_path)
    while len(list(model_dir.glob("lr_*"))) < 2 and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    first = model_dir / "lr_0.01_wd_0"
    times = {path: path.stat().st_mtime_ns for path in first.glob("*.csv")}
    times |= {path: path.stat().st_mtime_ns for path in first.glob("ckpt-*")}
    assert times and not (model_dir / "result.json").exists()
    again = processes.start(command, environment, tmp_path / "log2", tmp_path)
    outcome = again.wait(900), (tmp_path / "log2").read_text()
    assert outcome[0] == 0, outcome[1]
    assert "run 1 of 2: lr_0.01_wd_0 is done" in outcome[1]
    assert json.loads((model_dir / "result.json").read_text())["eval_split"] == "test"
    best = json.loads((model_dir / "best.json").read_text())["run"]
    untouched = {p: t for p, t in times.items() if best not in str(p) or "test" not in p.name}
    assert all(path.stat().st_mtime_ns == t for path, t in untouched.items())
