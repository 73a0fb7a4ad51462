"""The line that a command ends with can be pasted, and names the data and the recipe that fit."""

import pytest

from simclr_med.commands import next_step
from simclr_med.commands.flags import RECIPES, find_recipe
from simclr_med.commands.invocation import Invocation
from simclr_med.config import Config

FOLDER = {"manual_dir": "my photos", "dataset": "derm_bags"}


def shown(capsys, monkeypatch, given, sources=None, program="run.py", has_labels=True):
    monkeypatch.setattr(next_step.sys, "argv", [f"/opt/bin/{program}"])
    sources = {"dataset": "found in --manual_dir", **(sources or {})}
    config = Config.from_dict(given)
    next_step.show(Invocation([], given, config, sources=sources), "runs/x", has_labels=has_labels)
    return capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"mode": "build"}, "--mode=verify '--manual_dir=my photos'"),
        ({"mode": "verify"}, "--flagfile=laptop.flags '--manual_dir=my photos'"),
        ({"mode": "train"}, "--mode=eval --model_dir=runs/x"),
        (
            {"mode": "train_then_eval", "data_dir": "/big"},
            "--flagfile=laptop_finetune.flags --checkpoint=runs/x '--manual_dir=my photos' "
            "--data_dir=/big",
        ),
        (
            {"mode": "eval", "train_mode": "finetune"},
            "--mode=predict --model_dir=runs/x --manual_dir=NEW_IMAGES",
        ),
    ],
)
def test_what_comes_next(capsys, monkeypatch, given, line):
    given = {**FOLDER, **given}
    assert shown(capsys, monkeypatch, given) == f"Next: python run.py {line}\n"
    assert shown(capsys, monkeypatch, given, program="simclr-med") == f"Next: simclr-med {line}\n"


def test_nothing_is_said_where_no_one_step_follows(capsys, monkeypatch):
    pretrained = {**FOLDER, "mode": "eval"}
    assert shown(capsys, monkeypatch, pretrained, has_labels=False) == ""
    for mode in ("compare", "embed", "predict", "study"):
        assert shown(capsys, monkeypatch, {**FOLDER, "mode": mode}) == ""


def test_the_demo_is_named_and_the_paper_s_recipes_stay_together(capsys, monkeypatch):
    demo = {"mode": "train_then_eval", "dataset": "derm_bags/demo"}
    line = shown(capsys, monkeypatch, demo, {"dataset": "flags/demo.flags"})
    assert "--flagfile=laptop_finetune.flags" in line and "--dataset=derm_bags/demo" in line
    for used, recipe in (("derm_micle", "derm_finetune"), ("cxr_simclr", "cxr_finetune")):
        sources = {"learning_rate": f"flags/{used}.flags"}
        line = shown(capsys, monkeypatch, {**FOLDER, "mode": "train_then_eval"}, sources)
        assert f"--flagfile={recipe}.flags" in line
        assert find_recipe(f"{recipe}.flags").startswith(RECIPES)
