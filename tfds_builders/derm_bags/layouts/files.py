"""Lists the image files below a folder, and finds one of them by its name."""

import collections
import os
import posixpath

from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.image_index import walk
from tfds_builders.near_paths import spelling


def image_paths(root: ImageRoot, skipped: collections.Counter | None = None) -> list[str]:
    """Returns the sorted paths of all image files, relative to the root, with /.

    Which folders are read and which links followed: see `image_index.walk`.

    Args:
      root: the folder, and whether links may lead out of it.
      skipped: counts other files, see `image_index.walk`.

    Raises:
      DataError: a file or folder name that is not UTF-8, as in old archives; a link that leads out.
    """
    paths = sorted(walk(root, skipped=skipped))
    for path in paths:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{root.folder} has an image whose name is not UTF-8, {path!r}: rename it."
            ) from error
    return paths


class ImageFinder:
    """Finds images by their name in a published table, whichever folder they are in.

    Attributes:
      near: {name that was not found: path of a file that differs in spelling alone}.
    """

    def __init__(self, root: ImageRoot):
        self._folder = root.folder
        self._paths: dict[str, list[str]] = {}  # name, and name without extension -> paths
        self._by_spelling: dict[str, str] = {}  # the same in one spelling -> the first path
        self.near: dict[str, str] = {}
        for path in image_paths(root):
            name = posixpath.basename(path)
            for key in (name, posixpath.splitext(name)[0]):
                self._paths.setdefault(key, []).append(path)
                self._by_spelling.setdefault(spelling(key), path)

    def find(self, name: str) -> str:
        """Returns the path of the image `name` (with or without extension), or `name` if missing.

        Copies of one size count as one image: the first path in alphabetical order is taken.

        Raises:
          DataError: files of one name but of different sizes.
        """
        if name not in self._paths:
            spellings = (spelling(name), spelling(posixpath.splitext(name)[0]))
            if near := next(
                (self._by_spelling[key] for key in spellings if key in self._by_spelling), ""
            ):
                self.near[name] = near
            return name
        paths = self._paths[name]
        if len(paths) > 1:
            sizes = {os.path.getsize(os.path.join(self._folder, path)) for path in paths}
            if len(sizes) > 1:
                raise DataError(
                    f"{self._folder} contains different images with the same file name, {paths[0]!r} "
                    f"and {paths[1]!r}. Keep only one of them."
                )
        return paths[0]
