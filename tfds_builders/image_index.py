"""Lists the image files in the user's folder; each directory is read once.

A path from a table is only a key that is looked up among these files, so it cannot lead elsewhere.
"""

import collections
import os
import stat
from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from tfds_builders.dicom import is_dicom
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot, is_inside

EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"),
    *(".dcm", ".dicom"),
)
_OF_A_MAC = "__MACOSX"  # what a Mac adds to an archive


def index_files(
    root: ImageRoot, tops: Sequence[str] = ("",), suffixes: tuple[str, ...] = EXTENSIONS
) -> pd.DataFrame:
    """Returns the files below `tops`: columns path, size (bytes) and mtime (ns), sorted by path.

    Args:
      root: the folder; `path` is relative to it, with "/".
      tops, suffixes: see `walk`.

    Raises:
      DataError: see `walk`.
    """
    files = []
    for path in walk(root, tops, suffixes):
        try:
            info = os.stat(os.path.join(root.folder, path))
        except FileNotFoundError:  # a link to nowhere: the image is missing
            continue
        if stat.S_ISREG(info.st_mode):
            files.append((path, info.st_size, info.st_mtime_ns))
    files.sort()
    paths, sizes, times = zip(*files) if files else ((), (), ())
    return pd.DataFrame(
        {
            "path": pd.Series(paths, dtype=object),
            "size": np.array(sizes, np.int64),
            "mtime": np.array(times, np.int64),
        }
    )


def walk(
    root: ImageRoot,
    tops: Sequence[str] = ("",),
    suffixes: tuple[str, ...] = EXTENSIONS,
    skipped: collections.Counter | None = None,
) -> Iterator[str]:
    """Yields the paths of files below `tops`, relative to the root, with "/"; in no particular order.

    Hidden files and folders, and a Mac's __MACOSX, are left out. Every directory is read once: a link to
    one that has been read, as in a cycle, adds nothing. (Two links to one folder outside are an error:
    the images of one of them would be missing silently.)

    Args:
      root: the folder, and whether links may lead out of it.
      tops: folders inside it ("" is the folder itself); one that is absent has no files.
      suffixes: in lower case, with the dot; other files are skipped, except DICOM files named as in
        archives if `suffixes` is EXTENSIONS.
      skipped: counts the skipped files, by extension in lower case ("" for none).

    Raises:
      DataError: a link leads out of the folder and is not to be followed; two links lead to one folder
        outside; a directory cannot be read.
    """
    waiting: list[tuple[str, str]] = []  # (path, real path) of directories
    # The same for links: read after all other directories, so that they only add new files.
    links: list[tuple[str, str]] = []
    for top in tops:
        real_path = os.path.realpath(os.path.join(root.folder, top))
        if os.path.isdir(real_path):
            is_inside = real_path == os.path.join(root.folder, top) if top else True
            (waiting if is_inside else links).append((top, real_path))
    read_directories: dict[str, str] = {}  # real path -> path
    while waiting or links:
        is_link = not waiting
        path, real_path = (waiting or links).pop(0 if is_link else -1)
        if is_link:
            _check_folder_link(root, path, real_path, read_directories)
        if real_path in read_directories:
            continue
        read_directories[real_path] = path
        for entry in _entries(real_path):
            if entry.name[0] == "." or entry.name == _OF_A_MAC:
                continue
            entry_path = f"{path}/{entry.name}" if path else entry.name
            is_image = entry.name.lower().endswith(suffixes) or (
                suffixes is EXTENSIONS and _is_from_an_archive(entry)
            )
            if not entry.is_symlink():
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((entry_path, os.path.join(real_path, entry.name)))
                elif is_image and entry.is_file(follow_symlinks=False):
                    yield entry_path
            elif os.path.isdir(entry.path):
                links.append((entry_path, os.path.realpath(entry.path)))
            elif is_image:
                _check_link(root, entry_path, os.path.realpath(entry.path))
                yield entry_path
            if skipped is not None and not is_image and entry.is_file(follow_symlinks=False):
                skipped[os.path.splitext(entry.name)[1].lower()] += 1


def _is_from_an_archive(entry: os.DirEntry) -> bool:
    """Returns whether a file is DICOM without a usual extension: IM000001, 1.2.840.113619.2, X.IMA."""
    suffix = os.path.splitext(entry.name)[1][1:].lower()
    if suffix not in ("", "ima") and not suffix.isdigit():
        return False
    try:
        if not entry.is_file():
            return False
        with open(entry.path, "rb") as file:
            return is_dicom(file.read(4096))
    except OSError:
        return False


def _check_folder_link(
    root: ImageRoot, path: str, real_path: str, read_directories: dict[str, str]
) -> None:
    """Raises DataError for a link to a folder that must not be followed."""
    _check_link(root, path, real_path)
    if root.holds(real_path):
        return
    link = os.path.join(root.folder, path)
    if is_inside(root.folder, real_path):
        raise DataError(
            f"{link} is a link to {real_path}, which holds this folder itself: remove it."
        )
    parent_is_inside = root.holds(os.path.realpath(os.path.dirname(link)))
    if real_path in read_directories and parent_is_inside:
        raise DataError(
            f"{link} and {os.path.join(root.folder, read_directories[real_path])} lead to one folder, "
            f"{real_path}: its images would count twice; remove one of the links."
        )


def _check_link(root: ImageRoot, path: str, real_path: str) -> None:
    if not (root.follow_links or root.holds(real_path)):
        raise DataError(
            f"{os.path.join(root.folder, path)} is a link that leads out of {root.folder}: put the "
            "files into it, pass --follow_links to follow such links, or name the folder of the images "
            "with --image_root."
        )


def _entries(directory: str) -> list[os.DirEntry]:
    """Returns the entries of a directory, sorted by name."""
    try:
        with os.scandir(directory) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(
            f"{directory} cannot be read ({error.strerror}): correct its permissions."
        ) from error
