"""The command line: help, recipes, and to a hostile user exit code 2 and one line, no traceback."""

import importlib
import os
import subprocess
import sys
import threading

import pytest

import simclr_med
from helpers import ROOT
from helpers.command_line import flags_of, run
from helpers.tiny_runs import BASE
from simclr_med.commands import COMMANDS, flags, help
from simclr_med.commands.main import main
from simclr_med.config import FIELDS, GROUPS


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """The current folder, empty."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def refusal(*arguments):
    """Returns the message of a refused command, after checking that it is one line and all there is."""
    code, _, errors = run(*arguments)
    assert code == 2, errors
    assert errors.startswith("run.py: ") and len(errors.splitlines()) == 1, errors
    return errors


def test_help_shows_each_mode_with_an_example_that_is_understood():
    code, output, _ = run("--help")
    assert (
        code == 0 and len(output.splitlines()) <= 72 and max(map(len, output.splitlines())) <= 100
    )
    assert set(help.MODES) == set(FIELDS["mode"].metadata["choices"])
    for mode, (_, example) in help.MODES.items():
        assert f"  {mode} " in output and example in output
        line = flags.parse(["run.py", *example.split()])
        assert line.given.get("mode", "train") == mode and not line.is_demo
    for name in help.USUAL:
        assert f"  --{name}=" in output


@pytest.mark.parametrize("first", [True, False])
def test_the_command_line_wins_over_a_file_wherever_it_stands(tmp_path, first):
    (tmp_path / "own.flags").write_text("--flagfile=laptop.flags\n--seed=3\n")
    by_hand, file = ["--train_steps=5", "--seed", "4", "--nomicle"], ["--flagfile=own.flags"]
    line = flags.parse(["run.py", *(by_hand + file if first else file + by_hand)])
    assert (line.given["train_steps"], line.given["seed"]) == (5, 4)
    assert line.sources["train_steps"] == line.sources["seed"] == "command line"
    assert line.given["image_size"] == 64  # laptop.flags
    (tmp_path / "later.flags").write_text("--seed=7\n")
    line = flags.parse(["run.py", *file, "--flagfile=later.flags"])
    assert line.given["seed"] == 7


@pytest.mark.parametrize(
    "words",
    [["--views=frontal"], ["-views=frontal"], ["--views", "frontal"], ["--flagfile=a.flags"]],
)
def test_a_flag_of_an_older_version_works_and_warns(tmp_path, words, capsys):
    (tmp_path / "a.flags").write_text("--views=frontal\n")
    line = flags.parse(["run.py", "--dataset=chexpert", *words])
    assert line.given["projection"] == "frontal" and "views" not in line.given
    by_hand = len(words[0].split("=")[0]) < len("--flagfile")
    assert ("projection" in line.by_hand, "projection" in line.in_files) == (by_hand, not by_hand)
    out = capsys.readouterr().out
    assert out == "Note: --views is --projection now; the old name will go with version 1.0.\n"


def test_help_of_a_mode_lists_what_has_an_effect_there():
    code, output, _ = run("--help", "--mode=predict")
    assert code == 0 and "--images=" in output and "--per_image=" in output
    assert "--learning_rate=" not in output and "--runs=" not in output
    code, output, _ = run("--mode=compare", "--help")
    assert "--features=" in output and "--micle=" not in output
    for mode in help.MODES:
        listed = set(help.reaching(mode))
        assert {"mode"} <= listed
    shown = {name for mode in help.MODES for name in help.reaching(mode)}
    assert shown == set(FIELDS)


def test_helpfull_lists_every_flag_by_group():
    code, output, _ = run("--helpfull")
    assert code == 0
    for group in GROUPS.values():
        assert f"\n{group.__doc__}:\n" in output
    for name in FIELDS:
        assert f"  --{name}=" in output


def test_version_is_the_package_s():
    assert run("--version") == (0, f"simclr_med {simclr_med.__version__}\n", "")


def test_help_and_mistakes_on_the_command_line_do_not_import_tensorflow():
    """Nor does `import simclr_med`, which loads the public packages when they are first used."""
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
sys.modules.update(dict.fromkeys(("tensorflow", "tensorflow_datasets", "numpy")))  # no import of it
import simclr_med
from simclr_med.commands.main import main
codes = [main(["run.py", *flags]) for flags in (["--help"], ["--resnet_depth=19"], ["--x=1"])]
assert codes == [0, 2, 2], codes
assert "losses" in dir(simclr_med) and "simclr_med.losses" not in sys.modules
try:
    simclr_med.losses
except ModuleNotFoundError as error:
    assert error.name in ("tensorflow", "numpy"), error
else:
    raise AssertionError("loaded without TensorFlow?")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert callable(simclr_med.losses.nt_xent)
    with pytest.raises(AttributeError, match="no attribute 'loses'"):
        _ = simclr_med.loses


def test_a_reader_that_has_seen_enough_ends_the_command_quietly():
    """As in `run.py --help | head`: here the reader is gone before the first line."""
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), "--help"],
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + 13, "")


def test_each_mode_has_its_command():
    assert set(COMMANDS) == set(FIELDS["mode"].metadata["choices"])
    for name in COMMANDS.values():
        assert callable(importlib.import_module(f"simclr_med.commands.{name}").run)


@pytest.mark.parametrize("path", ["smoke.flags", "flags/smoke.flags", "./flags/smoke.flags"])
def test_recipes_are_found_from_any_folder(folder, path):
    given = flags.parse(["", f"--flagfile={ROOT / 'flags' / 'smoke.flags'}"]).given
    assert given["train_steps"] == 6
    assert flags.parse(["", f"--flagfile={path}"]).given == given
    (folder / "mine.flags").write_text(f"--flagfile={path}\n--train_steps=7\n")
    assert flags.parse(["", "--flagfile=mine.flags"]).given == {**given, "train_steps": 7}


@pytest.mark.parametrize("path", ["smoke.flags", "flags/smoke.flags"])
def test_a_file_of_the_user_s_wins_over_the_recipe(folder, path):
    (folder / "flags").mkdir()
    (folder / path).write_text("--train_steps=77\n")
    assert flags.parse(["", f"--flagfile={path}"]).given == {"train_steps": 77}
    (folder / "mine.flags").write_text(f"--flagfile={path}\n")
    assert flags.parse(["", "--flagfile=mine.flags"]).given == {"train_steps": 77}


def test_the_command_trains_in_a_thread(folder, tiny_data, one_block):
    """As Streamlit, Ray and W&B run it: Python sets signal handlers in the main thread alone."""
    config = BASE.replace(
        manual_dir=str(tiny_data.builder_config.manifest.folder),
        data_dir=str(tiny_data._data_dir_root),
        model_dir="run",
        train_steps=1,
    )
    codes = []
    thread = threading.Thread(target=lambda: codes.append(main(["run.py", *flags_of(config)])))
    thread.start()
    thread.join()
    assert codes == [0] and (folder / "run" / "ckpt-1.index").exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (
            ["--temprature=0.5"],
            "Unknown command line flag 'temprature'. Did you mean --temperature?",
        ),
        (["--optimizer=sgdx"], "--optimizer=sgdx is not one of lars|momentum|adam."),
        (["--train_batch_size=abc"], "--train_batch_size=abc is not a whole number."),
        (["--learning_rate=fast"], "--learning_rate=fast is not a number."),
        (["--micle=maybe"], "--micle=maybe is not true or false."),
        (["--learning_rate"], "Missing value for flag --learning_rate."),
        (["--resnet_depth=19"], "--resnet_depth=19 is not one of 18|34|50"),
        (["--temperature=0"], "--temperature=0.0 must be above 0"),
        (["--temperature=nan"], "--temperature=nan must be above 0"),
        (["--jit_compile"], "--jit_compile needs --nodeterministic"),
        (["stray"], "'stray' is not a flag"),
        (["--flagfile=nowhere.flags"], "'nowhere.flags'"),
        (["--mode=eval"], "--mode=eval needs the --model_dir of a run, or --checkpoint with"),
        (["--mode=eval", "--model_dir=nowhere"], "--model_dir=nowhere holds no run"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_line(arguments, sentence):
    assert sentence in refusal(*arguments)


def test_a_mistake_in_the_folder_is_one_line(tmp_path):
    folder = tmp_path / "photos"
    arguments = ["--dataset=derm_bags", f"--data_dir={tmp_path / 'tfds'}"]
    assert "--manual_dir=DIR" in refusal(*arguments)
    arguments.append(f"--manual_dir={folder}")
    assert "does not exist" in refusal(*arguments)
    folder.mkdir()
    (folder / "notes.txt").touch()
    assert "has no manifest.csv" in refusal(*arguments)
    (folder / "broken.jpg").write_bytes(b"not an image")
    manifest = folder / "manifest.csv"
    manifest.write_text("case_id,label\nc0,red\n")
    assert "column 'image_path' is missing" in refusal(*arguments)
    manifest.write_text("case_id,image_path\nc0,nowhere.jpg\n")
    assert "row 2: image_path 'nowhere.jpg' cannot be found" in refusal(*arguments)
    manifest.write_text("case_id,image_path,split\nc0,broken.jpg,train\n")
    assert "row 2: image 'broken.jpg' cannot be used: not an image" in refusal(*arguments)
