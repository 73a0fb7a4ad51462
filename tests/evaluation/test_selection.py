"""A choice of the checkpoint is kept as long as all that shaped it is the same, and no longer."""

import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny_runs
from simclr_med import build
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.errors import UserError
from simclr_med.evaluation import selection
from simclr_med.export import source

CONFIG = tiny_runs.FINETUNE.replace(selection_split="validation", eval_split="train[:0]")


@pytest.fixture
def chosen(tiny_tuned, tiny_data, strategy, tmp_path, monkeypatch, one_block):
    """A function that selects and says whether it chose, and the run's folder; the choice is quick."""
    run = str(shutil.copytree(tiny_tuned, tmp_path / "run"))
    calls = []

    def choose(config, bags, strategy, model_dir, candidates):
        calls.append(candidates)
        return {"checkpoint": candidates[0], "thresholds": None, "value_of_step": {}}

    monkeypatch.setattr(selection, "_choose", choose)
    monkeypatch.setattr(selection.splits, "check_selection", lambda *args, **how: None)

    def select(config=CONFIG, builder=tiny_data, own=True):
        calls.clear()
        return selection.select(config, builder, run, strategy, own), bool(calls)

    select.run = run
    assert select()[1]
    return select


def test_a_choice_is_made_once(chosen):
    assert not chosen()[1]
    saved = json.load(open(f"{chosen.run}/selection.json"))  # noqa: SIM115
    assert saved["candidates"] == ["ckpt-1", "ckpt-2"] == list(saved["checkpoints"])
    assert saved["made_of"]["max_bag_size"] == 6


@pytest.mark.parametrize(
    "change",
    [
        {"selection_split": "train[:2]"},
        {"selection_metric": "top_1"},
        {"label_set": "chexpert5"},
        {"uncertain_policy": "ones"},
        {"blank_policy": "ignore"},
        {"projection": "frontal"},
        {"bag_by": "patient"},
        {"max_bag_size": 2},
        {"image_size": 40},
        {"input_range": "symmetric"},
        {"ft_proj_selector": 1},
        {"train_split": "train[:4]"},
        {"mixed_precision": True},
        {"seed": 5},
    ],
)
def test_another_question_is_chosen_again_and_that_is_printed(chosen, capsys, monkeypatch, change):
    monkeypatch.setattr(selection, "open_bags", lambda *args: None)
    assert chosen(CONFIG.replace(**change))[1]
    assert f"--{next(iter(change))}" in capsys.readouterr().out
    assert chosen()[1]  # and back
    assert not chosen()[1]


@pytest.mark.parametrize(
    "change", [{"eval_split": "test"}, {"eval_steps": 1}, {"eval_name": "x"}, {"subgroups": "none"}]
)
def test_what_shapes_no_choice_makes_none(chosen, change):
    assert not chosen(CONFIG.replace(**change))[1]


def test_other_data_under_the_same_name_is_chosen_again(chosen, tiny_data, capsys, monkeypatch):
    monkeypatch.setitem(tiny_data.info.metadata, "fingerprint", "another")
    assert chosen()[1]
    assert "the data" in capsys.readouterr().out


def rewrite(run, name):
    """Gives a checkpoint other weights under the same name, sealed as a run does."""
    model = build.make_model(CONFIG, 2)
    checkpoint = tf.train.Checkpoint(model=model)
    checkpoint.restore(f"{run}/{name}").expect_partial()
    bias = model.supervised_head.variables[-1]
    bias.assign(bias + np.float32(1))
    checkpoint.write(f"{run}/{checkpoint_files.temp_prefix(name)}")
    checkpoint_files.commit(f"{run}/{checkpoint_files.temp_prefix(name)}", f"{run}/{name}")


def test_a_checkpoint_of_the_same_name_with_other_weights_is_another(chosen, capsys):
    rewrite(chosen.run, "ckpt-2")
    with pytest.raises(UserError, match="has not yet chosen among"):  # nor is the old one exported
        source.newest_or_chosen(CONFIG, chosen.run)
    assert chosen()[1]
    assert "the checkpoints" in capsys.readouterr().out
    assert source.newest_or_chosen(CONFIG, chosen.run).endswith("ckpt-1")


def test_other_data_is_not_scored_by_weights_that_were_not_chosen(chosen, capsys):
    assert chosen(own=False)[0]["checkpoint"] == "ckpt-1"
    rewrite(chosen.run, "ckpt-1")
    with pytest.raises(UserError, match="Evaluate it on that first"):
        chosen(own=False)


def test_the_choice_of_an_older_version_is_made_again_or_noted(chosen, capsys):
    path = os.path.join(chosen.run, "selection.json")
    old = {"split": "validation", "metric": "macro_auc", "candidates": ["ckpt-1", "ckpt-2"]}
    old |= {"checkpoint": "ckpt-2", "thresholds": None, "value_of_step": {"1": 0.5, "2": 0.6}}
    with open(path, "w") as file:
        json.dump(old, file)
    assert source.newest_or_chosen(CONFIG, chosen.run).endswith("ckpt-2")
    assert chosen(own=False) == (old, False)  # other data cannot choose again
    assert "an older version chose the checkpoint" in capsys.readouterr().out
    assert chosen()[1]
    assert "which now writes down of what" in capsys.readouterr().out
    assert not chosen()[1]
