"""The command itself, end to end, on a folder of drawn images: what it leaves, and resumption."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers import ROOT


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with 16 drawn cases (manifest.csv, images) and a place for prepared data."""
    folder = tmp_path_factory.mktemp("world")
    rng = np.random.default_rng(0)
    (folder / "photos").mkdir()
    rows = ["case_id,image_path,label,split"]
    for case in range(16):
        for image in range(1 + case % 3):
            pixels = rng.integers(0, 255, (40, 48, 3)).astype(np.uint8)
            pixels[10:30, 10:30] = (250, 20, 20) if case % 2 else (20, 20, 250)
            Image.fromarray(pixels).save(folder / "photos" / f"{case}_{image}.png")
            split = "validation" if case % 4 == 3 else "train"
            rows.append(f"c{case},{case}_{image}.png,{'red' if case % 4 < 2 else 'blue'},{split}")
    (folder / "photos" / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def command(world, model_dir, *flags):
    return [
        sys.executable,
        str(ROOT / "run.py"),
        "--flagfile=" + str(ROOT / "flags" / "smoke.flags"),
        "--dataset=derm_bags",
        f"--manual_dir={world / 'photos'}",
        f"--data_dir={world / 'tfds'}",
        f"--model_dir={model_dir}",
        *flags,
    ]


def run(world, model_dir, *flags):
    done = subprocess.run(
        command(world, model_dir, *flags),
        capture_output=True,
        text=True,
        timeout=600,
        cwd=world,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture(scope="module")
def finished(world):
    model_dir = world / "finished"
    code, output = run(world, model_dir)
    assert code == 0, output
    return model_dir, output


def test_a_run_leaves_what_explains_it(finished):
    model_dir, output = finished
    names = ["config.json", "flags.json", "metrics.jsonl", "result.json", "predictions.csv"]
    names += ["views.png", "curves.png", "embedding.png", "events", "saved_model"]
    for name in names:
        assert (model_dir / name).exists(), name
    assert "linear probe" in output and "untrained" in output and "kNN" in output
    result = json.loads((model_dir / "result.json").read_text())
    assert result["global_step"] == 6
    assert result["contrastive"]["chance_loss"] == pytest.approx(np.log(15))
    rows = [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    lines = (model_dir / "predictions.csv").read_text().splitlines()
    assert lines[0] == "case_id,patient_id,truth,prediction,blue,red"
    assert len(lines) == 5
    assert all(sum(map(float, line.split(",")[4:])) == pytest.approx(1) for line in lines[1:])


def test_the_saved_model_gives_embeddings(finished):
    model = tf.saved_model.load(str(finished[0] / "saved_model" / "6"))
    assert model(tf.zeros([2, 50, 40, 3], tf.uint8))["embeddings"].shape == (2, 512)


def test_another_configuration_in_the_same_folder_is_refused(world, finished):
    code, output = run(world, finished[0], "--temperature=0.2", "--seed=3")
    assert code == 2
    assert "temperature was 0.1, now 0.2" in output and "seed was 0, now 3" in output


def test_a_run_older_than_a_flag_goes_on(world, finished, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(finished[0], old)
    config = json.loads((old / "config.json").read_text())
    for name in ("label_set", "build_long_side"):
        del config[name]
    (old / "config.json").write_text(json.dumps(config))
    code, output = run(world, old, "--mode=train")
    assert code == 0, output


def test_eval_reads_its_configuration_from_the_run(world, finished):
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "--mode=eval", f"--model_dir={finished[0]}"]
        + ["--eval_split=train", "--eval_name=again"],
        capture_output=True,
        text=True,
        timeout=600,
        cwd=world,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert len((finished[0] / "predictions_again.csv").read_text().splitlines()) == 13


def test_fine_tuning_starts_from_a_pretrained_run(world, finished):
    flags = ["--nomicle", "--train_mode=finetune", f"--checkpoint={finished[0]}"]
    code, output = run(world, world / "tuned", *flags, "--optimizer=momentum", "--train_steps=2")
    assert code == 0, output
    assert "encoder 105/105" in output.replace("\n", " ")
    assert "supervised head" in output


def test_a_diverging_run_stops_and_keeps_its_last_good_checkpoint(world):
    flags = ["--optimizer=momentum", "--learning_rate=1e30", "--checkpoint_steps=1"]
    code, output = run(world, world / "diverged", *flags)
    assert code == 2 and "at step" in output and "--learning_rate" in output
    assert "Traceback" not in output
    latest = tf.train.latest_checkpoint(str(world / "diverged"))
    if latest:
        reader = tf.train.load_checkpoint(latest)
        kernel = [k for k in reader.get_variable_to_shape_map() if "stem" in k and "kernel" in k][0]
        assert np.isfinite(reader.get_tensor(kernel)).all()


def test_two_cpu_replicas_train(world):
    code, output = run(world, world / "two", "--cpu_replicas=2", "--train_steps=2", "--mode=train")
    assert code == 0, output
    assert os.path.exists(world / "two" / "ckpt-2.index")
