"""Which image files are in the user's folder: each directory is read once, whatever a table claims.

A path from a table is only ever a key looked up among these files, so it cannot lead elsewhere.
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
    others: collections.Counter | None = None,
) -> Iterator[str]:
    """Yields the paths of files below `tops`, relative to the root, with "/"; in no particular order.

    Hidden files and folders, and a Mac's __MACOSX, are left out. Every directory is read once: a link to
    one that is read anyway, as in a cycle, adds nothing. (Two links of the user's to one folder outside
    are refused: the images of one of them would be gone in silence.)

    Args:
      root: the folder, and whether links may lead out of it.
      tops: folders inside it ("" is the folder itself); one that is absent has no files.
      suffixes: in lower case, with the dot; other files are passed over, but for DICOM files named as
        archives name them if `suffixes` is EXTENSIONS.
      others: counts these, by extension in lower case ("" for none).

    Raises:
      DataError: a link leads out of the folder and is not to be followed; two links lead to one folder
        outside; a directory cannot be read.
    """
    waiting: list[tuple[str, str]] = []  # (path, real path) of directories
    links: list[
        tuple[str, str]
    ] = []  # the same of those that are links: after all others, so that they add what is new
    for top in tops:
        real = os.path.realpath(os.path.join(root.folder, top))
        if os.path.isdir(real):
            is_inside = real == os.path.join(root.folder, top) if top else True
            (waiting if is_inside else links).append((top, real))
    read: dict[str, str] = {}  # real path -> path
    while waiting or links:
        is_link = not waiting
        path, real = (waiting or links).pop(0 if is_link else -1)
        if is_link:
            _check_folder_link(root, path, real, read)
        if real in read:
            continue
        read[real] = path
        for entry in _entries(real):
            if entry.name[0] == "." or entry.name == _OF_A_MAC:
                continue
            here = f"{path}/{entry.name}" if path else entry.name
            is_image = entry.name.lower().endswith(suffixes) or (
                suffixes is EXTENSIONS and _is_from_an_archive(entry)
            )
            if not entry.is_symlink():
                if entry.is_dir(follow_symlinks=False):
                    waiting.append((here, os.path.join(real, entry.name)))
                elif is_image and entry.is_file(follow_symlinks=False):
                    yield here
            elif os.path.isdir(entry.path):
                links.append((here, os.path.realpath(entry.path)))
            elif is_image:
                _check_link(root, here, os.path.realpath(entry.path))
                yield here
            if others is not None and not is_image and entry.is_file(follow_symlinks=False):
                others[os.path.splitext(entry.name)[1].lower()] += 1


def _is_from_an_archive(entry: os.DirEntry) -> bool:
    """Says whether a file is DICOM under a name without extension: IM000001, 1.2.840.113619.2, X.IMA."""
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


def _check_folder_link(root: ImageRoot, path: str, real: str, read: dict[str, str]) -> None:
    """Raises DataError for a link to a folder that must not be followed."""
    _check_link(root, path, real)
    if root.holds(real):
        return
    link = os.path.join(root.folder, path)
    if is_inside(root.folder, real):
        raise DataError(f"{link} is a link to {real}, which holds this folder itself: remove it.")
    is_the_user_s = root.holds(os.path.realpath(os.path.dirname(link)))
    if real in read and is_the_user_s:
        raise DataError(
            f"{link} and {os.path.join(root.folder, read[real])} lead to one folder, {real}: its "
            "images would count twice; remove one of the links."
        )


def _check_link(root: ImageRoot, path: str, real: str) -> None:
    if not (root.follow_links or root.holds(real)):
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
