"""Finds files whose path differs only in case, Unicode normal form or extension."""

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
    """Returns a name without differences of case and Unicode normal form."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def near_miss(root: ImageRoot, path: str) -> str:
    """Returns the path of a file that differs from `path` in case, Unicode form or extension; "" if none.

    Exact names are preferred to others, a difference of case or form to one of extension. Each folder
    is listed once per root, and none outside it unless links are followed.

    Args:
      root: folder of the images.
      path: relative to it, as written in a table.
    """
    parts = posixpath.normpath(path.replace("\\", "/")).split("/")
    path_found = _near(root, "", parts)
    return path_found if path_found is not None else ""


def _near(root: ImageRoot, inside: str, parts: list[str]) -> str | None:
    """Returns the first file that `parts` may mean, below the folder `inside` of the root."""
    directory = os.path.join(root.folder, inside)
    if inside and not (root.follow_links or root.holds(os.path.realpath(directory))):
        return None
    part, rest = parts[0], parts[1:]
    names = root.names(directory)
    candidates = [name for name in names if spelling(name) == spelling(part)]
    if not rest:
        stem = spelling(posixpath.splitext(part)[0])
        candidates += [name for name in names if spelling(posixpath.splitext(name)[0]) == stem]
    for name in sorted(candidates, key=lambda name: (name != part, candidates.index(name))):
        candidate = posixpath.join(inside, name)
        if rest:
            path = _near(root, candidate, rest)
            if path is not None:
                return path
        elif os.path.isfile(os.path.join(root.folder, candidate)):
            return candidate
    return None


def difference(written: str, existing: str) -> str:
    """Returns how two spellings of a path differ, such as "in case and in extension".

    Args:
      written: in a table; without folders or extension, those of the file are ignored.
      existing: path of the file.
    """
    kinds = ["in / and \\"] if "\\" in written else []
    written = posixpath.normpath(written.replace("\\", "/"))
    if "/" not in written:
        existing = posixpath.basename(existing)
    (stem, end), (existing_stem, existing_end) = (
        posixpath.splitext(written),
        posixpath.splitext(existing),
    )
    other_end = spelling(end) != spelling(existing_end)
    if other_end:
        written, existing = stem, existing_stem
    plain, existing_plain = (unicodedata.normalize("NFC", text) for text in (written, existing))
    if (written == plain) != (existing == existing_plain):
        forms = f"{_form(written)} in the table, {_form(existing)} on the disk"
        kinds.append(f"in Unicode normal form ({forms})")
    if plain != existing_plain:
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
    rows: pd.DataFrame, key: pd.Series, other_paths: Iterable[str], normalize: Callable[[str], str]
) -> list[tuple[str, str]]:
    """Returns (image as written, path of a file) for images that are missing under their own spelling.

    Args:
      rows: of `find_images`.
      key: what identifies the image of each row.
      other_paths: files that are the image of no row.
      normalize: from a key or a path to the key of all its spellings.
    """
    is_missing = rows["path"].isna().to_numpy()
    paths: dict[str, str] = {}
    for path in other_paths:
        paths.setdefault(normalize(path), path)
    if not paths or not is_missing.any():
        return []
    pairs = zip(rows["listed_path"][is_missing], key[is_missing])
    return [
        (listed_path, paths[normalize(row_key)])
        for listed_path, row_key in pairs
        if normalize(row_key) in paths
    ]
