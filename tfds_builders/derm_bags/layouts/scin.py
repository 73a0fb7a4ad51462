"""SCIN (Skin Condition Image Network): cases with up to three photographs and weighted labels.

scin_cases.csv has a row per case, scin_labels.csv one more row for each of them. Paths begin with
`dataset/images/`, as in the publisher's bucket. One image is missing there (github.com/
google-research-datasets/scin, issue 1), and some are shared by several cases: such cases are joined
as one patient, and within a case an image counts once.
"""

import os
import re

import pandas as pd

from tfds_builders.derm_bags.labels import parse_label
from tfds_builders.derm_bags.layouts.source import Source
from tfds_builders.derm_bags.table import read_table, rename_columns, require_columns
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot

CASES, LABELS = "scin_cases.csv", "scin_labels.csv"
SUBFOLDER = "dataset"  # of the bucket: it holds the tables and images/
NUMBERS = (1, 2, 3)  # of the images of a case
LABEL_COLUMN = "weighted_skin_condition_label"


def tables_folder(folder: str) -> str | None:
    """Returns where scin_cases.csv lies: in `folder` or in its dataset/; None if in neither."""
    for here in (folder, os.path.join(folder, SUBFOLDER)):
        if os.path.isfile(os.path.join(here, CASES)):
            return here
    return None


def read(folder: str, tables: str, images: ImageRoot) -> Source:
    """Returns a row for each image of each case; row numbers are those of scin_cases.csv.

    Args:
      folder: the user's: the copy of the bucket, or of its dataset/.
      tables: that holds the two tables, `folder` or its dataset/.
      images: that image paths are relative to: `folder`, or another copy of the bucket or its dataset/.
    """
    cases_file, labels_file = os.path.join(tables, CASES), os.path.join(tables, LABELS)
    if not os.path.isfile(labels_file):
        raise DataError(f"{labels_file} is missing: put it beside {CASES}.")
    cases_raw, cases = read_table(cases_file)
    labels_raw, labels = read_table(labels_file)
    image_columns = [f"image_{i}_{what}" for i in NUMBERS for what in ("path", "shot_type")]
    require_columns(cases_file, cases, ["case_id", *image_columns], "SCIN")
    require_columns(labels_file, labels, ["case_id", LABEL_COLUMN], "SCIN")
    _check_ids(cases_file, cases)
    _check_ids(labels_file, labels)
    _check_labels(labels_file, labels)
    both = _join(cases_file, cases, labels)
    both = rename_columns(cases_file, both, {"case_id": "case_id", LABEL_COLUMN: "label"}, "SCIN")
    rows = pd.concat([_images(both, i) for i in NUMBERS]).drop(columns=image_columns)
    rows = rows[rows["image_path"] != ""].sort_index(kind="stable")
    rows = rows[~rows.duplicated(["case_id", "image_path"])]
    rows["patient_id"] = _join_shared(rows["case_id"], rows["image_path"])
    rows["image_path"] = [_locate(images.folder, path) for path in rows["image_path"]]
    return Source(
        layout="scin",
        folder=folder,
        rows=rows,
        patient_id_from="case_id, cases that share an image joined",
        file=cases_file,
        raw=cases_raw + b"\0" + labels_raw,
        images=images,
    )


def _check_ids(file: str, table: pd.DataFrame) -> None:
    """Raises for a case in two rows, and for 64-bit ids that a program has rounded."""
    first: dict[str, int] = {}
    for row, case in table["case_id"].items():
        if re.fullmatch(r"-?\d+(\.\d*([eE]\+?\d+)?|[eE]\+?\d+)", case):
            raise DataError(
                f"{file}, row {row}: case_id {case!r} has been rounded, by a spreadsheet or as a "
                "floating-point number: get the file again."
            )
        if first.setdefault(case, row) != row:
            raise DataError(
                f"{file}, row {row}: case_id {case!r} is in row {first[case]} already: get the "
                "file again, or remove one of the two rows."
            )


def _check_labels(file: str, labels: pd.DataFrame) -> None:
    """Raises for a label that cannot be read: here, where its row is known."""
    for row, cell in labels[LABEL_COLUMN].items():
        try:
            parse_label(cell)
        except ValueError as error:
            raise DataError(
                f"{file}, row {row}: {LABEL_COLUMN} {cell!r} {error}: get the file again."
            ) from error


def _join(cases_file: str, cases: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Returns `cases` with the columns of `labels`; labels of cases that are not there are left."""
    known = set(labels["case_id"])
    for row, case in cases["case_id"].items():
        if case not in known:
            raise DataError(
                f"{cases_file}, row {row}: case_id {case!r} is not in {LABELS}: get both files "
                "again, from one release."
            )
    return cases.join(labels.set_index("case_id"), on="case_id", rsuffix="_of_label")


def _images(cases: pd.DataFrame, number: int) -> pd.DataFrame:
    """Returns `cases` with `image_path` and `shot_type` of their image of that number."""
    return cases.assign(
        image_path=cases[f"image_{number}_path"], shot_type=cases[f"image_{number}_shot_type"]
    )


def _join_shared(cases: pd.Series, images: pd.Series) -> list[str]:
    """Returns a patient id for each row: one for all cases that are linked by shared images.

    It is the first of their case ids in the order of text, whatever the order of the rows.
    """
    leader: dict[str, str] = {}

    def find(case: str) -> str:
        while leader.setdefault(case, case) != case:
            case = leader[case]
        return case

    first_case: dict[str, str] = {}
    for case, image in zip(cases, images):
        one, two = sorted((find(case), find(first_case.setdefault(image, case))))
        leader[two] = one
    return [find(case) for case in cases]


def _locate(folder: str, path: str) -> str:
    """Returns `path` as it is to be read from `folder`, which may be the bucket's dataset/."""
    inside = path.removeprefix(SUBFOLDER + "/")
    if not os.path.exists(os.path.join(folder, path)) and _has_images(folder, inside):
        return inside
    return path


def _has_images(folder: str, inside: str) -> bool:
    return os.path.isdir(os.path.join(folder, os.path.dirname(inside)))
