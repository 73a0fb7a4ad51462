"""What the command says to a hostile user: exit code 2 and one sentence, never a traceback."""

import subprocess
import sys
import time

import pytest

from helpers import ROOT
from simclr_med.config import FIELDS, GROUPS


def run(folder, *arguments):
    done = subprocess.run(
        [sys.executable, str(ROOT / "run.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=folder,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def refusal(folder, *arguments):
    """Returns the sentence of a refused command, after checking that it is only a sentence."""
    code, _, errors = run(folder, *arguments)
    assert code == 2, errors
    assert "Traceback" not in errors
    assert errors.startswith("run.py: ") and len(errors.splitlines()) == 1, errors
    return errors


def test_help_lists_every_flag_by_group_at_once(tmp_path):
    start = time.monotonic()
    code, output, _ = run(tmp_path, "--help")
    assert code == 0 and time.monotonic() - start < 2
    for group in GROUPS.values():
        assert f"\n{group.__doc__}:\n" in output
    for name in FIELDS:
        assert f"  --{name}=" in output


def test_help_and_mistakes_on_the_command_line_do_not_import_tensorflow(tmp_path):
    script = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from simclr_med.commands.main import main
codes = [main(["run.py", *flags]) for flags in (["--help"], ["--resnet_depth=19"], ["--x=1"])]
assert codes == [0, 2, 2], codes
assert not {{"tensorflow", "tensorflow_datasets", "numpy"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr


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
        (["--mode=eval"], "--mode=eval needs the --model_dir of a run."),
        (["--mode=eval", "--model_dir=nowhere"], "--model_dir=nowhere holds no run"),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(tmp_path, arguments, sentence):
    assert sentence in refusal(tmp_path, *arguments)


def test_a_mistake_in_the_folder_is_one_sentence(tmp_path):
    folder = tmp_path / "photos"
    flags = ["--dataset=derm_bags", f"--data_dir={tmp_path / 'tfds'}"]
    assert "--manual_dir=DIR" in refusal(tmp_path, *flags)
    flags.append(f"--manual_dir={folder}")
    assert "does not exist" in refusal(tmp_path, *flags)
    folder.mkdir()
    (folder / "notes.txt").touch()
    assert "has no manifest.csv" in refusal(tmp_path, *flags)
    (folder / "broken.jpg").write_bytes(b"not an image")
    manifest = folder / "manifest.csv"
    manifest.write_text("case_id,label\nc0,red\n")
    assert "column 'image_path' is missing" in refusal(tmp_path, *flags)
    manifest.write_text("case_id,image_path\nc0,nowhere.jpg\n")
    assert "row 2: image_path 'nowhere.jpg' cannot be found" in refusal(tmp_path, *flags)
    manifest.write_text("case_id,image_path,split\nc0,broken.jpg,train\n")
    assert "row 2: image 'broken.jpg' cannot be used: not an image" in refusal(tmp_path, *flags)
