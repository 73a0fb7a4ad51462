"""Two evaluations of one run at the same time: both end well, and the files are of one of them."""

import csv
import json
import shutil

import pytest

from helpers import ROOT
from helpers.processes import environments, finish, start

pytestmark = [pytest.mark.slow, pytest.mark.one_stack]


@pytest.mark.parametrize("names", [("", ""), ("", "other")])
def test_both_end_well_and_the_files_are_of_one(tiny_tuned, tmp_path, names):
    """Of different splits, so that a mixture would show."""
    folder = tmp_path / "run"
    shutil.copytree(tiny_tuned, folder)
    script = ROOT / "tests" / "helpers" / "training_worker.py"
    processes = []
    for number, (name, split) in enumerate(zip(names, ("validation", "all"))):
        flags = ["--mode=eval", f"--model_dir={folder}", f"--eval_split={split}"]
        flags += ["--allow_patient_overlap", "--keep_hub_module_max=0"]
        flags += [f"--eval_name={name}"] if name else []
        log = tmp_path / f"log{number}"
        processes.append(start([script, *flags], environments(1)[0], log, tmp_path))
    codes = finish(processes, timeout=240)
    logs = "\n".join((tmp_path / f"log{number}").read_text() for number in (0, 1))
    assert codes == [0, 0], logs
    for name in set(names):
        suffix = f"_{name}" if name else ""
        result = json.loads((folder / f"result{suffix}.json").read_text())
        with open(folder / f"predictions{suffix}.csv", newline="") as file:
            rows = list(csv.DictReader(file))
        assert len(rows) == result["evaluated"]["cases"] and result["not_drawn"] == {}
        page = (folder / f"report{suffix}.html").read_text()
        assert f"Split “{result['eval_split']}”" in page
    assert not [path.name for path in folder.iterdir() if "unfinished" in path.name]
