"""Every operation on files of a run survives faults that pass, and is done once."""

import hashlib
import os

import pytest
import tensorflow as tf

from simclr_med import run_folder, transient
from simclr_med.errors import StorageUnavailable
from simclr_med.run_folder import files, gfile

UNAVAILABLE = tf.errors.UnavailableError(None, None, "HTTP response code 503")
NAMES = ("exists", "isdir", "listdir", "walk", "stat", "makedirs", "copy", "rename", "remove")
NAMES += ("rmtree", "GFile")


class Storage:
    """Faults to come: `left` of them; `when` "before" an operation is done or "after", answer lost."""

    left, when, faults = 0, "before", 0

    def of(self, function):
        def act(*args, **kwargs):
            if self.left and self.when == "before":
                self._fail()
            result = function(*args, **kwargs)
            if self.left and self.when == "after":
                self._fail()
            return result

        return act

    def _fail(self):
        self.left -= 1
        self.faults += 1
        raise UNAVAILABLE


class File(tf.io.gfile.GFile):
    """Fails to read, and to close what was written, as remote ones do."""

    storage = None

    def read(self, n=-1):
        return self.storage.of(super().read)(n)

    def close(self):
        written = "r" not in self.mode
        return self.storage.of(super().close)() if written else super().close()

    def __exit__(self, *error):
        self.close()


@pytest.fixture
def storage(monkeypatch):
    faulty = File.storage = Storage()
    monkeypatch.setattr(transient.time, "sleep", lambda seconds: None)
    for name in NAMES[:-1]:
        monkeypatch.setattr(tf.io.gfile, name, faulty.of(getattr(tf.io.gfile, name)))
    monkeypatch.setattr(tf.io.gfile, "GFile", File)
    return faulty


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("left", [1, 3])
def test_each_operation_is_done_once(tmp_path, storage, when, left):
    storage.when = when

    def faulty(action, *args, **kwargs):
        storage.left = left
        result = action(*args, **kwargs)
        assert storage.left < left
        storage.left = 0
        return result

    folder, path, other = str(tmp_path / "run"), str(tmp_path / "run/a"), str(tmp_path / "run/b")
    faulty(gfile.makedirs, folder)
    faulty(gfile.write, path, b"12345")
    for part in ("6", "7\n", "7\n", "89"):  # a part that ends as the file does is not lost
        faulty(gfile.append, path, part)
    assert faulty(gfile.read, path) == b"1234567\n7\n89" and faulty(gfile.read, path, 4) == b"1234"
    assert b"".join(faulty(list, gfile.pieces(path, 5))) == b"1234567\n7\n89"
    assert faulty(gfile.exists, path) and faulty(gfile.isdir, folder)
    assert faulty(gfile.listdir, folder) == ["a"] and faulty(gfile.stat, path).length == 12
    assert faulty(gfile.walk, folder) == [(folder, [], ["a"])]
    faulty(gfile.copy, path, other)
    faulty(gfile.rename, path, other, overwrite=True)
    assert os.listdir(folder) == ["b"]
    faulty(gfile.remove, other)
    faulty(gfile.rmtree, folder)
    assert not os.path.exists(folder)


def test_what_is_not_there_is_not_made_up(tmp_path, storage):
    for action in (gfile.remove, gfile.rmtree, gfile.read, gfile.listdir, gfile.stat):
        for left in (0, 1):
            storage.left, storage.when = left, "before"
            if (action, left) in ((gfile.remove, 1), (gfile.rmtree, 1)):
                continue  # an attempt before may have removed it
            with pytest.raises(tf.errors.NotFoundError):
                action(str(tmp_path / "none"))
    with pytest.raises(tf.errors.NotFoundError):
        gfile.rename(str(tmp_path / "none"), str(tmp_path / "new"))


def test_a_file_is_read_on_from_where_it_broke_off(tmp_path, storage):
    path = tmp_path / "big"
    path.write_bytes(os.urandom(1000))
    pieces = []
    for number, piece in enumerate(gfile.pieces(str(path), 64)):
        pieces.append(piece)
        storage.left = number % 3
    assert b"".join(pieces) == path.read_bytes() and storage.faults >= 15


def test_json_and_metrics_survive_and_nothing_temporary_stays(tmp_path, storage):
    for when in ("before", "after"):
        storage.when, storage.left = when, 4
        run_folder.write_json(str(tmp_path / "a.json"), {"x": 1})
        storage.left = 2
        assert run_folder.read_json(str(tmp_path / "a.json")) == {"x": 1}
        digest = hashlib.sha256()
        storage.left = 2
        files.update_digest(digest, str(tmp_path / "a.json"))
        assert digest.digest() == hashlib.sha256((tmp_path / "a.json").read_bytes()).digest()
    storage.left = 10**6
    with pytest.raises(StorageUnavailable, match=r"Writing .*a.json failed 6 times"):
        run_folder.write_json(str(tmp_path / "a.json"), {"x": 2})
    storage.left = 0
    assert run_folder.read_json(str(tmp_path / "a.json")) == {"x": 1}
