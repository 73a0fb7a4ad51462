"""Paths as people have them: what TensorFlow takes for patterns, spaces, umlauts, quotes, ~."""

import json
import os
import shutil

import pytest

from helpers import tiny_runs
from helpers.command_line import run
from simclr_med.commands import flags
from simclr_med.commands.run_config import default_model_dir
from simclr_med.config import FIELDS, PATHS, PRIVATE
from simclr_med.models import resnet

HARD = "a [b] ü #%{x}*?'\"\\ x"


@pytest.fixture(autouse=True)
def empty(tmp_path_factory, monkeypatch):
    """The current folder, in which nothing may be written."""
    where = tmp_path_factory.mktemp("cwd")
    monkeypatch.chdir(where)
    yield where
    assert os.listdir(where) == []


@pytest.mark.slow
@pytest.mark.one_stack
def test_train_resume_eval_fine_tune_export_embed_and_compare_below_a_hard_name(
    tmp_path, monkeypatch
):
    monkeypatch.setitem(resnet.BLOCKS_PER_GROUP, 18, (1, 1, 1, 1))  # an export's are of four groups
    root = tmp_path / HARD
    tiny_runs.draw_folder(root / "photos")
    data = ["--dataset=derm_bags", f"--manual_dir={root}/photos", f"--data_dir={root}/tfds"]
    tiny = ["--resnet_depth=18", "--image_size=34", "--train_batch_size=4", "--checkpoint_steps=1"]
    tiny += ["--warmup_epochs=0", "--eval_batch_size=4", "--proj_out_dim=8"]
    tiny += ["--eval_split=validation", "--optimizer=momentum", "--learning_rate=0.1"]
    pretrained, tuned = root / "pre", root / "tuned, with+marks"

    def command(*arguments):
        code, out, errors = run(*arguments)
        assert code == 0, (arguments, out[-1500:], errors)
        return out

    assert "Nothing is wrong" in command(*data, "--mode=verify")
    pretrain = (*data, *tiny, f"--model_dir={pretrained}")
    command(*pretrain, "--train_steps=2")
    (pretrained / "ckpt-2.index").unlink()
    assert "Resuming at step 1 of 2" in command(*pretrain, "--train_steps=2")
    command(*data, *tiny, f"--model_dir={pretrained}", "--mode=eval", "--keep_hub_module_max=1")
    names = set(os.listdir(pretrained))
    assert {"result.json", "predictions.csv", "report.html", "embedding.png", "views.png"} <= names
    assert json.loads((pretrained / "result.json").read_text())["not_drawn"] == {}
    assert len(os.listdir(pretrained / "events")) == 3  # begun, resumed, evaluated
    for weights in (pretrained / "saved_model" / "2", pretrained):
        shutil.rmtree(tuned, ignore_errors=True)
        out = command(
            *(*data, *tiny, f"--model_dir={tuned}", f"--checkpoint={weights}", "--train_steps=1"),
            *(
                "--train_mode=finetune",
                "--selection_split=train[:50%]",
                "--train_split=train[50%:]",
            ),
        )
        assert f"{weights}" in out and "Preparing" not in out
    command(f"--model_dir={tuned}", "--mode=eval", "--eval_name=ü #[1]")
    command(f"--model_dir={tuned}", "--mode=eval")
    assert "embeddings of" in command("--mode=embed", f"--model_dir={tuned}")
    out = command("--mode=export", f"--model_dir={tuned}", "--export_formats=saved_model")
    assert "TensorFlow loads no SavedModel from a path with [ ]" in out
    command("--mode=export", f"--checkpoint={pretrained}", f"--model_dir={root}/out", *tiny[:2])
    compared = command(
        *("--mode=compare", f"--runs={tuned}:ü #[1],{tuned}", f"--model_dir={root}/compared")
    )
    assert "No metric differs" in compared and os.path.exists(root / "compared" / "compare.csv")


def test_each_flag_of_a_folder_or_file_is_one_of_the_paths():
    """A new flag whose value is private is a path, or is named here."""
    no_paths = {"bag_regex", "beam_runner", "beam_options", "tpu_name", "tpu_zone", "gcp_project"}
    assert set(PATHS) == PRIVATE - no_paths - {"master"}
    assert set(PATHS) <= set(FIELDS)


def test_a_tilde_is_the_home_folder_in_every_flag_of_a_path(tmp_path, monkeypatch):
    home = tmp_path / "home"
    (home / "recipes").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    (home / "recipes" / "a.flags").write_text("--manual_dir=~/in_a_file\n--flagfile=~/b.flags\n")
    (home / "b.flags").write_text("--data_dir=~/nested\n")
    for name in set(PATHS) - {"runs"}:
        given = flags.parse(["run.py", f"--{name}=~/x", "--dataset=derm_bags"]).given
        assert given[name] == f"{home}/x", name
    given = flags.parse(["run.py", "--flagfile=~/recipes/a.flags"]).given
    assert given["manual_dir"] == f"{home}/in_a_file" and given["data_dir"] == f"{home}/nested"
    runs = flags.parse(["run.py", "--mode=compare", "--runs=~/a+~/b:~c, ~/c~,d~/e"]).given["runs"]
    assert runs == f"{home}/a+{home}/b:~c, {home}/c~,d~/e"
    for unchanged in ("gs://b/~/x", "/a/~/x", "~nobody_of_this_name/x", "./~/x"):
        assert flags.parse(["run.py", f"--model_dir={unchanged}"]).given["model_dir"] == unchanged


def test_a_folder_called_tilde_is_pointed_at(tmp_path, monkeypatch, capsys, empty):
    """Versions before this one made it, in the current folder, of --model_dir=~/run."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (empty / "~" / "run").mkdir(parents=True)
    flags.parse(["run.py", "--model_dir=~/run"])
    out = capsys.readouterr().out
    assert f"is {tmp_path}/run. " in out and "--model_dir=./~/run names that" in out
    shutil.rmtree(empty / "~")


def test_the_run_is_the_same_one_however_its_path_was_given(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    folders = {
        default_model_dir(
            flags.config_from(flags.parse(["run.py", f"--checkpoint={path}"]).given), ""
        )
        for path in ("~/w", f"{tmp_path}/w")
    }
    assert len(folders) == 1
