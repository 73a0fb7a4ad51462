"""The image files below a folder, and finding one of them by its name."""

import os
import posixpath

from tfds_builders.errors import DataError

EXTENSIONS = (
    *(".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif", ".tiff", ".webp"),
    *(".dcm", ".dicom"),
)


def image_paths(folder: str) -> list[str]:
    """Returns the paths of all image files, by extension, sorted; relative to `folder`, with /.

    Hidden files and folders, and the __MACOSX that a Mac adds to an archive, are left out; links
    to folders are not followed.

    Raises:
      DataError: a name of file or folder that is not UTF-8, as old archives have them.
    """
    found = []
    for here, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name[0] != "." and name != "__MACOSX"]
        inside = os.path.relpath(here, folder).replace(os.sep, "/")
        found += [
            posixpath.normpath(posixpath.join(inside, name))
            for name in names
            if name[0] != "." and name.lower().endswith(EXTENSIONS)
        ]
    for path in found:
        try:
            path.encode()
        except UnicodeEncodeError as error:
            raise DataError(
                f"{folder} has an image whose name is not UTF-8, {path!r}: rename it."
            ) from error
    return sorted(found)


class ImageFinder:
    """Finds images by the name a published table gives them, in whatever folders they lie."""

    def __init__(self, folder: str):
        self._folder = folder
        self._paths: dict[str, list[str]] = {}  # name, and name without extension -> paths
        for path in image_paths(folder):
            name = posixpath.basename(path)
            for key in (name, posixpath.splitext(name)[0]):
                self._paths.setdefault(key, []).append(path)

    def find(self, name: str) -> str:
        """Returns the path of the image `name` (with or without extension), or `name` if missing.

        Copies of one size count as one image: the first path in alphabetical order is taken.

        Raises:
          DataError: files of one name but of different sizes: which one is meant?
        """
        paths = self._paths.get(name, [name])
        if len(paths) > 1:
            sizes = {os.path.getsize(os.path.join(self._folder, path)) for path in paths}
            if len(sizes) > 1:
                raise DataError(
                    f"{self._folder} has different images of one name, {paths[0]!r} and "
                    f"{paths[1]!r}: leave only one of them in the folder."
                )
        return paths[0]
