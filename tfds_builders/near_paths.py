"""Files that a path may have meant: other case, Unicode normal form or extension, and else the same."""

from __future__ import annotations

import os
import posixpath
import unicodedata
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from tfds_builders.folders import ImageRoot


def spelling(name: str) -> str:
    """Returns what names have in common that differ in case and Unicode normal form alone."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def near_miss(root: ImageRoot, path: str) -> str:
    """Returns the path of a file that differs from `path` in case, Unicode form or extension; "" if none.

    An exact name goes before others, a difference of case or form before one of extension. Folders are
    listed once for each root, and none outside it unless links are followed.
    """
    parts = posixpath.normpath(path.replace("\\", "/")).split("/")
    found = _near(root, "", parts)
    return found if found is not None else ""


def _near(root: ImageRoot, inside: str, parts: list[str]) -> str | None:
    """Returns the first file that `parts` may mean, below the folder `inside` of the root."""
    directory = os.path.join(root.folder, inside)
    if inside and not (root.follow_links or root.holds(os.path.realpath(directory))):
        return None
    part, rest = parts[0], parts[1:]
    names = root.names(directory)
    same = [name for name in names if spelling(name) == spelling(part)]
    if not rest:
        stem = spelling(posixpath.splitext(part)[0])
        same += [name for name in names if spelling(posixpath.splitext(name)[0]) == stem]
    for name in sorted(same, key=lambda name: (name != part, same.index(name))):
        here = posixpath.join(inside, name)
        if rest:
            found = _near(root, here, rest)
            if found is not None:
                return found
        elif os.path.isfile(os.path.join(root.folder, here)):
            return here
    return None


def difference(written: str, there: str) -> str:
    """Returns in what two spellings of a path differ, as in "in case and in extension".

    Args:
      written: in a table; a name without folders, or without extension, is compared with so much.
      there: path of the file.
    """
    kinds = ["in / and \\"] if "\\" in written else []
    written = posixpath.normpath(written.replace("\\", "/"))
    if "/" not in written:
        there = posixpath.basename(there)
    (stem, end), (stem_there, end_there) = posixpath.splitext(written), posixpath.splitext(there)
    other_end = spelling(end) != spelling(end_there)
    if other_end:
        written, there = stem, stem_there
    plain, plain_there = (unicodedata.normalize("NFC", text) for text in (written, there))
    if (written == plain) != (there == plain_there):
        forms = f"{_form(written)} in the table, {_form(there)} on the disk"
        kinds.append(f"in Unicode normal form ({forms})")
    if plain != plain_there:
        kinds.append("in case")
    if other_end and end:
        kinds.append("in extension")
    return " and ".join(kinds) or "in extension"


def _form(text: str) -> str:
    """Returns the name of the Unicode normal form of a text that is not plain ASCII."""
    for form in ("NFC", "NFD"):
        if unicodedata.is_normalized(form, text):
            return form
    return "neither NFC nor NFD"


def find_near(
    rows: pd.DataFrame, key: pd.Series, others: Iterable[str], alike: Callable[[str], str]
) -> list[tuple[str, str]]:
    """Returns (image as written, path of a file) for images that are missing under their own spelling.

    Args:
      rows: of `find_images`.
      key: what identifies the image of each row.
      others: paths of files that are the image of no row.
      alike: from a key or a path to what it has in common with its other spellings.
    """
    is_missing = rows["path"].isna().to_numpy()
    paths: dict[str, str] = {}
    for path in others:
        paths.setdefault(alike(path), path)
    if not paths or not is_missing.any():
        return []
    pairs = zip(rows["wanted"][is_missing], key[is_missing])
    return [(wanted, paths[alike(of_row)]) for wanted, of_row in pairs if alike(of_row) in paths]
