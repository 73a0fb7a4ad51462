"""Files of a run, on a disk or remote (gs://BUCKET/RUN): read and written through tf.io.gfile."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

_UNKNOWN = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)  # so a file system says it; folders: SMB


def is_remote(path: str) -> bool:
    """Returns whether TensorFlow alone can open a path, as gs://BUCKET/RUN."""
    return "://" in path


def names(folder: str) -> list[str]:
    """Returns what lies in a folder, sorted, folders in it without a slash; [] if there is none."""
    try:
        return sorted(name.rstrip("/") for name in tf.io.gfile.listdir(folder))
    except tf.errors.NotFoundError:
        return []


def read_text(path: str) -> str:
    """Returns the content of a text file.

    Raises:
      tf.errors.NotFoundError: there is none.
    """
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read().decode("utf-8")


def update_digest(digest: Any, path: str) -> None:
    """Feeds the bytes of a file to a hash of hashlib's, a piece at a time."""
    with tf.io.gfile.GFile(path, "rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)


def write_atomically(path: str, text: str) -> None:
    """Writes a text file so that a reader, or a crash, sees the old or the new one, never half.

    Once it returns, a power failure undoes neither this nor what was renamed in that folder before.
    """
    temporary = f"{path}.tmp{os.getpid()}"
    with tf.io.gfile.GFile(temporary, "wb") as file:
        file.write(text.encode("utf-8"))
    sync(temporary)
    tf.io.gfile.rename(temporary, path, overwrite=True)
    sync(os.path.dirname(path) or ".")


def sync(path: str) -> None:
    """Waits until a file's bytes, or the names in a folder, are on the disk itself.

    Of remote ones nothing is known here, nor where the file system has no such operation.
    """
    if is_remote(path):
        return
    try:
        descriptor = os.open(path, os.O_RDONLY if os.path.isdir(path) else os.O_RDWR)
    except PermissionError:
        if not os.path.isdir(path):
            raise
        return  # Windows opens no folders
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _UNKNOWN:
            raise
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def writing(path: str) -> Iterator[str]:
    """Gives a path on a local disk to write a file to, which comes to `path` whole, in the end.

    For what libraries write that know no remote paths: pictures, arrays, tables. The file's name
    keeps its ending. After an error nothing is left.
    """
    name = os.path.basename(path)
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, name)
            yield local
            tf.io.gfile.copy(local, f"{path}.tmp", overwrite=True)
        tf.io.gfile.rename(f"{path}.tmp", path, overwrite=True)
        return
    local = os.path.join(os.path.dirname(path), f"unfinished-{os.getpid()}-{name}")
    try:
        yield local
        os.replace(local, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(local)


def replace_folder(new: str, path: str) -> None:
    """Moves a folder to `path`, in place of what was there: of a remote one, file after file."""
    if tf.io.gfile.exists(path):
        tf.io.gfile.rmtree(path)
    if not is_remote(path):
        os.replace(new, path)
        return
    for at, _, names in tf.io.gfile.walk(new, topdown=False):  # a SavedModel's .pb after the rest
        there = path + at.rstrip("/").removeprefix(new)
        tf.io.gfile.makedirs(there)
        for name in names:
            tf.io.gfile.rename(f"{at.rstrip('/')}/{name}", f"{there}/{name}")
    tf.io.gfile.rmtree(new)
