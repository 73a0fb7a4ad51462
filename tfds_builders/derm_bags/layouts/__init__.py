"""Detects the layout of a folder from the files in it; each layout is one file here.

To add one: write `read(folder, ...) -> Source` and a line in `read_source`.
"""

import collections
import contextlib
import os

from tfds_builders.derm_bags.layouts import (
    ham10000,
    image_folder,
    loose,
    manifest_csv,
    pad_ufes_20,
    scin,
    tree,
)
from tfds_builders.derm_bags.layouts.files import image_paths
from tfds_builders.derm_bags.layouts.shapes import some
from tfds_builders.derm_bags.layouts.source import REQUIRED, Source, location
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot, existing_folder, image_root_of

__all__ = ["REQUIRED", "Source", "location", "read_source"]

PUBLISHED = (
    "SCIN (scin_cases.csv, scin_labels.csv), HAM10000 (HAM10000_metadata.csv) or PAD-UFES-20 "
    "(metadata.csv with img_id and diagnostic)"
)
TABLES = (".csv", ".tsv", ".tab", ".xlsx")


def read_source(
    manual_dir: str | os.PathLike,
    bag_regex: str = "",
    image_root: str = "",
    follow_links: bool = False,
    split_column: str = manifest_csv.SPLIT,
    *,
    label_columns: tuple[str, ...] = (),
    single_image_cases: bool = False,
) -> Source:
    """Returns the rows of a folder, read by the first layout that fits.

    Args:
      manual_dir: the folder, as given by the user; ~ is expanded.
      bag_regex: for a folder of images only, see layouts/loose.py.
      image_root: the folder that paths of images are relative to; "": `manual_dir`.
      follow_links: whether links may lead out of that folder, see `folders.ImageRoot`.
      split_column: of a manifest, the column that names the splits.
      label_columns: of a manifest, the columns of several labels a case.
      single_image_cases: if neither a table nor folders define the cases, each image is one; else such
        a folder is refused, because its labels would be lost.

    Raises:
      DataError: no layout fits, or what fits has a mistake.
    """
    folder = existing_folder(manual_dir, "give the folder that holds the images")
    images = image_root_of(folder, image_root, follow_links)
    names = os.listdir(folder)
    source = None
    if manifest_csv.find(names):
        source = manifest_csv.read(folder, images, split_column, label_columns)
    elif split_column != manifest_csv.SPLIT:
        raise _without_manifest(f"--split_column={split_column} names a column", folder)
    elif label_columns:
        flag = f"--label_columns={','.join(label_columns)}"
        raise _without_manifest(f"{flag} names columns", folder)
    elif tables := scin.tables_folder(folder):
        source = scin.read(folder, tables, images)
    elif ham := next((name for name in ham10000.FILE_NAMES if name in names), None):
        source = ham10000.read(folder, ham, images)
    elif pad_ufes_20.is_here(folder):
        source = pad_ufes_20.read(folder, images)
    if source and bag_regex:
        raise DataError(
            f"{source.file} says which images form a case: leave --bag_regex out, it is for folders "
            "of images without a table."
        )
    return source or _read_images(folder, names, images, bag_regex, single_image_cases)


def _read_images(
    folder: str, names: list[str], images: ImageRoot, bag_regex: str, single_image_cases: bool
) -> Source:
    """Returns the rows of a folder without a table: of folders named after labels, or of loose images."""
    skipped: collections.Counter = collections.Counter()
    paths = image_paths(images, skipped)
    if not names and not paths:
        raise DataError(
            f"{folder} is empty: put {manifest_csv.FILE_NAME} (columns {manifest_csv.COLUMNS}) and "
            "images there."
        )
    tables = sorted(name for name in names if name.lower().endswith(TABLES))
    if not paths:
        raise _nothing_fits(folder, tables or sorted(names), "nor has it any image file")
    source: Source | str
    if single_image_cases and not bag_regex:
        source = _by_folders_or_single_images(images, paths)
    else:
        source = _by_folders(images, paths, bag_regex)
    if isinstance(source, str):
        # Only on request: with a missing or misnamed table, the labels would be lost silently.
        raise _nothing_fits(
            folder,
            tables or paths,
            f"{source}to read the images without labels give --bag_regex, the part of a path that names "
            "the case ('(.+)': each image is a case)",
        )
    if skipped:  # a folder with no other files would be missing, and its label with it
        counts = [f"{kind or 'without an extension'} {n:,}" for kind, n in skipped.most_common(5)]
        note = f"Not read, as their names do not end as those of images: {skipped.total():,} files"
        source = loose.with_note(source, f"{note} ({', '.join(counts)}).")
    if tables:
        note = f"Not read: {', '.join(tables[:5])}, which no layout knows."
        source = loose.with_note(source, note)
    return source


def _by_folders(images: ImageRoot, paths: list[str], bag_regex: str) -> Source | str:
    """Returns the rows of images without a table, or why their folders do not define the cases."""
    if bag_regex:
        if image_folder.fits(paths):
            return image_folder.read_bags(images, paths, bag_regex)
        source = loose.read(images, paths, bag_regex)
        if any(tree.fits(path) for path in paths) and "label" not in source.rows:
            note = "Read without labels: a group label in --bag_regex names them."
            return loose.with_note(source, note)
        return source
    if image_folder.fits(paths):
        if like := image_folder.looks_like(paths):
            folders = some({path.split("/")[-2] for path in paths})
            return (
                f"the folders {folders} look like {like}; if they are labels, say so with "
                "--bag_regex='(?P<case>(?P<label>[^/]+)/[^/]+)$'; "
            )
        return image_folder.read(images, paths)
    if any(tree.fits(path) for path in paths):
        return tree.read(images, paths)
    tops = {path.partition("/")[0] for path in paths}
    below = [path.partition("/")[2] for path in paths]
    if len(tops) == 1 and (image_folder.fits(below) or all(map(tree.fits, below))):
        inside = os.path.join(images.folder, *tops)
        return f"everything is in one folder: give --manual_dir={inside}; "
    if {path.count("/") for path in paths} == {0, 1}:
        image_folder.check_alike(images.folder, paths)
    return ""


def _by_folders_or_single_images(images: ImageRoot, paths: list[str]) -> Source:
    """Returns the rows of images without a table; each image is a case unless folders define them."""
    with contextlib.suppress(DataError):  # the folders are no labels, or not all alike
        source = _by_folders(images, paths, "")
        if isinstance(source, Source):
            return source
    note = "Each image is a case of its own; --bag_regex says which belong together"
    if all("/" in path for path in paths):
        note += " ('([^/]+)/[^/]+$': those of one folder)"
    note += "."
    return loose.with_note(loose.read(images, paths, "(.+)"), note)


def _without_manifest(what: str, folder: str) -> DataError:
    return DataError(
        f"{what} of {manifest_csv.FILE_NAME}, and {folder} has none: leave it out, or write one."
    )


def _nothing_fits(folder: str, names: list[str], advice: str) -> DataError:
    return DataError(
        f"{folder} has no {manifest_csv.FILE_NAME} (found: {', '.join(names[:5])}): add one, "
        f"columns {manifest_csv.COLUMNS}. It has no table of {PUBLISHED} either; {advice}."
    )
