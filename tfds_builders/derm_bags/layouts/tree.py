"""Folders label/case/image, or split/label/case/image: folder names define labels and cases."""

import os

import pandas as pd

from tfds_builders.derm_bags.layouts.shapes import is_split, not_labels, some
from tfds_builders.derm_bags.layouts.source import Source
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.splits import canonical_splits, renaming_note


def fits(path: str) -> bool:
    """Returns whether the path of an image (relative, with /) is label/case/image, split or not."""
    parts = path.split("/")
    return len(parts) == 3 or (len(parts) == 4 and is_split(parts[0]))


def read(root: ImageRoot, paths: list[str]) -> Source:
    """Returns a row for each of the image `paths`, of which at least one fits.

    A case is named label/case. Cases whose folders have one name count as one patient whatever
    their label: perhaps the folders are named after patients, and no patient may leak.

    Args:
      root: the folder.
      paths: of the images, relative to it, with /.

    Raises:
      DataError: an image that does not fit, or not as the others do; folders that are no labels.
    """
    folder = root.folder
    _check(folder, paths)
    parts = [path.split("/") for path in paths]
    columns = {
        "case_id": [f"{label}/{case}" for *_, label, case, _ in parts],
        "image_path": paths,
        "label": [label for *_, label, _, _ in parts],
        "patient_id": [case for *_, case, _ in parts],
    }
    shape = "label/case/image"
    renamed: dict[str, tuple[str, int]] = {}
    if len(parts[0]) == 4:
        shape = "split/label/case/image"
        columns["split"], renamed = canonical_splits(split for split, *_ in parts)
    labels, cases = set(columns["label"]), len(set(columns["case_id"]))
    if like := not_labels(labels) if len(labels) > 1 else "":
        raise DataError(
            f"{folder}: the folders {some(labels)} look like {like}, not like the labels of {shape}: "
            "write a manifest.csv, or read the images without labels with --bag_regex, as in "
            "'([^/]+)/[^/]+$'."
        )
    _check_cases(folder, [(label, case) for *_, label, case, _ in parts])
    rows = pd.DataFrame(columns, index=range(1, len(paths) + 1))
    note = f"Read as {shape}: labels {some(labels)}; {cases:,} cases, {len(paths):,} images."
    return Source(
        "tree",
        folder,
        rows,
        patient_id_from="name of the case folder",
        images=root,
        notes=(note, *filter(None, [renaming_note(renamed)])),
        renamed_splits=renamed,
        id_columns=("patient_id",),
    )


def _check(folder: str, paths: list[str]) -> None:
    tops = {path.split("/")[0] for path in paths}
    if {path.count("/") for path in paths} == {2} and len(tops) == 1:
        raise DataError(
            f"{os.path.join(folder, paths[0])} seems to be in folders label/case, but everything "
            f"is in one folder: give --manual_dir={os.path.join(folder, *tops)}, or, if it is the "
            "only label, write a manifest.csv."
        )
    reference = next(path for path in paths if fits(path))
    for path in paths:
        if not fits(path) or path.count("/") != reference.count("/"):
            raise DataError(
                f"{os.path.join(folder, path)} is not placed as {reference!r} is, in folders "
                "label/case or split/label/case: move it, or give --bag_regex to read all images "
                "without labels."
            )


def _check_cases(folder: str, pairs: list[tuple[str, str]]) -> None:
    """Raises DataError where every folder of cases is in every folder of labels: are these labels?

    As in clinic/label/image, or a split of another name. A patient has some labels, hardly all; where
    each such folder has one image it may be so.
    """
    labels, cases = {label for label, _ in pairs}, {case for _, case in pairs}
    folders = set(pairs)
    is_grid = len(labels) > 1 and len(cases) > 1 and len(folders) == len(labels) * len(cases)
    if is_grid and len(pairs) >= 2 * len(folders):
        raise DataError(
            f"{folder}: each of the folders {some(cases)} is in each of {some(labels)}: are they "
            "cases, or labels in several clinics or splits? Say so with --bag_regex, as in "
            "'(?P<case>[^/]+/(?P<label>[^/]+)/[^/]+)$' (labels; each image is a case), or write a "
            "manifest.csv."
        )
