"""Folders label/case/image, or split/label/case/image: the names of folders say everything."""

import os

import pandas as pd

from tfds_builders.derm_bags.layouts.source import Source
from tfds_builders.errors import DataError

SPLITS = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "val", "valid", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}


def fits(path: str) -> bool:
    """Says whether the path of an image (relative, with /) is label/case/image, split or not."""
    parts = path.split("/")
    return len(parts) == 3 or (len(parts) == 4 and parts[0].lower() in SPLITS)


def read(folder: str, paths: list[str]) -> Source:
    """Returns a row for each of the image `paths`, of which at least one fits.

    A case is named label/case. Cases whose folders have one name count as one patient whatever
    their label: perhaps the folders are named after patients, and no patient may leak.

    Raises:
      DataError: an image that does not fit, or not as the others do.
    """
    _check(folder, paths)
    parts = [path.split("/") for path in paths]
    columns = {
        "case_id": [f"{label}/{case}" for *_, label, case, _ in parts],
        "image_path": paths,
        "label": [label for *_, label, _, _ in parts],
        "patient_id": [case for *_, case, _ in parts],
    }
    if len(parts[0]) == 4:
        columns["split"] = [SPLITS[split.lower()] for split, *_ in parts]
    rows = pd.DataFrame(columns, index=range(1, len(paths) + 1))
    return Source(
        "tree",
        folder,
        rows,
        patient_id_from="name of the case folder",
        id_columns=("patient_id",),
    )


def _check(folder: str, paths: list[str]) -> None:
    tops = {path.split("/")[0].lower() for path in paths}
    if {path.count("/") for path in paths} == {2} and (tops & set(SPLITS) or len(tops) == 1):
        # Read as label/case/image, all images of a label would be one bag.
        raise DataError(
            f"{os.path.join(folder, paths[0])} seems to lie in folders split/label, or everything "
            "in one folder: give each case a folder of its own, label/case or split/label/case, or "
            "write a manifest.csv."
        )
    model = next(path for path in paths if fits(path))
    for path in paths:
        if not fits(path) or path.count("/") != model.count("/"):
            raise DataError(
                f"{os.path.join(folder, path)} does not lie as {model!r} does, in folders "
                "label/case or split/label/case: move it, or give --bag_regex to read all images "
                "without labels."
            )
