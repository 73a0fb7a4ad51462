"""Files of a run, on a disk or remote (gs://BUCKET/RUN): read and written through `gfile`."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from typing import Any

import tensorflow as tf

from simclr_med.run_folder import gfile, leftovers

_UNKNOWN = (
    errno.EINVAL,
    errno.ENOSYS,
    errno.EOPNOTSUPP,
)  # of file systems without it; folders: SMB


def is_remote(path: str) -> bool:
    """Returns whether TensorFlow alone can open a path, as gs://BUCKET/RUN."""
    return "://" in path


def names(folder: str) -> list[str]:
    """Returns what is in a folder, sorted, folders in it without a slash; [] if there is none."""
    try:
        return sorted(name.rstrip("/") for name in gfile.listdir(folder))
    except tf.errors.NotFoundError:
        return []


def read_text(path: str) -> str:
    """Returns the content of a text file.

    Raises:
      tf.errors.NotFoundError: there is none.
    """
    return gfile.read(path).decode("utf-8")


def update_digest(digest: Any, path: str) -> None:
    """Feeds the bytes of a file to a hash, one piece at a time.

    Args:
      digest: of hashlib.
      path: of the file.
    """
    for piece in gfile.pieces(path):
        digest.update(piece)


def write_atomically(path: str, text: str) -> None:
    """Writes a text file so that a reader, or a crash, sees the old or the new one, never a part.

    Once it returns, a power failure undoes neither this nor what was renamed in that folder before.
    After an error nothing is left; what a killed process leaves, `leftovers.remove` removes.
    """
    temporary = leftovers.temporary(path)
    try:
        gfile.write(temporary, text.encode("utf-8"))
        sync(temporary)
        gfile.rename(temporary, path, overwrite=True)
    except Exception:
        with contextlib.suppress(tf.errors.OpError):
            tf.io.gfile.remove(temporary)  # a single attempt: its error is reported
        raise
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
    """Yields a local path to write a file to, which is then moved to `path`.

    For what libraries write that know no remote paths: pictures, arrays, tables. The file's name
    keeps its ending. After an error nothing is left.
    """
    temporary = leftovers.temporary(path)
    if is_remote(path):
        with tempfile.TemporaryDirectory() as folder:
            local = os.path.join(folder, os.path.basename(path))
            yield local
            gfile.copy(local, temporary, overwrite=True)
        gfile.rename(temporary, path, overwrite=True)
        return
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.remove(temporary)


def replace_folder(new: str, path: str) -> None:
    """Moves a folder to another path, in place of what was there; a remote one file by file.

    Args:
      new: the folder to move.
      path: where it goes.
    """
    if gfile.exists(path):
        gfile.rmtree(path)
    if not is_remote(path):
        os.replace(new, path)
        return
    for folder, _, names in gfile.walk(new, topdown=False):  # a SavedModel's .pb after the rest
        there = path + folder.rstrip("/").removeprefix(new)
        gfile.makedirs(there)
        for name in names:
            gfile.rename(f"{folder.rstrip('/')}/{name}", f"{there}/{name}")
    gfile.rmtree(new)
