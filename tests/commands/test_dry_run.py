"""--dry_run: what it prints is what the run is, its mistakes are the run's, and it leaves no trace."""

import contextlib
import csv
import hashlib
import json
import os
import re
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers import encoders, tiny_runs
from helpers.command_line import flags_of, run
from simclr_med.commands import flags
from simclr_med.config import Config
from simclr_med.experiments import forecast, forecast_jobs
from simclr_med.training import rehearsal

pytestmark = pytest.mark.usefixtures("one_block")


@pytest.fixture(scope="module")
def of_data(tiny_data):
    """The flags of the prepared folder: 8 cases to train on, 4 to evaluate."""
    return [
        "--dataset=derm_bags",
        f"--manual_dir={tiny_data.builder_config.manifest.folder}",
        f"--data_dir={tiny_data._data_dir_root}",
    ]


def trace(*folders):
    """Returns every path below folders, with a hash of each file's content."""
    entries = {}
    for folder in folders:
        for root, names, files in os.walk(folder):
            entries |= {os.path.join(root, name): "folder" for name in names}
            for name in files:
                with open(os.path.join(root, name), "rb") as file:
                    entries[os.path.join(root, name)] = hashlib.sha256(file.read()).hexdigest()
    return entries


def squeezed(text):
    """Returns text with each run of spaces and frame of a table as one space."""
    return re.sub(r"[\s│┃┏┓┗┛━┳┻┡┩╇─┬┴└┘┌┐├┤┼]+", " ", text)


@contextlib.contextmanager
def eagerly():
    """Without a graph of the step, which takes longer than seven steps of a tiny encoder."""
    tf.config.run_functions_eagerly(True)
    try:
        yield
    finally:
        tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def shown(of_data, tmp_path_factory):
    """What a dry run of the recipe smoke.flags printed, and its --model_dir."""
    root = tmp_path_factory.mktemp("dry")
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch, blocks=())
        patch.chdir(root)
        before = trace(root, of_data[1].split("=")[1])
        arguments = ["--train_batch_size=4", "--flagfile=smoke.flags", "--train_steps=7"]
        with eagerly():
            code, output, errors = run(*arguments, *of_data, "--model_dir=new/run", "--dry_run")
        after = trace(root, of_data[1].split("=")[1])
    assert code == 0, errors
    return before, after, output


def test_a_dry_run_leaves_no_trace(shown):
    before, after, _ = shown
    assert before == after and before


def test_it_says_which_flags_differ_and_who_set_them(shown):
    output = squeezed(shown[2])
    assert "--train_steps=7 command line" in output
    # It stands before the file on the command line, and wins all the same.
    assert "--train_batch_size=4 command line" in output
    assert "--image_size=40 flags/smoke.flags" in output
    assert "--use_blur=false flags/smoke.flags" in output
    assert "--train_mode" not in output  # pretrain is the default


def test_it_counts_what_the_manifest_holds(shown, tiny_data):
    with open(os.path.join(tiny_data.builder_config.manifest.folder, "manifest.csv")) as file:
        rows = list(csv.DictReader(file))
    for split, use in (("train", "training"), ("validation", "evaluation")):
        of_split = [row for row in rows if row["split"] == split]
        cases, patients = ({row[key] for row in of_split} for key in ("case_id", "patient_id"))
        line = f"{split} {use} {len(cases)} {len(of_split)} {len(patients)} {len(cases)}"
        assert line in squeezed(shown[2])
    assert "prepared before" in shown[2]


def test_length_and_rates_are_those_of_the_reference_s_formulas(shown):
    assert "Length: 7 steps, batch 4: 3.5 epochs of 8 bags." in shown[2]
    assert f"peak {0.3 * 4 / 256:.4g} (--learning_rate=0.3, linear" in shown[2]
    assert "warm-up of 0 steps" in shown[2]
    assert "--antialias=true" in shown[2] and "--input_range=unit" in shown[2]


def test_time_and_disk_are_told(shown):
    times = re.search(r"Measured: ([\d. ]+) s a step", shown[2])[1].split()
    assert len(times) == rehearsal.MEASURED
    assert re.search(r"Memory: about [\d.]+ (MB|GB)\.", shown[2])
    assert re.search(r"MICLe pretraining 1 0 0:\d\d:\d\d \d+ MB", squeezed(shown[2]))


def test_model_and_checkpoint_have_the_size_of_a_real_run_s(
    tiny_data, strategy, tiny_pretrained, monkeypatch
):
    monkeypatch.setattr(rehearsal, "_steps", lambda *args: ([0.0] * 8, 8.0))
    rehearsed = rehearsal.rehearse(tiny_runs.BASE, tiny_data, None, strategy)
    (prefix,) = {path.with_suffix("") for path in tiny_pretrained.glob("ckpt-2.index")}
    reader = tf.train.load_checkpoint(str(prefix))
    shapes = reader.get_variable_to_shape_map()
    weights = {
        key: int(np.prod(shape, dtype=int))
        for key, shape in shapes.items()
        if key.startswith("model/") and "optimizer" not in key.lower() and "moving_" not in key
    }
    of_encoder = sum(n for key, n in weights.items() if key.startswith("model/encoder/"))
    assert rehearsed.parameters["encoder"] == of_encoder
    assert rehearsed.parameters["trained"] == sum(weights.values())
    data = sum(path.stat().st_size for path in tiny_pretrained.glob("ckpt-2.data*"))
    assert rehearsed.state_bytes == pytest.approx(data, rel=0.05)


@pytest.fixture
def measured(monkeypatch):
    """Measurement costs nothing; a list of the configurations that were measured."""
    done = []

    def rehearse(config, builder, model_dir, strategy):
        done.append((config, model_dir))
        plan = rehearsal.make_plan(config, builder, 1)
        numbers = {"encoder": 10, "trained": 10}
        return rehearsal.Rehearsal(plan, numbers, 1000, 100, 5.0, (2.0,) * 5, 8.0, 10**9, {}, 4)

    monkeypatch.setattr(forecast, "rehearse", rehearse)
    return done


TUNE = ["--train_mode=finetune", "--resnet_depth=18", "--image_size=34", "--train_batch_size=4"]
TUNE += ["--train_steps=4", "--warmup_epochs=0", "--eval_batch_size=4"]


def test_a_sweep_s_points_are_one_kind_and_finished_ones_cost_no_time(
    of_data, tmp_path, measured, monkeypatch
):
    def stored(config, builder, folder, *, read_only):
        assert read_only
        return {} if config.optim.learning_rate < 0.02 else None

    monkeypatch.setattr(forecast_jobs.runs, "stored_result", stored)
    arguments = [*TUNE, *of_data, "--mode=sweep", "--eval_split=validation[50%:]"]
    arguments += ["--sweep_learning_rates=0.01,0.1,1", "--sweep_weight_decays=0"]
    arguments += ["--selection_split=validation[:50%]", f"--model_dir={tmp_path / 'grid'}"]
    code, output, errors = run(*arguments, "--dry_run")
    assert code == 0, errors
    assert len(measured) == 1 and measured[0][0].optim.learning_rate == 0.1
    assert re.search(r"fine-tuning 3 1 0:00:\d\d", squeezed(output)), output
    assert os.listdir(tmp_path) == []


def test_label_efficiency_says_how_many_labels_train(of_data, tmp_path, measured):
    arguments = [*TUNE, *of_data, "--mode=label_efficiency", "--label_fractions=0.5,1"]
    code, output, errors = run(*arguments, f"--model_dir={tmp_path / 'few'}", "--dry_run")
    assert code == 0, errors
    assert "4 at 0.5, 8 at 1" in output
    assert "fine-tuning 2 0" in squeezed(output) and len(measured) == 1


@pytest.fixture
def study(of_data, tmp_path):
    """The flags of a study of two seeds, in a folder that does not exist."""
    (tmp_path / "recipe.flags").write_text("\n".join(TUNE[1:]))
    (tmp_path / "tune.flags").write_text("\n".join([*TUNE[1:], "--train_split=train[:75%]"]))
    files = {"simclr": "recipe.flags", "micle": "recipe.flags", "finetune": "tune.flags"}
    recipes = [f"--{of}_recipe={tmp_path / name}" for of, name in files.items()]
    splits = ["--eval_split=validation[50%:]", "--selection_split=validation[:50%]"]
    labels = ["--label_fractions=0.5,1", "--label_subsets=2", "--sweep_label_fraction=1"]
    grid = ["--sweep_learning_rates=0.1,1", "--sweep_weight_decays=0", "--repeats=2"]
    folder = f"--model_dir={tmp_path / 'study'}"
    return ["--mode=study", *of_data, *recipes, *splits, *labels, *grid, folder]


def test_a_study_s_runs_are_counted_by_kind(study, tmp_path, measured):
    code, output, errors = run(*study, "--dry_run")
    assert code == 0, errors
    output = squeezed(output)
    arms, labels_of_a_seed, seeds = 4, 2 + 1, 2  # two subsets of half, one of all
    for what, number in {
        "SimCLR pretraining (--simclr_unit=image)": seeds,
        "SimCLR pretraining (--simclr_unit=bag)": seeds,  # the control
        "MICLe pretraining": seeds,
        "fine-tuning: sweep": arms * 2 * 2,  # uses that train, points
        "fine-tuning: finetune": arms * labels_of_a_seed * seeds,
        "fine-tuning: probe_finetune": arms * labels_of_a_seed * seeds,
        "probes of frozen features": arms * labels_of_a_seed * seeds,
    }.items():
        assert f" {what} {number} 0 " in output, what
    assert len(measured) == 4
    assert "4 at 0.5, 6 at 1" in output  # of the 6 that are fine-tuned on
    of_recipe = output.split("Of --finetune_recipe, flags that differ")[1].split(" Data: ")[0]
    assert f"--train_steps=4 {tmp_path / 'tune.flags'}" in of_recipe
    assert "--repeats" not in of_recipe  # which the command line sets
    assert sorted(os.listdir(tmp_path)) == ["recipe.flags", "tune.flags"]


def test_what_a_study_s_searches_chose_is_what_its_runs_are(study, tmp_path, measured, monkeypatch):
    seen = {}

    def stored(config, builder, folder, *, read_only):
        seen[os.path.relpath(folder, tmp_path / "study")] = config.optim.learning_rate
        return {} if "sweep/" in folder else None

    monkeypatch.setattr(forecast_jobs.runs, "stored_result", stored)
    chosen = tmp_path / "study" / "sweep" / "finetune" / "scratch" / "fraction_1"
    chosen.mkdir(parents=True)
    best = {"learning_rate": 1.0, "weight_decay": 0.0, "train_steps": 4}
    (chosen / "best.json").write_text(json.dumps(best))
    code, output, errors = run(*study, "--dry_run")
    assert code == 0, errors
    assert " fine-tuning: sweep 16 16 0:00:00 " in squeezed(output)
    of_runs = {name: rate for name, rate in seen.items() if name.startswith("finetune/")}
    # Of the other arms nothing is chosen yet, so that none of their runs can have begun.
    assert set(of_runs.values()) == {1.0} and len(of_runs) == 6
    assert all(name.startswith("finetune/scratch/") for name in of_runs)


def test_a_run_that_began_goes_on_from_its_step(of_data, tiny_pretrained, tmp_path, measured):
    folder = tmp_path / "run"
    shutil.copytree(tiny_pretrained, folder)
    before = trace(folder)
    own = flags_of(Config.from_dict(_fields_of(folder)).replace(model_dir=None))
    code, output, errors = run(*own, f"--model_dir={folder}", "--dry_run", "--mode=train")
    assert code == 0, errors
    assert "SimCLR pretraining 1 0 0:00:00" in squeezed(output)  # both steps are done
    assert "go on from step 2" in output
    assert measured[0][1] == str(folder)
    assert trace(folder) == before


def _fields_of(folder):
    saved = json.loads((folder / "config.json").read_text())
    return {name: saved[name] for name in Config().to_dict()}


def test_a_copy_that_is_missing_is_prepared_and_that_is_said(of_data, tmp_path, measured):
    data_dir = tmp_path / "tfds"
    arguments = ["--flagfile=smoke.flags", *of_data[:2], f"--data_dir={data_dir}"]
    code, output, errors = run(*arguments, f"--model_dir={tmp_path / 'run'}", "--dry_run")
    assert code == 0, errors
    assert "prepared by this dry run" in squeezed(output)
    assert os.listdir(tmp_path) == ["tfds"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--train_batch_size=64"], "Use at most 8"),
        (["--eval_split=tset"], "tset"),
        (["--checkpoint=nowhere"], "nowhere"),
        (["--mode=label_efficiency"], "add --train_mode=finetune"),
        (["--mode=train", "--model_dir=BUSY/run"], "BUSY is a file"),
        (["--model_dir=PRETRAINED"], "holds a run of another configuration"),
        (
            ["--mode=eval", "--model_dir=PRETRAINED"],
            "--dry_run=true has no effect with --mode=eval",
        ),
    ],
)
def test_mistakes_are_those_of_the_run(of_data, tiny_pretrained, tmp_path, arguments, message):
    (tmp_path / "BUSY").write_text("")
    there = {"PRETRAINED": str(tiny_pretrained), "BUSY": str(tmp_path / "BUSY")}
    for word, path in there.items():
        arguments = [argument.replace(word, path) for argument in arguments]
        message = message.replace(word, path)
    recipe = [] if "--mode=eval" in arguments else ["--flagfile=smoke.flags", *of_data]
    code, _, errors = run(*recipe, f"--model_dir={tmp_path / 'run'}", *arguments, "--dry_run")
    assert code == 2 and message in errors and len(errors.splitlines()) == 1, errors


def test_workers_are_refused(of_data, monkeypatch):
    task = {"cluster": {"worker": ["a:1", "b:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(task))
    code, _, errors = run("--flagfile=smoke.flags", *of_data, "--dry_run")
    assert code == 2 and "--dry_run measures in one process" in errors


def test_the_source_of_a_flag_is_the_file_that_set_it_last(tmp_path):
    inner, outer = tmp_path / "inner.flags", tmp_path / "outer.flags"
    inner.write_text("--seed=1\n--train_steps=5\n--micle\n")
    outer.write_text(f"--seed=2\n--flagfile={inner}\n--train_steps=6\n")
    command_line = flags.parse(
        ["", "--seed=3", f"--flagfile={outer}", "--nomicle", "--mode", "train"]
    )
    assert command_line.given["seed"] == 3 and command_line.given["train_steps"] == 6
    sources = {"train_steps": str(outer), "micle": "command line"}
    assert command_line.sources == {**sources, "seed": "command line", "mode": "command line"}
    alone = flags.parse(["", f"--flagfile={outer}"])
    assert (alone.given["seed"], alone.sources["seed"]) == (1, str(inner))
