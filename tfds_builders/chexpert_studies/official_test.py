"""CheXpert's official test set: `test/` and its table, which come apart from the rest (CheXlocalize).

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
from tfds_builders.columns import pick_columns, refuse, table_notes
from tfds_builders.problems import Problems

SPLIT = "official_test"
TABLES = ("test_labels.csv", "groundtruth.csv")  # the first found is read
PUBLISHED = {f"images in {SPLIT}": 668, f"patients in {SPLIT}": 500}
NO_FINDING = "No Finding"  # the one label that follows from the others; some copies are without
_OTHERS = {"sex": ("Sex",), "age": ("Age",), "view": ("Frontal/Lateral",), "projection": ("AP/PA",)}


def table_names(folder: str) -> list[str]:
    """Returns the names of the test set's tables in `folder`."""
    return [name for name in TABLES if os.path.isfile(os.path.join(folder, name))]


def read_rows(
    folder: str, name: str, image_keys: Iterable[str], problems: Problems
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Returns wanted, sex, age, view, projection (str) and the labels (float32); and notes.

    Args:
      folder: that holds the table.
      name: of the table.
      image_keys: of all images that are there, as test/patient64741/study1/view1_frontal: a table of
        studies does not name its images.
      problems: rows that are not as published are added to it, and left out.

    Returns:
      A row per image; index = row number. Where one row stands for several images, or for none that is
      there, it is "2, view1_frontal" or "2".

    Raises:
      DataError: the table is not as published.
    """
    file = os.path.join(folder, name)
    known = ("Path", "Study", *(names[0] for names in _OTHERS.values()), *LABELS)
    table = tables.read(file, known, problems)
    header = table.header
    by_study = "Study" in header and "Path" not in header
    wanted = {"wanted": ("Study" if by_study else "Path",)}
    wanted |= {key: names for key, names in _OTHERS.items() if names[0] in header}
    wanted |= {label: (label,) for label in LABELS if label != NO_FINDING or label in header}
    rows = pick_columns(file, table, wanted, problems)
    notes = table_notes(table)
    if NO_FINDING not in rows:
        rows = rows.assign(**{NO_FINDING: ""})
        notes += (f"{name} has no column {NO_FINDING!r}: it is blank in {SPLIT}.",)
    rows, of_labels = parse_labels(file, rows, problems)
    notes += tuple(of_labels)
    if by_study:
        rows = _by_image(file, rows, image_keys, problems)
    if "view" not in rows:
        of_name = rows["wanted"].str.extract(r"_(frontal|lateral)\.\w+$")[0]
        rows["view"] = of_name.str.capitalize().fillna("Frontal")
    for key in _OTHERS:
        if key not in rows:
            rows[key] = ""
    return rows[["wanted", *_OTHERS, *LABELS]], notes


def _by_image(
    file: str, studies: pd.DataFrame, image_keys: Iterable[str], problems: Problems
) -> pd.DataFrame:
    """Returns a row for each image of each study; one for a study without any."""
    study = studies["wanted"].str.extract(r"^(?:[^/]+/)?(test/patient\d+/study\d+)/?$")[0]
    all_studies = studies
    bad = refuse(
        file,
        study.isna(),
        lambda row: f"the study is {all_studies['wanted'][row]!r}",
        "write it like CheXpert-v1.0/test/patient64741/study1",
        problems,
        "paths that are not as published",
    )
    studies, study = studies[~bad], study[~bad]
    images: dict[str, list[str]] = {}
    for key in sorted(image_keys):
        images.setdefault(key.rpartition("/")[0], []).append(key)
    positions, paths, numbers = [], [], []
    for position, (row, of_row) in enumerate(study.items()):
        for key in images.get(of_row, []) or [f"{of_row}/view1_frontal"]:
            positions.append(position)
            paths.append(f"{key}.jpg")
            numbers.append(f"{row}, {key.rpartition('/')[2]}" if of_row in images else f"{row}")
    rows = studies.iloc[np.array(positions, int)].assign(wanted=paths)
    rows.index = pd.Index(numbers, dtype=object)
    return rows
