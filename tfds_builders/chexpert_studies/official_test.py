"""CheXpert's official test set: `test/` and its table, which are distributed separately (CheXlocalize).

500 patients, a study each, 668 images, labelled by radiologists. `test_labels.csv` has a row per image
(`Path`), `groundtruth.csv` of github.com/rajpurkarlab/cheXpert-test-set-labels one per study (`Study`).
Neither has age, sex or view.
"""

import os
from collections.abc import Iterable

import numpy as np
import pandas as pd

from tfds_builders import tables
from tfds_builders.chexpert_studies.labels import LABELS, parse_labels
from tfds_builders.columns import pick_columns, report_invalid, table_notes
from tfds_builders.problems import Problems

SPLIT = "official_test"
TABLES = ("test_labels.csv", "groundtruth.csv")  # the first found is read
PUBLISHED = {f"images in {SPLIT}": 668, f"patients in {SPLIT}": 500}
NO_FINDING = "No Finding"  # follows from the other labels; some copies lack it
_OPTIONAL = {
    "sex": ("Sex",),
    "age": ("Age",),
    "view": ("Frontal/Lateral",),
    "projection": ("AP/PA",),
}


def table_names(folder: str) -> list[str]:
    """Returns the names of the test set's tables in `folder`."""
    return [name for name in TABLES if os.path.isfile(os.path.join(folder, name))]


def read_rows(
    folder: str, name: str, image_keys: Iterable[str], problems: Problems
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns listed_path, sex, age, view, projection (str) and the labels (float32); and notes.

    Args:
      folder: that holds the table.
      name: of the table.
      image_keys: of all existing images, such as test/patient64741/study1/view1_frontal: a table of
        studies does not name its images.
      problems: rows that are not as published are added to it, and left out.

    Returns:
      A row per image; index = row number. If a row stands for several images the index is
      "2, view1_frontal"; if none of them exists, "2".

    Raises:
      DataError: the table is not as published.
    """
    file = os.path.join(folder, name)
    known = ("Path", "Study", *(names[0] for names in _OPTIONAL.values()), *LABELS)
    table = tables.read(file, known, problems)
    header = table.header
    by_study = "Study" in header and "Path" not in header
    columns = {"listed_path": ("Study" if by_study else "Path",)}
    columns |= {key: names for key, names in _OPTIONAL.items() if names[0] in header}
    columns |= {label: (label,) for label in LABELS if label != NO_FINDING or label in header}
    rows = pick_columns(file, table, columns, problems)
    notes = table_notes(table)
    if NO_FINDING not in rows:
        rows = rows.assign(**{NO_FINDING: ""})
        notes += (f"{name} has no column {NO_FINDING!r}: it is blank in {SPLIT}.",)
    rows, label_notes = parse_labels(file, rows, problems)
    notes += tuple(label_notes)
    if by_study:
        rows = _by_image(file, rows, image_keys, problems)
    if "view" not in rows:
        view_in_name = rows["listed_path"].str.extract(r"_(frontal|lateral)\.\w+$")[0]
        rows["view"] = view_in_name.str.capitalize().fillna("Frontal")
    for key in _OPTIONAL:
        if key not in rows:
            rows[key] = ""
    return rows[["listed_path", *_OPTIONAL, *LABELS]], notes


def _by_image(
    file: str, studies: pd.DataFrame, image_keys: Iterable[str], problems: Problems
) -> pd.DataFrame:
    """Returns a row for each image of each study; one for a study without any."""
    study = studies["listed_path"].str.extract(r"^(?:[^/]+/)?(test/patient\d+/study\d+)/?$")[0]
    all_studies = studies
    is_invalid = report_invalid(
        file,
        study.isna(),
        lambda row: f"the study is {all_studies['listed_path'][row]!r}",
        "write it like CheXpert-v1.0/test/patient64741/study1",
        problems,
        "paths that are not as published",
    )
    studies, study = studies[~is_invalid], study[~is_invalid]
    images: dict[str, list[str]] = {}
    for key in sorted(image_keys):
        images.setdefault(key.rpartition("/")[0], []).append(key)
    positions, paths, numbers = [], [], []
    for position, (row, key_of_study) in enumerate(study.items()):
        for key in images.get(key_of_study, []) or [f"{key_of_study}/view1_frontal"]:
            positions.append(position)
            paths.append(f"{key}.jpg")
            numbers.append(
                f"{row}, {key.rpartition('/')[2]}" if key_of_study in images else f"{row}"
            )
    rows = studies.iloc[np.array(positions, int)].assign(listed_path=paths)
    rows.index = pd.Index(numbers, dtype=object)
    return rows
