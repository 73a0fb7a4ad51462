"""A copy of the user's folder, elsewhere and with other times, is the same data to every command."""

import json
import os
import shutil

import pytest

from helpers import tiny_runs
from helpers.command_line import flags_of, run
from helpers.folders import draw_cases

pytestmark = [
    pytest.mark.slow,
    pytest.mark.one_stack,
    pytest.mark.usefixtures("one_block"),
]
CONFIG = tiny_runs.FINETUNE.replace(
    train_steps=2, learning_rate=0.1, on_bad_image="skip", top_conditions=2
)
FLAGS = flags_of(CONFIG)


def copied(folder, to):
    shutil.copytree(folder, to)
    for path in to.rglob("*"):
        os.utime(path, ns=(10**18, 10**18))
    return f"--manual_dir={to}"


def test_a_run_goes_on_and_is_evaluated_with_a_copy_of_its_folder(tmp_path):
    photos = draw_cases(tmp_path / "photos", {"train": 8, "validation": 4}, classes=3)
    (photos / "0_0.png").write_bytes(b"no image")  # skipped, as training is told to
    run_dir = [f"--model_dir={tmp_path / 'run'}"]
    train = ["--mode=train", *FLAGS, *run_dir]
    code, output, errors = run(*train, f"--manual_dir={photos}", f"--data_dir={tmp_path / 'data'}")
    assert code == 0, errors
    there = [copied(photos, tmp_path / "there"), f"--data_dir={tmp_path / 'data_there'}"]
    shutil.rmtree(tmp_path / "data")
    shutil.rmtree(photos)
    code, output, errors = run(*train, *there)  # prepares the copy
    assert code == 0, errors
    assert "Resuming at step 2 of 2" in output
    code, output, errors = run("--mode=eval", *run_dir, *there)
    assert code == 0, errors
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert result["dataset"] == config["prepared_dataset"]  # and no --eval_name was asked for

    # Data of other content are other data, read by the rules of the command alone.
    other = draw_cases(tmp_path / "other", {"train": 8, "validation": 4}, classes=3, seed=1)
    elsewhere = [f"--manual_dir={other}", f"--data_dir={tmp_path / 'data_there'}"]
    code, _, errors = run("--mode=eval", *run_dir, *elsewhere)
    assert code == 2 and "--eval_name" in errors
    code, _, errors = run(*train, *elsewhere)
    assert code == 2 and "prepared_dataset" in errors.replace(
        "prepared dataset", "prepared_dataset"
    )
