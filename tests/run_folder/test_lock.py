"""The lock of a run's folder."""

import errno
import os
import threading

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
