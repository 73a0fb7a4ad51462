"""Files of a run on a disk and in a folder that only TensorFlow can open, gfile's ram://."""

import os
import re

import pytest
import tensorflow as tf

from simclr_med import run_folder
from simclr_med.run_folder import files


@pytest.fixture(params=["disk", "remote"])
def folder(request, tmp_path, monkeypatch):
    """An empty folder; nothing may be written where the process works, as a folder `ram:` would be."""
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")
    where = str(tmp_path / "run") if request.param == "disk" else f"ram://{tmp_path.name}/run"
    tf.io.gfile.makedirs(where)
    yield where
    assert os.listdir(tmp_path / "cwd") == []


def test_a_file_is_the_old_or_the_new_one(folder, monkeypatch):
    path = f"{folder}/a.json"
    files.write_atomically(path, "old\n")

    def dies(*args, **kwargs):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tf.io.gfile, "rename", dies)
        patch.setattr(os, "getpid", lambda: 1)
        files.write_atomically(path, "new and long\n")
    assert files.read_text(path) == "old\n"
    files.write_atomically(path, "\u00e9\r\n")
    assert files.read_text(path) == "\u00e9\r\n"
    written, left = files.names(folder)
    assert written == "a.json" and re.fullmatch(r"unfinished-[0-9a-f]{8}-1-a.json", left)
    assert files.names(f"{folder}/none") == []
    with pytest.raises(tf.errors.NotFoundError):
        files.read_text(f"{folder}/none")


def test_what_other_libraries_write_comes_whole_or_not_at_all(folder):
    path = f"{folder}/picture.png"
    with files.writing(path) as local:
        assert local.endswith("picture.png") and "://" not in local
        with open(local, "w") as file:
            file.write("one")
        assert "picture.png" not in files.names(folder)
    with pytest.raises(ZeroDivisionError), files.writing(path) as local:
        with open(local, "w") as file:
            file.write("half")
        raise ZeroDivisionError
    assert files.names(folder) == ["picture.png"] and files.read_text(path) == "one"


def test_a_folder_takes_the_place_of_another(folder):
    for name, inside in (("new", ("b", "sub/c")), ("old", ("a",))):
        for file in inside:
            tf.io.gfile.makedirs(f"{folder}/{name}/{os.path.dirname(file)}".rstrip("/"))
            files.write_atomically(f"{folder}/{name}/{file}", file)
    files.replace_folder(f"{folder}/new", f"{folder}/old")
    files.replace_folder(f"{folder}/old", f"{folder}/there")  # where nothing was
    assert files.names(folder) == ["there"] and files.names(f"{folder}/there") == ["b", "sub"]
    assert files.read_text(f"{folder}/there/sub/c") == "sub/c"


def test_json_metrics_and_lock(folder):
    run = f"{folder}/deeper"
    with run_folder.locked(run):
        assert run_folder.is_training(run) == ("://" not in run)
        run_folder.write_json(f"{run}/a.json", {"x": float("nan"), "y": (1, 2)})
    assert run_folder.read_json(f"{run}/a.json") == {"x": None, "y": [1, 2]}
    assert run_folder.read_metrics(run) == []
    files.write_atomically(f"{run}/metrics.jsonl", '{"step": 1}\n{"step": 2}\n{"st')
    assert run_folder.read_metrics(run) == [{"step": 1}, {"step": 2}]


def test_a_log_goes_on_after_the_step_that_was_restored(folder):
    for start, steps in ((0, (1, 2, 3)), (2, (3, 4))):
        log = run_folder.RunLog(folder, start, 4, images_per_step=2)
        for step in steps:
            log.show(step, {"loss": 1.0})
            log.write(step, {"loss": float(10 * start + step)})
        log.close()
    rows = [(row["step"], row["loss"]) for row in run_folder.read_metrics(folder)]
    assert rows == [(1, 1.0), (2, 2.0), (3, 23.0), (4, 24.0)]
    assert len(files.names(f"{folder}/events")) == 2
