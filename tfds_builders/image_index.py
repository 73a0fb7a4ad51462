"""Which files lie in the user's folder: each directory is read once, whatever a table claims.

A path from a table is only ever a key looked up among these files, so it cannot lead elsewhere.
"""

import os
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from tfds_builders.errors import DataError


def index_files(folder: str, tops: Sequence[str], suffixes: tuple[str, ...]) -> pd.DataFrame:
    """Returns the files below `tops`: columns path, size (bytes) and mtime (ns), sorted by path.

    Args:
      folder: real path of the user's folder; `path` is relative to it, with "/".
      tops: folders inside it, relative ("" is the folder itself); one that is absent has no files.
      suffixes: in lower case, with the dot; other files are passed over.

    Raises:
      DataError: a link leads out of `folder`, or a directory cannot be read.
    """
    files = [file for top in tops for file in _files(folder, top, suffixes)]
    files.sort()
    paths, sizes, times = zip(*files) if files else ((), (), ())
    return pd.DataFrame(
        {
            "path": pd.Series(paths, dtype=object),
            "size": np.array(sizes, np.int64),
            "mtime": np.array(times, np.int64),
        }
    )


def _files(folder: str, top: str, suffixes: tuple[str, ...]) -> Iterator[tuple[str, int, int]]:
    """Yields (path, size, mtime) below folder/top; links to directories inside are not followed."""
    waiting = [top] if os.path.isdir(os.path.join(folder, top)) else []
    while waiting:
        directory = waiting.pop()
        prefix = f"{directory}/" if directory else ""
        for entry in _entries(os.path.join(folder, directory)):
            if entry.is_symlink():
                _check_link(folder, entry.path)
            if entry.is_dir(follow_symlinks=False):
                waiting.append(prefix + entry.name)
            elif entry.name.lower().endswith(suffixes) and entry.is_file():
                info = entry.stat()
                yield prefix + entry.name, info.st_size, info.st_mtime_ns


def _entries(directory: str) -> list[os.DirEntry]:
    try:
        with os.scandir(directory) as entries:
            return list(entries)
    except OSError as error:
        raise DataError(
            f"{directory} cannot be read ({error.strerror}): correct its permissions."
        ) from error


def _check_link(folder: str, path: str) -> None:
    real = os.path.realpath(path)
    if os.path.commonpath([real, folder]) != folder:
        raise DataError(f"{path} is a link that leads out of {folder}: put the files into it.")
