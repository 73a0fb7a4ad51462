"""Commands where Python has no `fcntl` (Windows) and no `os.sched_getaffinity` (macOS, Windows)."""

import os
import re
import subprocess
import sys

import pytest

from helpers import ROOT
from helpers.folders import draw_cases

# Python runs it before anything else is imported.
SITECUSTOMIZE = """
import os, sys
sys.modules["fcntl"] = None
del os.sched_getaffinity
"""
SCRIPT = """
import os, signal, sys
from simclr_med.commands.main import main
from simclr_med.models import resnet
from simclr_med.run_folder import RunLog

resnet.BLOCKS_PER_GROUP[18] = (1,)
show, steps = RunLog.show, []

def stop_at_the_first(self, step, metrics):
    show(self, step, metrics)
    steps.append(step)
    if len(steps) == 1:
        os.kill(os.getpid(), signal.SIGTERM)

RunLog.show = stop_at_the_first
for mode in ("build", "train", "train", "eval"):
    print("EXIT", mode, main(["run.py", f"--mode={mode}", *sys.argv[1:]]))
print("STEPS", steps, sys.modules["fcntl"], hasattr(os, "sched_getaffinity"))
"""
FLAGS = (
    *("--dataset=derm_bags", "--resnet_depth=18", "--image_size=32", "--train_batch_size=4"),
    *("--train_steps=2", "--warmup_epochs=0", "--eval_batch_size=4", "--eval_split=validation"),
    *("--proj_out_dim=8", "--keep_hub_module_max=0"),
)


@pytest.mark.slow
@pytest.mark.one_stack
def test_build_train_stop_resume_and_evaluate_without_fcntl_and_sched_getaffinity(tmp_path):
    draw_cases(tmp_path / "photos", {"train": 6, "validation": 4})
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SITECUSTOMIZE)
    folders = [
        f"--{n}_dir={tmp_path / d}"
        for n, d in (("manual", "photos"), ("data", "tfds"), ("model", "run"))
    ]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *FLAGS, *folders],
        env={**os.environ, "PYTHONPATH": f"{tmp_path / 'site'}{os.pathsep}{ROOT}"},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    log = done.stdout
    assert done.returncode == 0 and "Traceback" not in log, log
    codes = re.findall(r"^EXIT (\w+) (\d+)$", log, re.MULTILINE)
    assert codes == [("build", "0"), ("train", "143"), ("train", "0"), ("eval", "0")], log
    assert "STEPS [1, 2] None False" in log, log  # nothing was trained twice, nothing was back
    assert "Resuming at step 1 of 2" in log
    assert log.count("has no locks, so a second run") == 2, log
    assert (tmp_path / "run" / "result.json").exists()
