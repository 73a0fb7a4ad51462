"""Fine-tuned runs, end to end in process: what validation chooses, and what other data is scored by.

The loop, the evaluation and the files are the real ones; only the encoder is tiny (one block).
"""

import contextlib
import functools
import io
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.metrics import roc_auc_score

from helpers import encoders, tiny_runs
from helpers.folders import draw_cases
from simclr_med import build, checkpoints, metrics
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.restore import restore
from simclr_med.data.cases import read_cases
from simclr_med.errors import CheckpointGone, UserError
from simclr_med.evaluation import evaluate, measure, selection
from simclr_med.evaluation.features import case_features, case_probabilities
from simclr_med.metrics import intervals, operating_points, temperature
from simclr_med.training import train
from tfds_builders.derm_bags import Builder, folder_config

CONFIG = tiny_runs.FINETUNE.replace(
    learning_rate=0.3,
    train_batch_size=8,
    train_steps=3,
    eval_batch_size=64,
    eval_split="test",
    selection_split="validation",
    bootstrap_resamples=100,
    min_subgroup=1,
)
NAMES = ("blue", "green", "red")


def prepared(folder, classes, seed, splits=("train", "validation", "test")):
    """Draws 6 cases of each class and split, 1 to 3 images each; returns the prepared builder.

    The cases of the second split are labelled wrongly: the more is learned, the worse on validation.
    """
    n = len(classes)
    photos = draw_cases(
        folder / "photos",
        {split: 6 * n for split in splits},
        classes=[classes[(k + (k // (6 * n) == 1)) % n] for k in range(6 * n * len(splits))],
        images=lambda case: 1 + case // n % 3,
        seed=seed,
        columns={"sex": lambda case: ("male", "female")[case // n % 2]},
    )
    builder = Builder(config=folder_config(photos), data_dir=folder / "tfds")
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def short_encoders():
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch, resnet34=(2,))
        yield


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    return prepared(tmp_path_factory.mktemp("inside"), NAMES, seed=0)


@pytest.fixture(scope="module")
def tuned(tmp_path_factory, builder, strategy, short_encoders):
    """A run that was fine-tuned and evaluated."""
    folder = str(tmp_path_factory.mktemp("runs") / "tuned")
    train.train(CONFIG, builder, folder, strategy, {})
    evaluate.evaluate(CONFIG, builder, folder, strategy, pictures=False)
    return folder


@pytest.fixture(scope="module")
def symmetric(tmp_path_factory, builder, strategy, short_encoders):
    """A run of one step on few labels, with an explicit input range: (its folder, what it printed)."""
    folder = str(tmp_path_factory.mktemp("runs") / "symmetric")
    config = CONFIG.replace(train_steps=1, input_range="symmetric", label_fraction=0.25)
    with contextlib.redirect_stdout(io.StringIO()) as output:
        train.train(config, builder, folder, strategy, {})
    return folder, output.getvalue()


def read(folder, name):
    with open(os.path.join(folder, name)) as file:
        return json.load(file)


def test_the_checkpoint_is_the_best_on_the_selection_split(tuned, builder, strategy):
    chosen = read(tuned, "selection.json")
    model = build.make_model(CONFIG, 3)
    bags = build.open_bags(CONFIG, builder, "validation")
    values = {}
    for step in (1, 2, 3):
        tf.train.Checkpoint(model=model).restore(f"{tuned}/ckpt-{step}").expect_partial()
        features = case_features(CONFIG, strategy, {"m": model}, bags)["m"]
        scores = case_probabilities(model, features, multilabel=False)
        values[step] = metrics.macro_roc_auc(read_cases(bags, 0).labels, scores)
    best = max(values, key=values.get)
    assert best != 3  # nor is it the last, which is what counts without a choice
    assert chosen["value_of_step"] == {str(k): pytest.approx(v) for k, v in values.items()}
    assert chosen["checkpoint"] == f"ckpt-{best}"
    assert read(tuned, "result.json")["global_step"] == best


def test_the_table_can_be_checked_from_predictions_csv(tuned):
    table = pd.read_csv(os.path.join(tuned, "predictions.csv"))
    row = read(tuned, "result.json")["classification"]["supervised head"]["trained"]
    scores = table[list(NAMES)].to_numpy()
    np.testing.assert_allclose(scores.sum(1), 1, rtol=1e-6)
    assert row["top_1"] == pytest.approx((table["truth"] == table["prediction"]).mean())
    aucs = [roc_auc_score(table["truth"] == name, table[name]) for name in NAMES]
    assert row["macro_auc"] == pytest.approx(np.mean(aucs))
    women = table["metadata: sex"] == "female"
    (group,) = [g for g in read(tuned, "result.json")["subgroups"] if g["value"] == "female"]
    assert group["cases"] == women.sum() == 9
    right = (table["truth"] == table["prediction"])[women].mean()
    assert group["top_1"] == pytest.approx(right)


def test_the_head_sees_the_mean_feature_whatever_the_batch(tuned, builder, strategy):
    """The last batch is padded, and a case's images may be in two batches."""
    config = CONFIG.replace(eval_batch_size=5, eval_name="by5", subgroups="none")
    evaluate.evaluate(config, builder, tuned, strategy, pictures=False)
    by_64, by_5 = (pd.read_csv(f"{tuned}/predictions{which}.csv") for which in ("", "_by5"))
    for name in NAMES:
        np.testing.assert_allclose(by_5[name], by_64[name], rtol=1e-4)


def test_temperature_and_operating_points_are_those_of_the_selection_split(
    tuned, builder, strategy, tmp_path, monkeypatch, capsys
):
    """Chosen there, measured on the evaluated cases; each number again from the scores themselves."""
    monkeypatch.setattr(intervals, "FEWEST", 3)
    monkeypatch.setattr(temperature, "FEWEST", 5)
    run = shutil.copytree(tuned, tmp_path / "run")
    os.remove(run / "selection.json")
    config = CONFIG.replace(positive_class="green")
    result = evaluate.evaluate(config, builder, str(run), strategy, pictures=False)
    chosen = read(run, "selection.json")
    model = build.make_model(CONFIG, 3)
    restore(model, str(run / chosen["checkpoint"]))
    bags = build.open_bags(CONFIG, builder, "validation")
    cases = read_cases(bags, 0)
    features = case_features(CONFIG, strategy, {"": model}, bags)[""]
    scores = case_probabilities(model, features, False)
    assert chosen["temperature"] == pytest.approx(temperature.fit(cases.labels, scores), rel=1e-4)
    points = operating_points.choose(cases.labels, scores)[1]
    for point, stored in zip(points, chosen["operating_points"]["green"]):
        assert stored["threshold"] == pytest.approx(point.threshold, rel=1e-5)
    table = pd.read_csv(run / "predictions.csv")
    row = result["operating_points"][1]
    assert (row["class"], row["chosen_for"]) == (
        "green",
        "95% specificity",
    )  # that class comes first
    positive = table["truth"] == "green"
    yes = table["green"] >= row["threshold"]
    assert row["sensitivity"] == pytest.approx(yes[positive].mean())
    assert row["specificity"] == pytest.approx((~yes)[~positive].mean())
    of_table = pd.read_csv(run / "operating_points.csv")
    assert len(of_table) == 12 and list(of_table["class"][:4]) == ["green"] * 4
    truth = np.array([NAMES.index(name) for name in table["truth"]])
    after = temperature.scaled(table[list(NAMES)].to_numpy(), chosen["temperature"], False)
    nll = temperature.negative_log_likelihood(truth, after)
    assert result["calibration"]["nll_scaled"] == pytest.approx(nll, rel=1e-4)
    printed = capsys.readouterr().out
    assert "Operating points of green: thresholds chosen on validation" in printed
    assert "at temperature" in printed


def test_a_positive_class_that_there_is_not_is_refused(tuned, builder, strategy):
    config = CONFIG.replace(positive_class="mole")
    for check in (
        lambda: evaluate.check_splits(config, builder),
        lambda: evaluate.evaluate(config, builder, tuned, strategy, pictures=False),
    ):
        with pytest.raises(UserError, match="--positive_class=mole is none of the classes blue, "):
            check()


def test_other_data_is_scored_by_the_frozen_choice_and_the_drop_is_shown(
    tuned, strategy, tmp_path, capsys
):
    outside = prepared(tmp_path, ("green", "red"), seed=1, splits=("train", "test"))
    before = read(tuned, "selection.json")
    with pytest.raises(UserError, match="Give --eval_name=NAME"):  # would overwrite its own result
        evaluate.evaluate(CONFIG, outside, tuned, strategy)
    config = CONFIG.replace(eval_name="outside")
    result = evaluate.evaluate(config, outside, tuned, strategy)
    assert read(tuned, "selection.json") == before
    with open(os.path.join(tuned, "report_outside.html")) as file:
        assert "On other data" in file.read()
    assert result["global_step"] == int(before["checkpoint"].rsplit("-", 1)[1])
    assert result["shift"]["inside"]["split"] == "test"
    table = pd.read_csv(os.path.join(tuned, "predictions_outside.csv"))
    inside = pd.read_csv(os.path.join(tuned, "predictions.csv"))
    shown = result["shift"]["metrics"]["top_1"]
    accuracy = [(t["truth"] == t["prediction"]).mean() for t in (inside, table)]
    assert (shown["inside"], shown["outside"]) == pytest.approx(accuracy)
    assert shown["drop"] == pytest.approx(accuracy[0] - accuracy[1])
    aucs = [roc_auc_score(t["truth"] == "red", t["red"]) for t in (inside, table)]
    per_class = result["classification"]["supervised head"]["trained"]["per_class"]
    assert per_class["red"]["auc"] == pytest.approx(aucs[1])
    assert per_class["blue"]["positives"] == 0 and np.isnan(per_class["blue"]["auc"])
    assert "drop" in capsys.readouterr().out


def test_a_class_unknown_to_the_head_is_refused(tuned, strategy, tmp_path):
    outside = prepared(tmp_path, ("red", "violet"), seed=2, splits=("train", "test"))
    with pytest.raises(UserError, match="blue, green, red; the data has red, violet, so violet"):
        evaluate.evaluate(CONFIG, outside, tuned, strategy)


@pytest.mark.parametrize("split", ["test", "test[:50%]", "train[50%:]"])
def test_no_patient_both_chooses_and_trains_or_is_reported(builder, split):
    with pytest.raises(UserError, match="Choose on patients that are neither"):
        evaluate.check_splits(CONFIG.replace(selection_split=split), builder)


def test_a_metric_or_column_that_is_not_there_is_found_before_training(builder):
    with pytest.raises(UserError, match="no metadata column 'agee'; there are: sex"):
        evaluate.check_splits(CONFIG.replace(subgroups="agee"), builder)
    evaluate.check_splits(CONFIG, builder)


def test_other_data_waits_for_the_run_s_own_choice(tuned, strategy, tmp_path):
    copy = tmp_path / "moved"
    shutil.copytree(tuned, copy)
    outside = prepared(tmp_path / "out", ("blue", "red"), seed=3, splits=("train", "test"))
    config = CONFIG.replace(eval_name="outside", subgroups="none")
    chosen = evaluate.evaluate(config, outside, str(copy), strategy, pictures=False)
    assert chosen["global_step"] == read(tuned, "result.json")["global_step"]  # a moved run too
    (copy / "selection.json").unlink()
    with pytest.raises(UserError, match="Evaluate it on that first"):
        evaluate.evaluate(config, outside, str(copy), strategy, pictures=False)


def test_without_a_selection_split_the_last_checkpoint_counts(tuned, builder, strategy):
    config = CONFIG.replace(selection_split=None)
    chosen = selection.select(config, builder, tuned, strategy, is_trained_dataset=True)
    assert chosen["checkpoint"].endswith("ckpt-3") and chosen["thresholds"] is None


def test_a_damaged_checkpoint_is_no_candidate(tuned, builder, strategy, tmp_path, capsys):
    run = str(shutil.copytree(tuned, tmp_path / "run"))
    chosen = read(run, "selection.json")
    damaged = chosen["checkpoint"]
    with open(f"{run}/{damaged}.index", "wb") as file:
        file.write(b"half")
    evaluate.evaluate(CONFIG, builder, run, strategy, pictures=False)
    result = read(run, "result.json")
    values = {s: v for s, v in chosen["value_of_step"].items() if f"ckpt-{s}" != damaged}
    assert len(values) == 2 and result["selection"]["value_of_step"] == values
    assert values[str(result["global_step"])] == max(values.values())
    assert f"{damaged} is damaged (" in capsys.readouterr().out


@pytest.mark.parametrize("when", ["chosen from", pytest.param("chosen", marks=pytest.mark.slow)])
def test_a_checkpoint_that_the_run_removes_does_not_end_an_evaluation_that_follows(
    tuned, builder, strategy, tmp_path, monkeypatch, when
):
    """While others are probed; or the best itself, after all were: then it is chosen once more."""
    run = str(shutil.copytree(tuned, tmp_path / "run"))
    gone = read(run, "selection.json")["checkpoint"]
    os.remove(f"{run}/selection.json")
    still = iter([True, True, False])
    monkeypatch.setattr(evaluate.run_folder, "is_training", lambda _: next(still))
    monkeypatch.setattr(evaluate, "_POLL_SECONDS", 0)
    function, chosen = {"chosen from": "read_cases", "chosen": "_choose"}[when], []
    original = getattr(selection, function)

    def then_removed(*args):
        chosen.append(original(*args))
        checkpoint_files.remove(f"{run}/{gone}")
        return chosen[-1]

    monkeypatch.setattr(selection, function, then_removed)
    with monkeypatch.context() as patch:
        patch.setattr(evaluate, "evaluate", functools.partial(evaluate.evaluate, pictures=False))
        evaluate.follow(CONFIG, builder, run, strategy)
    result = read(run, "result.json")
    values = result["selection"]["value_of_step"]
    assert len(values) == 2 and f"ckpt-{result['global_step']}" != gone
    assert values[str(result["global_step"])] == max(values.values())


def test_a_checkpoint_removed_between_two_looks_is_not_called_damaged(tuned, monkeypatch):
    monkeypatch.setattr(checkpoint_files, "find_damage", lambda prefix: None)
    with pytest.raises(CheckpointGone, match="ckpt-9 was removed while it was looked at"):
        restore(build.make_model(CONFIG, 3), f"{tuned}/ckpt-9")


@pytest.mark.slow
def test_fewer_labels_train_on_fewer_cases(symmetric):
    output = symmetric[1]
    assert "Labels of 6 of 18 labelled cases" in output and "finetune: 6 bags" in output


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"resnet_depth": 34}, ["variables missing", "encoder/groups/0/1/"]),
        ({"width_multiplier": 2}, ["another shape", "encoder/stem/", "[7, 7, 3, 64]", "128]"]),
        ({"se_ratio": 0.25}, ["variables missing", "/se/"]),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_by_what_differs(tuned, change, words):
    model = build.make_model(CONFIG.replace(**change), 3)
    before = [v.numpy() for v in model.variables]
    with pytest.raises(UserError) as error:
        checkpoints.load(model, tuned)
    assert all(word in str(error.value) for word in words), error.value
    assert all((a == b.numpy()).all() for a, b in zip(before, model.variables))  # all or nothing


def test_a_deeper_checkpoint_is_refused_too(short_encoders, tmp_path):
    """All that the model needs is there, and yet it is another encoder."""
    (tmp_path / "deep").mkdir()
    tiny_runs.untrained(CONFIG.replace(resnet_depth=34), tmp_path / "deep")
    with pytest.raises(UserError, match="variables more, as encoder/groups/0/1/"):
        checkpoints.load(build.make_model(CONFIG, 3), str(tmp_path / "deep"))


@pytest.mark.slow
def test_refused_weights_leave_no_run_and_accepted_ones_bring_their_input_range(
    tuned, symmetric, builder, strategy, tmp_path
):
    """The error names the flags that fit; with them the same folder must do.

    The range was explicit once; a later run takes it from the weights it starts from, writes it down,
    and is evaluated with it.
    """
    folder = str(tmp_path / "run")
    wrong = CONFIG.replace(se_ratio=0.25, checkpoint=symmetric[0], train_steps=1)
    with pytest.raises(UserError, match="encoder is not the one"):
        train.train(wrong, builder, folder, strategy, {})
    config = wrong.replace(se_ratio=0.0)
    train.train(config, builder, folder, strategy, {})
    assert read(folder, "config.json")["se_ratio"] == 0.0
    assert read(folder, "config.json")["input_range"] == "symmetric"
    assert read(tuned, "config.json")["input_range"] == "unit"
    models = []
    with pytest.MonkeyPatch.context() as patch:
        make = build.make_model
        patch.setattr(measure, "make_model", lambda *a: models.append(make(*a)) or models[-1])
        evaluate.evaluate(config, builder, folder, strategy, pictures=False)
    assert [model.encoder.input_range for model in models] == ["symmetric"]


def test_the_head_of_a_checkpoint_is_not_taken_over(tuned):
    """It has seen all labels; a fine-tuning on a tenth of them must not."""
    model = build.make_model(CONFIG.replace(seed=5), 3)
    before = [v.numpy() for v in model.supervised_head.variables]
    table = checkpoints.load(model, tuned)
    count = len(model.encoder.variables)
    assert f"encoder {count}/{count}" in table
    assert all((a == b.numpy()).all() for a, b in zip(before, model.supervised_head.variables))
    saved = tf.train.load_checkpoint(tuned)
    key = "model/encoder/stem/body/0/conv2d/kernel/.ATTRIBUTES/VARIABLE_VALUE"
    kernel = model.encoder.stem.body[0].conv2d.kernel
    np.testing.assert_array_equal(kernel, saved.get_tensor(key))
