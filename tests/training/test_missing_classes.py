"""Classes and labels without a training, or selection, case: named as training starts, and left out."""

import json
import os

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from helpers import tiny_runs
from helpers.folders import draw_cases
from simclr_med import build
from simclr_med.checkpoints.restore import restore
from simclr_med.data.cases import read_cases
from simclr_med.data.label_fraction import without_cases
from simclr_med.errors import UserError
from simclr_med.evaluation import selection
from simclr_med.evaluation.features import case_features, case_probabilities
from simclr_med.training import train
from tfds_builders.derm_bags import Builder, folder_config

CONFIG = tiny_runs.FINETUNE.replace(
    train_batch_size=4, learning_rate=0.3, selection_split="validation", eval_batch_size=16
)
# Nobody trains on "new", and nobody chooses by "old".
TRAIN, CHOSEN_ON = ["a", "b", "old"] * 2, ["a", "b", "new"] * 3


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    root = tmp_path_factory.mktemp("missing")
    splits = {"train": len(TRAIN), "validation": len(CHOSEN_ON)}
    photos = draw_cases(root / "photos", splits, classes=TRAIN + CHOSEN_ON)
    prepared = Builder(config=folder_config(photos), data_dir=root / "tfds")
    prepared.download_and_prepare()
    return prepared


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (np.array([0, 2, -1, 0]), ["b"]),
        (np.array([0, 1, 2]), []),
        (np.array([[1, np.nan, 0], [0, 1, 0]]), ["b", "c"]),  # all have b, none has c
        (np.array([[1, np.nan, 0], [0, np.nan, 1]]), ["b"]),
    ],
)
def test_they_are_found_as_by_eye(labels, expected):
    assert without_cases(labels, "abc") == expected


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.usefixtures("one_block")
def test_they_are_named_recorded_and_left_out_of_the_choice(builder, strategy, tmp_path, capsys):
    run = str(tmp_path / "run")
    train.train(CONFIG, builder, run, strategy, {})
    output = capsys.readouterr().out
    assert "Note: no training case, in split 'train', of class new: it cannot be learnt." in output
    assert "Note: no selection case, in split 'validation', of class old: it takes no" in output
    with open(os.path.join(run, "data.json")) as file:
        facts = json.load(file)
    assert facts["classes_without_training_cases"] == ["new"]
    assert facts["classes_without_selection_cases"] == ["old"]
    chosen = selection.select(CONFIG, builder, run, strategy, True, to_choose=True)
    bags = build.open_bags(CONFIG, builder, "validation")
    cases, names = read_cases(bags, 0), bags.class_names
    model = build.make_model(CONFIG, len(names))
    for step, value in chosen["value_of_step"].items():
        restore(model, os.path.join(run, f"ckpt-{step}"))
        features = case_features(CONFIG, strategy, {"m": model}, bags)["m"]
        scores = case_probabilities(model, features, False)
        aucs = {
            n: roc_auc_score(cases.labels == names.index(n), scores[:, names.index(n)])
            for n in ("a", "b", "new")
        }
        assert value == pytest.approx((aucs["a"] + aucs["b"]) / 2)
        assert value != pytest.approx(np.mean(list(aucs.values())))


@pytest.mark.usefixtures("one_block")
def test_cases_that_are_all_alike_are_refused(builder, strategy, tmp_path, monkeypatch):
    """Before anything is written."""
    monkeypatch.setattr(
        "simclr_med.build.label_fraction.chosen_cases",
        lambda cases, fraction, seed: cases.labels == cases.labels[0],
    )
    with pytest.raises(UserError, match="all 2 labelled cases are of one class, 'a'"):
        train.train(CONFIG, builder, str(tmp_path / "run"), strategy, {})
    assert not os.path.exists(tmp_path / "run")


@pytest.mark.usefixtures("one_block")
def test_one_image_alone_has_no_negatives(builder, strategy, tmp_path):
    config = tiny_runs.BASE.replace(train_batch_size=1)
    with pytest.raises(UserError, match="--train_batch_size=1: a view's negatives"):
        train.train(config, builder, str(tmp_path / "run"), strategy, {})
