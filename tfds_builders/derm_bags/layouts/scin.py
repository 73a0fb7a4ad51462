"""SCIN (Skin Condition Image Network): cases with up to three photographs and weighted labels.

scin_cases.csv has a row per case, scin_labels.csv one more row for each of them. Paths begin with
`dataset/images/`, as in the publisher's bucket. One image is missing there (github.com/
google-research-datasets/scin, issue 1), and some are shared by several cases: such cases are joined
as one patient, and within a case an image counts once.
"""

import os

import pandas as pd

from tfds_builders import identifiers
from tfds_builders.derm_bags.labels import parse_label
from tfds_builders.derm_bags.layouts.source import Source
from tfds_builders.derm_bags.table import read_table, rename_columns, require_columns
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.problems import Problems

CASES, LABELS = "scin_cases.csv", "scin_labels.csv"
SUBFOLDER = "dataset"  # of the bucket: it holds the tables and images/
NUMBERS = (1, 2, 3)  # of the images of a case
LABEL_COLUMN = "weighted_skin_condition_label"


def tables_folder(folder: str) -> str | None:
    """Returns where scin_cases.csv is: in `folder` or in its dataset/; None if in neither."""
    for candidate in (folder, os.path.join(folder, SUBFOLDER)):
        if os.path.isfile(os.path.join(candidate, CASES)):
            return candidate
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
    problems = Problems()
    image_columns = [f"image_{i}_{what}" for i in NUMBERS for what in ("path", "shot_type")]
    cases_table = read_table(cases_file, ["case_id", *image_columns], problems)
    labels_table = read_table(labels_file, ["case_id", LABEL_COLUMN], problems)
    cases, labels = cases_table.rows, labels_table.rows.copy()
    require_columns(cases_file, cases, ["case_id", *image_columns], "SCIN")
    require_columns(labels_file, labels, ["case_id", LABEL_COLUMN], "SCIN")
    _check_ids(problems, cases_file, cases)
    _check_ids(problems, labels_file, labels)
    _check_labels(problems, labels_file, labels)
    _check_joint(problems, cases_file, cases, labels)
    # With problems, nothing is built: what is joined here is only checked for more of them.
    first_labels = labels.drop_duplicates("case_id").set_index("case_id")
    joined = cases.join(first_labels, on="case_id", rsuffix="_of_label").fillna("")
    joined = rename_columns(
        cases_file, joined, {"case_id": "case_id", LABEL_COLUMN: "label"}, "SCIN"
    )
    rows = pd.concat([_images(joined, i) for i in NUMBERS]).drop(columns=image_columns)
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
        raw=cases_table.raw + b"\0" + labels_table.raw,
        notes=cases_table.notes + labels_table.notes,
        problems=problems,
        id_columns=(),  # checked here, in both tables
        images=images,
    )


def _check_ids(problems: Problems, file: str, table: pd.DataFrame) -> None:
    """Adds cases in two rows, and ids (64-bit integers) that a program has changed."""
    rows = table.index.tolist()
    identifiers.check(problems, table["case_id"], "case_id", lambda i: (file, rows[i]))
    first: dict[str, int] = {}
    for row, case in table["case_id"].items():
        if first.setdefault(case, row) != row:
            problems.add(
                "cases in two rows",
                file,
                row,
                f"case_id {case!r} is in row {first[case]} already",
                "get the file again, or remove one of the two rows",
            )


def _check_labels(problems: Problems, file: str, labels: pd.DataFrame) -> None:
    """Adds labels that cannot be read, with the row in the labels table, and blanks them."""
    for row, cell in labels[LABEL_COLUMN].items():
        try:
            parse_label(cell)
        except ValueError as error:
            what = f"{LABEL_COLUMN} {cell!r} {error}"
            problems.add("labels that cannot be read", file, row, what, "get the file again")
            labels.loc[row, LABEL_COLUMN] = ""


def _check_joint(
    problems: Problems, cases_file: str, cases: pd.DataFrame, labels: pd.DataFrame
) -> None:
    """Adds cases that have no row in the table of labels; labels of other cases are ignored."""
    known = set(labels["case_id"])
    for row, case in cases["case_id"].items():
        if case not in known:
            problems.add(
                "cases without a row of labels",
                cases_file,
                row,
                f"case_id {case!r} is not in {LABELS}",
                "get both files again, from one release",
            )


def _images(cases: pd.DataFrame, number: int) -> pd.DataFrame:
    """Returns `cases` with `image_path` and `shot_type` of their image of that number."""
    return cases.assign(
        image_path=cases[f"image_{number}_path"], shot_type=cases[f"image_{number}_shot_type"]
    )


def _join_shared(cases: pd.Series, images: pd.Series) -> list[str]:
    """Returns a patient id for each row: one for all cases that are linked by shared images.

    It is the first of their case ids in alphabetical order, whatever the order of the rows.
    """
    parent: dict[str, str] = {}

    def find(case: str) -> str:
        while parent.setdefault(case, case) != case:
            case = parent[case]
        return case

    first_case: dict[str, str] = {}
    for case, image in zip(cases, images):
        smaller, larger = sorted((find(case), find(first_case.setdefault(image, case))))
        parent[larger] = smaller
    return [find(case) for case in cases]


def _locate(folder: str, path: str) -> str:
    """Returns `path` relative to `folder`, which may be the bucket's dataset/."""
    inside = path.removeprefix(SUBFOLDER + "/")
    if not os.path.exists(os.path.join(folder, path)) and _has_images(folder, inside):
        return inside
    return path


def _has_images(folder: str, inside: str) -> bool:
    return os.path.isdir(os.path.join(folder, os.path.dirname(inside)))
