"""The user's folder: what must lie in it, and where a path written in a table may lead."""

import os
import stat

from tfds_builders.errors import DataError


def existing_folder(manual_dir: str | os.PathLike, advice: str) -> str:
    """Returns the absolute path of a folder that exists, or raises DataError with `advice`."""
    folder = os.path.abspath(os.path.expanduser(manual_dir))
    if not os.path.exists(folder):
        raise DataError(f"{folder} does not exist: {advice}.")
    if not os.path.isdir(folder):
        raise DataError(f"{folder} is not a folder: {advice}.")
    if not os.access(folder, os.R_OK | os.X_OK):
        raise DataError(f"{folder} may not be read: correct its permissions.")
    return folder


class PathError(ValueError):
    """Why a path of a table cannot be used, and what to do: `problem`, `advice`."""

    def __init__(self, problem: str, advice: str):
        super().__init__(problem, advice)
        self.problem, self.advice = problem, advice


class MissingError(PathError):
    """There is no such file: perhaps the folder is not complete."""


def look_up(folder: str, path: str) -> tuple[str, os.stat_result]:
    """Returns the real path of a file inside `folder`, and its stat; links may not lead out.

    Args:
      folder: real path of the folder.
      path: relative to it, as written in a table.

    Raises:
      MissingError: there is no such file.
      PathError: absolute, outside, or not a file.
    """
    name = f"image_path {path!r}"
    if os.path.isabs(path):
        raise PathError(f"{name} is absolute", f"make it relative to {folder}")
    real = os.path.realpath(os.path.join(folder, path))
    if os.path.commonpath([real, folder]) != folder:
        raise PathError(f"{name} leads out of {folder}", "put the image into the folder")
    try:
        info = os.stat(real)
    except OSError as error:
        hint = ", with / instead of \\" if "\\" in path else ""
        raise MissingError(
            f"{name} cannot be found ({error.strerror})",
            f"paths are relative to {folder}{hint}; correct it or remove the row",
        ) from error
    if not stat.S_ISREG(info.st_mode):
        raise PathError(f"{name} is not a file", "name an image file")
    return real, info
