"""tf.io.gfile for files of runs: after a transient fault of the storage an operation is tried again.

The names are those of tf.io.gfile. In place of GFile there are whole operations (read, pieces, write,
append), because a half-read or half-written file cannot be repeated.
"""

from __future__ import annotations

from collections.abc import Iterator

import tensorflow as tf

from simclr_med.transient import is_transient, retried


def exists(path: str) -> bool:
    """Returns whether there is a file or folder."""
    return retried(lambda: tf.io.gfile.exists(path), f"Looking for {path}")


def isdir(path: str) -> bool:
    """Returns whether there is a folder."""
    return retried(lambda: tf.io.gfile.isdir(path), f"Looking for {path}")


def listdir(path: str) -> list[str]:
    """Returns the names in a folder; of remote ones folders end in a slash."""
    return retried(lambda: tf.io.gfile.listdir(path), f"Listing {path}")


def walk(path: str, topdown: bool = True) -> list[tuple[str, list[str], list[str]]]:
    """Returns (folder, folders in it, files in it) of a folder and all below it.

    Args:
      path: of the folder.
      topdown: a folder comes before (True) or after what is in it.
    """
    return retried(lambda: list(tf.io.gfile.walk(path, topdown)), f"Listing {path}")


def stat(path: str):
    """Returns a file's `length` and `mtime_nsec`."""
    return retried(lambda: tf.io.gfile.stat(path), f"Looking at {path}")


def makedirs(path: str) -> None:
    """Makes a folder, and those above it; it may be there."""
    retried(lambda: tf.io.gfile.makedirs(path), f"Making {path}")


def copy(source: str, path: str, overwrite: bool = False) -> None:
    """Copies a file."""
    attempts = _Attempts()
    retried(
        lambda: tf.io.gfile.copy(source, path, overwrite=overwrite or attempts.again()),
        f"Copying {source} to {path}",
    )


def rename(source: str, path: str, overwrite: bool = False) -> None:
    """Renames a file or folder."""
    attempts = _Attempts()

    def act():
        again = attempts.again()
        try:
            tf.io.gfile.rename(source, path, overwrite=overwrite)
        except tf.errors.NotFoundError:  # done by an attempt whose answer was lost
            if not (again and tf.io.gfile.exists(path)):
                raise

    retried(act, f"Renaming {source} to {path}")


def remove(path: str) -> None:
    """Removes a file."""
    _remove(tf.io.gfile.remove, path)


def rmtree(path: str) -> None:
    """Removes a folder with all in it."""
    _remove(tf.io.gfile.rmtree, path)


def read(path: str, size: int = -1) -> bytes:
    """Returns the bytes of a file, or its first `size`.

    Raises:
      tf.errors.NotFoundError: there is none.
    """

    def act():
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read(size) if size >= 0 else file.read()

    return retried(act, f"Reading {path}")


def pieces(path: str, size: int = 1 << 20) -> Iterator[bytes]:
    """Yields the bytes of a file, `size` at a time."""
    done = 0
    file: tf.io.gfile.GFile | None = None

    def act():
        nonlocal file
        try:
            if file is None:
                file = tf.io.gfile.GFile(path, "rb")
                if done:
                    file.seek(done)
            return file.read(size)
        except Exception as error:
            if is_transient(error):  # the next attempt opens it again
                file = None
            raise

    try:
        while piece := retried(act, f"Reading {path}"):
            done += len(piece)
            yield piece
    finally:
        if file is not None:
            file.close()


def write(path: str, data: bytes) -> None:
    """Writes a file, in place of what was there."""

    def act():
        with tf.io.gfile.GFile(path, "wb") as file:
            file.write(data)

    retried(act, f"Writing {path}")


def append(path: str, text: str) -> None:
    """Appends a text exactly once, also after errors; no other process may write the file meanwhile."""
    attempts, data = _Attempts(), text.encode("utf-8")
    before = stat(path).length if exists(path) else 0

    def act():
        if attempts.again() and exists(
            path
        ):  # an attempt before may have done all of it, or a part
            content = read(path)
            if len(content) < before + len(data):
                write(path, content[:before] + data)
            return
        with tf.io.gfile.GFile(path, "ab") as file:
            file.write(data)

    retried(act, f"Writing {path}")


class _Attempts:
    """Tells the first attempt from those after it."""

    def __init__(self):
        self._number = 0

    def again(self) -> bool:
        """Returns whether this was called before."""
        self._number += 1
        return self._number > 1


def _remove(function, path: str) -> None:
    attempts = _Attempts()

    def act():
        again = attempts.again()
        try:
            function(path)
        except tf.errors.NotFoundError:
            if not again:
                raise

    retried(act, f"Removing {path}")
