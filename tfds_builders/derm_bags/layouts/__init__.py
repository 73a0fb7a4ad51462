"""Which layout a folder has, by the files in it; each layout is one file here.

To add one: write `read(folder, ...) -> Source` and a line in `read_source`.
"""

import os

from tfds_builders.derm_bags.layouts import (
    ham10000,
    loose,
    manifest_csv,
    pad_ufes_20,
    scin,
    tree,
)
from tfds_builders.derm_bags.layouts.files import image_paths
from tfds_builders.derm_bags.layouts.source import REQUIRED, Source, place
from tfds_builders.errors import DataError
from tfds_builders.folders import existing_folder

__all__ = ["REQUIRED", "Source", "place", "read_source"]

PUBLISHED = (
    "SCIN (scin_cases.csv, scin_labels.csv), HAM10000 (HAM10000_metadata.csv) or PAD-UFES-20 "
    "(metadata.csv with img_id and diagnostic)"
)
TABLES = (".csv", ".tsv", ".tab", ".xlsx")


def read_source(manual_dir: str | os.PathLike, bag_regex: str = "") -> Source:
    """Returns the rows of a folder, read as the first layout that fits says.

    Args:
      manual_dir: the folder, as given by the user; ~ is expanded.
      bag_regex: for a folder of images only, see layouts/loose.py.

    Raises:
      DataError: no layout fits, or what fits has a mistake.
    """
    folder = existing_folder(manual_dir, "give the folder that holds the images")
    names = os.listdir(folder)
    source = None
    if manifest_csv.find(names):
        source = manifest_csv.read(folder)
    elif tables := scin.tables_folder(folder):
        source = scin.read(folder, tables)
    elif ham := next((name for name in ham10000.FILE_NAMES if name in names), None):
        source = ham10000.read(folder, ham)
    elif pad_ufes_20.is_here(folder):
        source = pad_ufes_20.read(folder)
    if source and bag_regex:
        raise DataError(
            f"{source.file} says which images form a case: leave --bag_regex out, it is for folders "
            "of images without a table."
        )
    return source or _read_images(folder, names, bag_regex)


def _read_images(folder: str, names: list[str], bag_regex: str) -> Source:
    """Returns the rows of a folder without a table: a tree, or else loose images."""
    if not names:
        raise DataError(
            f"{folder} is empty: put {manifest_csv.FILE_NAME} (columns {manifest_csv.COLUMNS}) and "
            "images there."
        )
    paths = image_paths(folder)
    tables = sorted(name for name in names if name.lower().endswith(TABLES))
    if not paths:
        raise _nothing_fits(folder, tables or sorted(names), "nor has it any image file")
    if bag_regex:
        return loose.read(folder, paths, bag_regex)
    if any(tree.fits(path) for path in paths):
        return tree.read(folder, paths)
    # Only when asked for: a table that is missing or misnamed must not cost the labels in silence.
    raise _nothing_fits(
        folder,
        tables or paths,
        "to read the images without labels give --bag_regex, the part of a path that names the case "
        "('(.+)': each image is a case)",
    )


def _nothing_fits(folder: str, found: list[str], otherwise: str) -> DataError:
    return DataError(
        f"{folder} has no {manifest_csv.FILE_NAME} (found: {', '.join(found[:5])}): add one, "
        f"columns {manifest_csv.COLUMNS}. It has no table of {PUBLISHED} either; {otherwise}."
    )
