"""Temporary files of a run's folder: named after their process, removed once that is dead.

A name says machine and process, so that two processes never write the same file, whatever machines
share the folder. On the same machine the process can be looked up; on another one it cannot, so
that its files are taken for left over when they have not changed for a day: each is written in minutes.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import socket
import time

import tensorflow as tf

from simclr_med.run_folder import gfile

_DAY = 24 * 3600.0  # seconds
_NAMED = re.compile(r"unfinished-([0-9a-f]{8})-(\d+)-.+", re.DOTALL)
# Of versions before the names said the machine: what they wrote, and nothing that is called alike.
_TEXTS = (
    r"(?:config|flags|data|selection|experiment|initial_weights|best|compare|study|label_efficiency"
    r"|simclr_med|ckpt-\d+|result.*)\.json|metrics\.jsonl|checkpoint|report.*\.html"
    r"|(?:predictions.*|compare|sweep|label_efficiency)\.csv|(?:README|sweep|study|label_efficiency)\.md"
)
_OTHERS = (
    r"(?:embedding.*|curves|views|sweep|label_efficiency|figure\d_\w+)\.png|embeddings_.*\.(?:parquet|npz)"
    r"|encoder\.keras|encoder\.weights\.h5|model\.onnx"
)
_OLDER = re.compile(rf"(?:{_TEXTS})\.tmp\d+|(?:{_OTHERS})\.tmp|unfinished-\d+-(?:{_OTHERS})")
_OLDER_FOLDER = re.compile(r"unfinished-\d+")  # in saved_model/


def temporary(path: str) -> str:
    """Returns a path beside `path` that no other process writes; the name keeps its ending."""
    folder, name = os.path.split(path)
    return os.path.join(folder, f"unfinished-{_machine()}-{os.getpid()}-{name}")


def remove(folder: str) -> list[str]:
    """Removes from a folder what dead processes left half-written; returns the names.

    What cannot be removed stays: it does no harm.
    """
    try:
        names = [name.rstrip("/") for name in gfile.listdir(folder)]
    except tf.errors.NotFoundError:
        return []
    removed = []
    for name in sorted(names):
        named, path = _NAMED.fullmatch(name), os.path.join(folder, name)
        older = _OLDER
        if os.path.basename(folder.rstrip("/")) == "saved_model":
            older = _OLDER_FOLDER
        if not named and not older.fullmatch(name):
            continue
        try:
            if _is_dead(named, path):
                (gfile.rmtree if gfile.isdir(path) else gfile.remove)(path)
                removed.append(name)
        except tf.errors.OpError:
            continue  # just removed by another, or not removable
    return removed


def _is_dead(named: re.Match | None, path: str) -> bool:
    """Returns whether the process that wrote a temporary file or folder has ended."""
    if named and named[1] == _machine() and os.name == "posix":
        return not _is_alive(int(named[2]))
    changed = _changed(path)
    return changed > 0 and time.time() - changed > _DAY


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def _changed(path: str) -> float:
    """Returns when a file, or the newest file of a folder, was changed, seconds; 0 if unknown."""
    paths = [path]
    if gfile.isdir(path):
        paths = [
            os.path.join(folder, name) for folder, _, names in gfile.walk(path) for name in names
        ]
    return max((gfile.stat(file).mtime_nsec / 1e9 for file in paths), default=0.0)


@functools.cache
def _machine() -> str:
    """Returns eight digits for where process ids are those of this process: host and container."""
    parts: list = [socket.gethostname()]
    try:  # Linux: two hosts may have one name, and so may two containers of a host
        with open("/proc/sys/kernel/random/boot_id") as file:
            parts += [file.read(), os.stat("/proc/self/ns/pid").st_ino]
    except OSError:
        pass
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:8]
