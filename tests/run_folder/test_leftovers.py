"""Temporary files: of one process alone, and removed by the next run when theirs is dead."""

import os
import subprocess
import sys
import time

import pytest

from helpers import ROOT
from simclr_med.run_folder import files, leftovers

WRITER = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})
from simclr_med.run_folder import files, leftovers
with files.writing(sys.argv[1]) as path:
    open(path, "w").write("half")
    print(path, flush=True)
    sys.stdin.read()
"""


def age(path, hours):
    then = time.time() - 3600 * hours
    os.utime(path, (then, then))


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.slow
def test_what_a_killed_process_left_goes_and_what_a_live_one_writes_stays(tmp_path):
    target = str(tmp_path / "report.html")
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, target], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    path = process.stdout.readline().decode().strip()
    age(path, 1000)
    assert leftovers.remove(str(tmp_path)) == [] and os.path.exists(path)
    process.kill()
    process.wait()
    assert leftovers.remove(str(tmp_path)) == [os.path.basename(path)]
    assert os.listdir(tmp_path) == []


def test_of_this_machine_the_process_decides_of_others_a_day(tmp_path, monkeypatch):
    own = leftovers.temporary(str(tmp_path / "a.json"))
    assert os.path.basename(own).endswith(f"-{os.getpid()}-a.json")
    monkeypatch.setattr(os, "getpid", dead_process)
    dead = leftovers.temporary(str(tmp_path / "b.png"))
    machine = leftovers._machine()
    monkeypatch.setattr(leftovers, "_machine", lambda: "0123abcd")
    other, others_old = (leftovers.temporary(str(tmp_path / name)) for name in ("c.npz", "d.npz"))
    monkeypatch.setattr(leftovers, "_machine", lambda: machine)
    for path in (own, dead, other, others_old):
        open(path, "w").close()
    age(own, 1000)
    age(other, 23)
    age(others_old, 25)
    gone = {os.path.basename(path) for path in (dead, others_old)}
    assert set(leftovers.remove(str(tmp_path))) == gone
    assert set(os.listdir(tmp_path)) == {os.path.basename(path) for path in (own, other)}


def test_folders_and_what_older_versions_left(tmp_path, monkeypatch):
    """By the newest file in them: the folder of a SavedModel that is written has an old time itself."""
    monkeypatch.setattr(os, "getpid", dead_process)
    saved = tmp_path / "saved_model"
    dead = saved / os.path.basename(leftovers.temporary(str(saved / "30")))
    old, fresh = saved / "unfinished-12", saved / "unfinished-13"
    for folder in (dead, old, fresh):
        (folder / "variables").mkdir(parents=True)
        (folder / "variables" / "a").write_text("x")
    names = ("result.json.tmp12", "checkpoint.tmp7", "report.html.tmp1", "curves.png.tmp")
    names += ("unfinished-99-embedding.png", "unfinished-1-embeddings_test.npz")
    for name in names:
        (tmp_path / name).write_text("half")
        age(tmp_path / name, 30)
    for path in (old, old / "variables", old / "variables" / "a", fresh):
        age(path, 30)
    assert sorted(leftovers.remove(str(tmp_path))) == sorted(names)
    assert set(leftovers.remove(str(saved))) == {dead.name, old.name}
    assert os.listdir(tmp_path) == ["saved_model"] and os.listdir(saved) == ["unfinished-13"]


@pytest.mark.parametrize(
    "name",
    [
        *("result.json", "notes.tmp", "a.png", "unfinished-report.docx", "unfinished-12-notes.txt"),
        *("unfinished-ckpt-3.index", ".lock", "my.json.tmp.bak", "thesis unfinished-1"),
        *("scan.png.tmp", "patients.csv.tmp1", "unfinished-12", "unfinished-3-scan.png"),
    ],
)
def test_nothing_of_a_users_goes(tmp_path, name):
    (tmp_path / name).write_text("mine")
    age(tmp_path / name, 10**4)
    assert leftovers.remove(str(tmp_path)) == [] and os.listdir(tmp_path) == [name]


def test_where_there_is_nothing_nothing_is_removed(tmp_path):
    assert leftovers.remove(str(tmp_path / "none")) == []


def test_two_processes_write_two_files(tmp_path, monkeypatch):
    """Two containers may have one host's name and one process number: their spaces of numbers differ."""
    path = str(tmp_path / "a")
    one = leftovers.temporary(path)
    stat = os.stat
    leftovers._machine.cache_clear()
    monkeypatch.setattr(
        os,
        "stat",
        lambda p, **k: type("S", (), {"st_ino": 7}) if "ns/pid" in str(p) else stat(p, **k),
    )
    assert leftovers.temporary(path) != one
    leftovers._machine.cache_clear()


def test_after_an_error_nothing_is_left(tmp_path, monkeypatch):
    def full(path, data):
        with open(path, "wb") as file:
            file.write(data[:3])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.gfile, "write", full)
    with pytest.raises(OSError, match="No space"):
        files.write_atomically(str(tmp_path / "a.json"), "long")
    assert os.listdir(tmp_path) == []
