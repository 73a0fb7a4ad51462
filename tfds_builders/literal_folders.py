"""Prepared data below a folder with [ ] * or ? in its name.

TFDS looks for its files by `folder.glob("*.json")`, and etils (1.9 to 1.15) reads the folder as part of
the pattern: in /data/[2024]/ a dataset was never found prepared, and built again by every command.
"""

import functools
import glob
import os

from etils.epath import gpath

_MAGIC = frozenset("[]*?")


def mend() -> None:
    """Makes etils treat folder names literally; does nothing the second time."""
    owner = next((c for c in gpath.PosixGPath.__mro__ if "glob" in vars(c)), None)
    if owner is None or hasattr(owner.glob, "__wrapped__"):
        return
    original_glob = owner.glob

    @functools.wraps(original_glob)
    def glob_literally(self, pattern, *args, **kwargs):
        folder = os.fspath(self)
        if not _MAGIC & set(folder) or os.path.isabs(pattern):
            yield from original_glob(self, pattern, *args, **kwargs)
            return
        yield from original_glob(type(self)(glob.escape(folder)), pattern, *args, **kwargs)

    owner.glob = glob_literally
