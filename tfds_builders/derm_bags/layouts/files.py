"""The image files below a folder, and finding one of them by its name."""

import collections
import os
import posixpath

from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.image_index import walk
from tfds_builders.near_paths import spelling


def image_paths(root: ImageRoot, others: collections.Counter | None = None) -> list[str]:
    """Returns the paths of all image files, by extension, sorted; relative to the root, with /.

    Which folders are read, which links followed, and what `others` counts: `image_index.walk`.

    Raises:
      DataError: a name of file or folder that is not UTF-8, as old archives have them; a link that leads
        out.
    """
    found = sorted(walk(root, others=others))
    for path in found:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{root.folder} has an image whose name is not UTF-8, {path!r}: rename it."
            ) from error
    return found


class ImageFinder:
    """Finds images by the name a published table gives them, in whatever folders they are.

    Attributes:
      near: {name that was not found: path of a file that differs in spelling alone}.
    """

    def __init__(self, root: ImageRoot):
        self._folder = root.folder
        self._paths: dict[str, list[str]] = {}  # name, and name without extension -> paths
        self._alike: dict[str, str] = {}  # the same in one spelling -> the first path
        self.near: dict[str, str] = {}
        for path in image_paths(root):
            name = posixpath.basename(path)
            for key in (name, posixpath.splitext(name)[0]):
                self._paths.setdefault(key, []).append(path)
                self._alike.setdefault(spelling(key), path)

    def find(self, name: str) -> str:
        """Returns the path of the image `name` (with or without extension), or `name` if missing.

        Copies of one size count as one image: the first path in alphabetical order is taken.

        Raises:
          DataError: files of one name but of different sizes: which one is meant?
        """
        if name not in self._paths:
            alike = (spelling(name), spelling(posixpath.splitext(name)[0]))
            if near := next((self._alike[key] for key in alike if key in self._alike), ""):
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
