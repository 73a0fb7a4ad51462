"""The command, end to end, on a folder of drawn images: what it leaves, and how it goes on.

In this process where two replicas are not the point, and with an encoder of one block.
"""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from helpers import ROOT, encoders, processes
from helpers.command_line import run
from simclr_med import distribution
from simclr_med.errors import UserError
from simclr_med.evaluation import draw
from tfds_builders import prepare as preparation

pytestmark = pytest.mark.usefixtures("one_block")


@pytest.fixture(scope="module")
def of_data(tiny_data):
    """The flags of the prepared folder: 8 cases to train on, 4 to evaluate."""
    return [
        "--dataset=derm_bags",
        f"--manual_dir={tiny_data.builder_config.manifest.folder}",
        f"--data_dir={tiny_data._data_dir_root}",
    ]


@pytest.fixture(scope="module")
def smoke(of_data):
    """A function that runs the recipe smoke.flags in a folder: exit code, stdout, stderr."""
    return lambda model_dir, *flags: run(
        "--flagfile=smoke.flags", *of_data, f"--model_dir={model_dir}", *flags
    )


@pytest.fixture(scope="module")
def finished(smoke, tmp_path_factory):
    """The folder of a run of the recipe, which nobody changes, and what it printed."""
    model_dir = tmp_path_factory.mktemp("runs") / "finished"
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch)
        code, output, errors = smoke(model_dir)
    assert code == 0, errors
    return model_dir, output


def test_a_run_leaves_what_explains_it(finished):
    model_dir, output = finished
    names = ["config.json", "flags.json", "metrics.jsonl", "result.json", "predictions.csv"]
    names += ["views.png", "curves.png", "embedding.png", "events", "saved_model", "report.html"]
    for name in names:
        assert (model_dir / name).exists(), name
    assert "linear probe" in output and "untrained" in output and "kNN" in output
    result = json.loads((model_dir / "result.json").read_text())
    assert result["global_step"] == 6
    assert result["contrastive"]["chance_loss"] == pytest.approx(np.log(15))
    rows = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    lines = (model_dir / "predictions.csv").read_text().splitlines()
    assert lines[0] == "case_id,patient_id,truth,prediction,label0,label1"
    assert len(lines) == 5
    assert all(sum(map(float, line.split(",")[4:])) == pytest.approx(1) for line in lines[1:])


def test_the_saved_model_gives_embeddings(finished):
    model = tf.saved_model.load(str(finished[0] / "saved_model" / "6"))
    assert model(tf.zeros([2, 50, 40, 3], tf.uint8))["embeddings"].shape == (2, 64)


def test_another_configuration_in_the_same_folder_is_refused(smoke, finished):
    code, _, errors = smoke(finished[0], "--temperature=0.2", "--seed=3")
    assert code == 2
    assert "temperature was 0.1, now 0.2" in errors and "seed was 0, now 3" in errors


def test_a_run_older_than_a_flag_goes_on(smoke, finished, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(finished[0], old)
    config = json.loads((old / "config.json").read_text())
    for name in ("label_set", "build_long_side"):
        del config[name]
    (old / "config.json").write_text(json.dumps(config))
    code, output, errors = smoke(old, "--mode=train")
    assert code == 0, errors
    assert "Resuming at step 6 of 6" in output


@pytest.fixture
def no_pictures(monkeypatch):
    """Evaluations draw neither embedding.png nor report.html, as the first run did."""
    monkeypatch.setattr(draw.embedding, "save", lambda *args: None)
    monkeypatch.setattr(draw, "save_report", lambda *args: {})


def test_eval_reads_its_configuration_from_the_run(finished, tmp_path, no_pictures):
    again = tmp_path / "again"
    shutil.copytree(finished[0], again)
    command = ["--mode=eval", f"--model_dir={again}", "--eval_split=train", "--eval_name=again"]
    code, _, errors = run(*command)
    assert code == 2 and "whose labels the probes are fitted on" in errors
    code, _, errors = run(*command, "--allow_patient_overlap")
    assert code == 0, errors
    assert len((again / "predictions_again.csv").read_text().splitlines()) == 1 + 8


@pytest.mark.slow
def test_fine_tuning_starts_from_a_pretrained_run(smoke, finished, tmp_path, no_pictures):
    flags = ["--nomicle", "--train_mode=finetune", f"--checkpoint={finished[0]}"]
    flags += ["--optimizer=momentum", "--train_steps=1", "--keep_hub_module_max=0"]
    code, output, errors = smoke(tmp_path / "tuned", *flags)
    assert code == 0, errors
    restored, variables = re.search(r"encoder (\d+)/(\d+)", output.replace("\n", " ")).groups()
    assert int(restored) == int(variables) > 10
    assert "supervised head" in output


@pytest.mark.slow
def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(smoke, tmp_path):
    flags = ["--optimizer=momentum", "--learning_rate=1e30", "--checkpoint_steps=1"]
    code, _, errors = smoke(tmp_path, *flags)
    assert code == 2 and "at step" in errors and "--learning_rate" in errors
    latest = tf.train.latest_checkpoint(str(tmp_path))
    if latest:
        reader = tf.train.load_checkpoint(latest)
        kernel = [k for k in reader.get_variable_to_shape_map() if "stem" in k and "kernel" in k][0]
        assert np.isfinite(reader.get_tensor(kernel)).all()


@pytest.mark.parametrize(
    "mode",
    (
        "train",
        "train_then_eval",
        "train --dry_run",
        "train_then_eval --repeats=3",
        "train_then_eval --folds=3",
        "eval",
        "embed",
        "sweep --sweep_flags=temperature=0.1,0.5",
        "study --flagfile=study_demo.flags",
    ),
)
def test_devices_are_set_up_before_any_data_are_read(mode, of_data, finished, monkeypatch):
    """TensorFlow refuses several workers or CPU replicas once anything was computed."""

    def make_strategy(**_):
        raise UserError("the devices come first")

    monkeypatch.setattr(preparation, "prepare", lambda *_, **__: pytest.fail("data were read"))
    monkeypatch.setattr(distribution, "make_strategy", make_strategy)
    of_run = mode in ("eval", "embed")
    flags = [f"--model_dir={finished[0]}"] if of_run else ["--flagfile=smoke.flags", *of_data]
    code, _, errors = run(*flags, *f"--mode={mode}".split())
    assert code == 2 and "the devices come first" in errors


@pytest.mark.slow
def test_two_cpu_replicas_train(of_data, tmp_path):
    """In a process of its own, which prepares the data too, as a first command does."""
    worker = ROOT / "tests" / "helpers" / "training_worker.py"  # run.py with short encoders
    flags = ["--flagfile=smoke.flags", *of_data, "--mode=train", "--cpu_replicas=2"]
    flags += [f"--data_dir={tmp_path / 'fresh'}"]
    done = subprocess.run(
        [sys.executable, str(worker), *flags, "--model_dir=two", "--train_steps=2"],
        env=processes.environments(1)[0],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "2 x CPU" in done.stdout
    assert (tmp_path / "two" / "ckpt-2.index").exists()
