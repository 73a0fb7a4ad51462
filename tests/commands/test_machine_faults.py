"""What a machine refuses is one line that says what to do, whoever raises it; a bug stays a traceback."""

import errno
import os
import re

import pytest
import tensorflow as tf

from helpers.command_line import run
from simclr_med.commands import dataset

errors = tf.errors


def wrapped(cause):
    """As TFDS raises again what it met while it wrote a split."""
    try:
        raise RuntimeError(f"Failed to finalize writing: {cause}") from cause
    except RuntimeError as error:
        return error


def system(number, *path):
    return OSError(number, os.strerror(number), *path)


FAULTS = [
    (system(errno.ENOSPC), "The disk is full; what was already saved is kept"),
    (errors.ResourceExhaustedError(None, None, "/a; No space left on device"), "The disk is full"),
    (
        wrapped(errors.ResourceExhaustedError(None, None, "/a; No space left on device")),
        "disk is full",
    ),
    (OSError("Unable to write (errno = 28, error message = 'No space left on device')"), "is full"),
    (system(errno.EDQUOT), "Your quota on this disk is used up"),
    (errors.UnknownError(None, None, "/a; Disk quota exceeded"), "Your quota"),
    (system(errno.EROFS, "/a"), "/a'. It can only be read: give another --model_dir"),
    (
        errors.FailedPreconditionError(None, None, "/a; Read-only file system"),
        "It can only be read",
    ),
    (wrapped(system(errno.EROFS, "/a")), "It can only be read"),
    (system(errno.EACCES, "/a"), "No permission: .*'/a'. Choose another path"),
    (errors.PermissionDeniedError(None, None, "/a; Permission denied"), "No permission: /a; Perm"),
    (system(errno.EMFILE, "/a"), "ulimit -n"),
    (system(errno.ENAMETOOLONG, "/a"), "Give a shorter path or --eval_name"),
    (system(errno.ENOTDIR, "/a/b"), "A part of that path is a file"),
    (system(errno.EISDIR, "/a"), "That is a folder"),
    (system(errno.EIO, "/a"), "The disk, or the network to it, fails"),
]


@pytest.fixture
def command(monkeypatch, tmp_path):
    """A function that runs a command in which an error comes up."""

    def fails_with(error):
        def prepare(*args, **kwargs):
            raise error

        monkeypatch.setattr(dataset.preparation, "prepare", prepare)
        return run("--dataset=derm_bags", f"--manual_dir={tmp_path}", "--mode=build")

    return fails_with


@pytest.mark.parametrize("error, words", FAULTS, ids=lambda value: str(value)[:50])
def test_one_line(command, error, words):
    code, _, errors = command(error)
    assert code == 2 and len(errors.splitlines()) == 1 and re.search(words, errors), errors


@pytest.mark.parametrize(
    "bug",
    [
        KeyError("No such key"),
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/a"),
        ValueError("Is a directory"),
        RuntimeError("Permission denied"),
    ],
)
def test_a_bug_is_no_fault_of_the_machine(command, bug):
    with pytest.raises(type(bug)):
        command(bug)
