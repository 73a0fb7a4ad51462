"""The user's folders, and where a path written in a table may lead.

One rule for every reader: a link to something inside the folder of the images is followed; one that
leads out of it is an error, unless `follow_links` is set.
"""

import dataclasses
import os
import stat

from tfds_builders.errors import DataError
from tfds_builders.near_paths import difference, near_miss


def existing_folder(manual_dir: str | os.PathLike, advice: str) -> str:
    """Returns the absolute path of a folder that exists.

    Args:
      manual_dir: as given by the user; ~ is expanded.
      advice: what to do, for the message.

    Raises:
      DataError: it does not exist, is not a folder, or cannot be read.
    """
    folder = os.path.abspath(os.path.expanduser(manual_dir))
    if not os.path.exists(folder):
        raise DataError(f"{folder} does not exist: {advice}.")
    if not os.path.isdir(folder):
        if os.path.isfile(folder):
            advice += f", perhaps {os.path.dirname(folder)}"
        raise DataError(f"{folder} is not a folder: {advice}.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"{folder} may not be read: correct its permissions.")
    return folder


@dataclasses.dataclass(frozen=True)
class ImageRoot:
    """The folder that paths of images are relative to, and whether links may lead out of it.

    Nothing is ever written there.
    """

    folder: str  # real path
    follow_links: bool = False
    # folder -> its names, listed once, to suggest a file for a missing one
    _listed: dict[str, list[str]] = dataclasses.field(
        default_factory=dict, repr=False, compare=False
    )

    def holds(self, real_path: str) -> bool:
        """Returns whether a real path is the folder or inside it."""
        return is_inside(real_path, self.folder)

    def names(self, directory: str) -> list[str]:
        """Returns the sorted names in a directory, none where it cannot be listed."""
        if directory not in self._listed:
            try:
                self._listed[directory] = sorted(os.listdir(directory))
            except OSError:
                self._listed[directory] = []
        return self._listed[directory]


def is_inside(path: str, folder: str) -> bool:
    """Returns whether a path is `folder` or inside it, by text alone.

    Args:
      path: absolute, without "..".
      folder: likewise.
    """
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def image_root_of(
    manual_dir: str | os.PathLike, image_root: str = "", follow_links: bool = False
) -> ImageRoot:
    """Returns where images are.

    Args:
      manual_dir: the user's folder.
      image_root: the folder that holds the images; "": `manual_dir`.
      follow_links: whether links may lead out of it.

    Raises:
      DataError: `image_root` is no folder that can be read.
    """
    folder = os.path.expanduser(manual_dir)
    if image_root:
        folder = existing_folder(image_root, "--image_root is the folder that holds the images")
    return ImageRoot(os.path.realpath(folder), follow_links)


class PathError(ValueError):
    """Why a path of a table cannot be used, and what to do: `problem`, `advice`."""

    def __init__(self, problem: str, advice: str):
        super().__init__(problem, advice)
        self.problem, self.advice = problem, advice


class MissingError(PathError):
    """There is no such file: perhaps the folder is not complete.

    `near` is the path of a file that differs in spelling only, "" if there is none; `differs` says how.
    """

    def __init__(self, problem: str, advice: str, near: str = "", differs: str = ""):
        super().__init__(problem, advice)
        self.near, self.differs = near, differs


def look_up(root: ImageRoot, path: str, near: str = "") -> tuple[str, os.stat_result]:
    """Returns the real path of an image file, and its stat.

    Args:
      root: where images are.
      path: relative to it, as written in a table.
      near: path of a file to suggest if `path` is missing; "": one is searched for.

    Raises:
      MissingError: there is no such file.
      PathError: absolute, outside (by links only unless they are followed), or not a file.
    """
    name, folder = f"image_path {path!r}", root.folder
    if os.path.isabs(path):
        raise PathError(
            f"{name} is absolute",
            f"make it relative to {folder}, or to the folder that --image_root names",
        )
    normalized = os.path.normpath(os.path.join(folder, path))
    if not root.holds(normalized):
        raise PathError(
            f"{name} leads out of {folder}",
            "put the image into the folder, or name the folder of the images with --image_root",
        )
    real_path = os.path.realpath(os.path.join(folder, path))
    if ".." in path.split("/") and real_path != os.path.realpath(normalized):
        raise PathError(f"{name} goes back out of a link", "write it without '..'")
    if not (root.follow_links or root.holds(real_path)):
        raise PathError(
            f"{name} is a link, or in a linked folder, that leads out of {folder}",
            "put the image into the folder, or pass --follow_links to follow links",
        )
    try:
        info = os.stat(real_path)
    except OSError as error:
        raise _missing(root, path, near, error) from error
    if not stat.S_ISREG(info.st_mode):
        raise PathError(f"{name} is not a file", "name an image file")
    return real_path, info


def _missing(root: ImageRoot, path: str, near: str, error: OSError) -> MissingError:
    """Returns the error for a missing file; it suggests one of another spelling."""
    hint = ", with / instead of \\" if "\\" in path else ""
    near = near or near_miss(root, path)
    differs = difference(path, near) if near else ""
    suggestion = f"there is {near!r}, which differs {differs}; " if near else ""
    return MissingError(
        f"image_path {path!r} cannot be found ({error.strerror})",
        f"{suggestion}paths are relative to {root.folder}{hint}; correct it or remove the row",
        near,
        differs,
    )
