"""Processes that share an experiment: none makes what another is making, and the runs of a dead one are
taken over."""

import subprocess
import sys
import threading

from simclr_med import run_folder
from simclr_med.experiments import turns

NAMES = ("a", "b", "c")


def folders(root):
    return {name: str(root / name) for name in NAMES}


def test_what_another_holds_comes_last_and_waits_for_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(turns, "_SECONDS_TO_WAIT", 0.05)
    claim = run_folder.claimed(str(tmp_path / "b"))
    assert not run_folder.is_claimed(str(tmp_path / "b"))  # not even a folder
    assert claim.__enter__()
    assert run_folder.is_claimed(str(tmp_path / "b")) and not run_folder.is_training(
        str(tmp_path / "b")
    )
    seen = []
    for name, left in turns.take(folders(tmp_path)):
        seen.append((name, left))
        with run_folder.claimed(str(tmp_path / name)) as second:
            assert not second  # it is held while it is made
        if name == "c":
            threading.Timer(0.5, claim.__exit__, (None, None, None)).start()
    assert seen == [("a", 3), ("c", 2), ("b", 1)]
    assert capsys.readouterr().out.count("Waiting for 1 run of other processes, such as b.") == 1


def test_a_run_waits_for_the_one_it_goes_on_from(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "_SECONDS_TO_WAIT", 0.05)
    claim = run_folder.claimed(str(tmp_path / "a"))
    claim.__enter__()
    seen = []
    for name, _ in turns.take(folders(tmp_path), {"b": "a"}):
        seen.append(name)
        if name == "c":
            threading.Timer(0.3, claim.__exit__, (None, None, None)).start()
    assert seen == ["c", "a", "b"]


def test_the_runs_of_a_killed_process_are_taken_over(tmp_path, monkeypatch):
    monkeypatch.setattr(turns, "_SECONDS_TO_WAIT", 0.05)
    code = (
        "import sys, time\nfrom simclr_med import run_folder\n"
        "with run_folder.claimed(sys.argv[1]) as mine:\n"
        "    print(mine, flush=True)\n    time.sleep(600)\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "True\n"
        seen = []
        for name, _ in turns.take(folders(tmp_path)):
            seen.append(name)
            if name == "c":
                other.kill()
        assert seen == ["b", "c", "a"]
