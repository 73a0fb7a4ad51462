"""The one place where TensorFlow opens a checkpoint by its prefix.

TensorFlow treats the prefix as a pattern (restore_v2_op.cc and checkpoint_reader.cc:
GetMatchingPaths), so that one with [ ] or \\ in its path is "not found". Such a checkpoint is read
through links of plain names.
"""

from __future__ import annotations

import atexit
import itertools
import os
import re
import shutil
import tempfile
from typing import Any

import tensorflow as tf

from simclr_med.errors import UserError
from simclr_med.run_folder import files, gfile
from simclr_med.transient import retried

_PATTERN = re.compile(r"[\[\]*?\\]" if os.sep == "/" else r"[\[\]*?]")
_links: list[str] = []  # the folder of this process's links, made when it is first needed
_numbers = itertools.count()


def is_pattern(path: str) -> bool:
    """Returns whether TensorFlow would read a path as a pattern."""
    return bool(_PATTERN.search(path))


def open_reader(prefix: str) -> Any:
    """Returns TensorFlow's reader of a checkpoint, of either format."""
    plain = plain_prefix(prefix)
    return retried(
        lambda: tf.compat.v1.train.NewCheckpointReader(plain), f"Reading checkpoint {prefix}"
    )


def restore(checkpoint: tf.train.Checkpoint, prefix: str) -> Any:
    """Returns the status of `checkpoint.restore(prefix)`, for any prefix.

    Args:
      checkpoint: of the objects to restore.
      prefix: of the files; may contain characters that TensorFlow would take for a pattern.
    """
    plain = plain_prefix(prefix)
    return retried(lambda: checkpoint.restore(plain), f"Reading checkpoint {prefix}")


def plain_prefix(prefix: str) -> str:
    """Returns a prefix at which TensorFlow finds the files of a checkpoint: itself, or of links to them.

    The links stay until this process ends, because weights are read when they are needed. Files of
    a remote folder, and of a system that lets nobody make links, are copied in their place.
    """
    if not is_pattern(prefix):
        return prefix
    folder, name = os.path.split(prefix)
    linked = os.path.join(_folder_of_links(), str(next(_numbers)))
    os.makedirs(linked)
    for file in files.names(folder):
        if file == name or file.startswith(f"{name}."):
            source, link = os.path.join(folder, file), f"checkpoint{file.removeprefix(name)}"
            _link(source, os.path.join(linked, link))
    return os.path.join(linked, "checkpoint")


def _link(source: str, link: str) -> None:
    if not files.is_remote(source):
        try:
            os.symlink(os.path.abspath(source), link)
            return
        except OSError:  # Windows, without the right to
            pass
    gfile.copy(source, link)


def _folder_of_links() -> str:
    if _links and os.path.isdir(_links[0]):
        return _links[0]
    for folder in (tempfile.gettempdir(), "/tmp", "/var/tmp", os.path.expanduser("~")):
        if os.path.isdir(folder) and os.access(folder, os.W_OK) and not is_pattern(folder):
            _links[:] = [tempfile.mkdtemp(prefix="simclr_med_links", dir=folder)]
            atexit.register(shutil.rmtree, _links[0], ignore_errors=True)
            return _links[0]
    raise UserError(
        "TensorFlow cannot read a checkpoint in a folder with [ ] or \\ in its name, and no folder "
        "for links to it was found: set TMPDIR to a writable one without these characters in its name."
    )
