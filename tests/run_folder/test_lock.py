"""The lock of a run's folder."""

import errno
import os
import subprocess
import sys
import threading
import time

import filelock
import pytest

from simclr_med import run_folder
from simclr_med.errors import UserError


def test_a_folder_is_of_one_process_and_others_see_it_train(tmp_path):
    folder = str(tmp_path / "run")
    assert not run_folder.is_training(folder)
    with run_folder.locked(folder):
        assert run_folder.is_training(folder)
        with pytest.raises(UserError, match="is in use by another run"), run_folder.locked(folder):
            pass
    assert not run_folder.is_training(folder)


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF])
def test_a_file_system_without_locks_is_used_as_a_remote_folder_is(
    tmp_path, monkeypatch, capsys, code
):
    def has_none(descriptor, blocking):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(filelock, "lock_descriptor", has_none)
    with run_folder.locked(str(tmp_path)):
        assert "has no locks" in capsys.readouterr().out
        assert not run_folder.is_training(str(tmp_path))


def test_another_failure_of_the_lock_is_none_of_these(tmp_path, monkeypatch):
    def fails(descriptor, blocking):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(filelock, "lock_descriptor", fails)
    with pytest.raises(OSError, match="Input/output"), run_folder.locked(str(tmp_path)):
        pass


def test_whoever_looks_needs_no_right_to_write_and_hides_nothing(tmp_path):
    """Two looks at the same time, of one who may only read, take each other for no run."""
    with run_folder.locked(str(tmp_path)):
        pass
    lock = tmp_path / ".lock"
    lock.chmod(0o444)
    with open(lock) as other:
        threading.Timer(0.05, other.close).start()
        assert filelock.lock_descriptor(other.fileno(), blocking=False)
        assert not run_folder.is_training(str(tmp_path))


HOLDER = """
import sys, filelock
with open(sys.argv[1], "a+") as file:
    filelock.lock_descriptor(file.fileno())
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def other_evaluation(tmp_path):
    """Another process, which writes the results of the run in `tmp_path`."""
    path = str(tmp_path / ".lock_results")
    pipe = subprocess.PIPE
    process = subprocess.Popen([sys.executable, "-c", HOLDER, path], stdin=pipe, stdout=pipe)
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("ends", ["kill", "done"])
def test_results_wait_for_those_of_another_evaluation_however_it_ends(
    tmp_path, other_evaluation, capsys, ends
):
    end = other_evaluation.kill if ends == "kill" else other_evaluation.stdin.close
    begun = time.monotonic()
    threading.Timer(0.5, end).start()
    with run_folder.results_locked(str(tmp_path)):
        assert time.monotonic() - begun >= 0.5
        assert not run_folder.is_training(str(tmp_path))
    assert capsys.readouterr().out.count("Another evaluation writes its results to") == 1


def test_results_and_training_do_not_wait_for_each_other(tmp_path, capsys):
    with run_folder.locked(str(tmp_path)), run_folder.results_locked(str(tmp_path)):
        pass
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.ENOLCK])
def test_results_are_written_where_there_are_no_locks(tmp_path, monkeypatch, code):
    def has_none(descriptor, blocking):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(filelock, "lock_descriptor", has_none)
    with run_folder.results_locked(str(tmp_path)):
        run_folder.write_json(str(tmp_path / "a.json"), {})
    with run_folder.results_locked("ram://bucket/run"):
        pass


def test_results_in_a_folder_of_a_group_whose_lock_another_user_made(tmp_path, monkeypatch):
    """As root has every right, the refusal is played."""
    (tmp_path / ".lock_results").write_text("")

    def only_to_read(path, mode="r"):
        if mode != "r":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return open(path)

    monkeypatch.setattr("simclr_med.run_folder.folder.open", only_to_read, raising=False)
    with run_folder.results_locked(str(tmp_path)), open(tmp_path / ".lock_results") as other:
        assert not filelock.lock_descriptor(other.fileno(), blocking=False)
