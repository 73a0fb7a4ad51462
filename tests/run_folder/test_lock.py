"""The lock of a run's folder."""

import errno
import os

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


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_a_file_system_without_locks_is_used_as_a_remote_folder_is(
    tmp_path, monkeypatch, capsys, code
):
    def has_none(file, kind):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(run_folder.fcntl, "flock", has_none)
    with run_folder.locked(str(tmp_path)):
        assert "has no locks" in capsys.readouterr().out
        assert not run_folder.is_training(str(tmp_path))


def test_another_failure_of_the_lock_is_none_of_these(tmp_path, monkeypatch):
    def fails(file, kind):
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(run_folder.fcntl, "flock", fails)
    with pytest.raises(OSError, match="Input/output"), run_folder.locked(str(tmp_path)):
        pass
