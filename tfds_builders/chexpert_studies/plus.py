"""Reads CheXpert Plus: a table with reports beside each image, and labels in a file of their own.

The labels of a study are those found in the *impression* of its report, as CheXpert's are; those
of findings and of whole reports are in other files of the same form, which are not read.
"""

import array
import collections
import fnmatch
import json
import os

import numpy as np
import pandas as pd

from tfds_builders.chexpert_studies.labels import LABELS
from tfds_builders.errors import DataError

TABLE_PATTERN = "df_chexpert_plus_*.csv"
LABEL_FILE = "chexbert_labels/impression_fixed.json"
_COLUMNS = {
    "path_to_image": "listed_path",
    "sex": "sex",
    "age": "age",
    "frontal_lateral": "view",
    "ap_pa": "projection",
}


def table_name(folder: str) -> str | None:
    """Returns the name of CheXpert Plus's table in `folder`, if there is one."""
    names = fnmatch.filter(sorted(os.listdir(folder)), TABLE_PATTERN)
    return names[-1] if names else None


def read_rows(folder: str, name: str) -> pd.DataFrame:
    """Returns listed_path, sex, age, view, projection (str) and labels (float32); index = row number.

    Args:
      folder: that holds the table and the label file.
      name: of the table.

    Raises:
      DataError: the table or the label file is absent or not as published.
    """
    table = _read_table(os.path.join(folder, name))
    paths, values = _read_labels(os.path.join(folder, LABEL_FILE))
    position = pd.Index(paths).get_indexer(table["listed_path"])
    values = np.where(position[:, None] < 0, np.float32(np.nan), values[position])
    return table.join(pd.DataFrame(values, index=table.index, columns=list(LABELS)))


def _read_table(file: str) -> pd.DataFrame:
    """Reads the few columns that are needed: the reports, most of the file, are skipped."""
    try:
        header = list(pd.read_csv(file, nrows=0).columns)
        missing = [name for name in _COLUMNS if name not in header]
        if missing:
            raise DataError(
                f"{file}, row 1: column {missing[0]!r} is missing (found: {', '.join(header)}): use "
                "the table as published."
            )
        table = pd.read_csv(file, usecols=list(_COLUMNS), dtype=str, na_filter=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be parsed ({error}): download it again.") from error
    table.index = table.index + 2  # the header is row 1
    return table.rename(columns=_COLUMNS)


def _read_labels(file: str) -> tuple[list[str], np.ndarray]:
    """Returns path_to_image of each line, and float32 [lines, 14]."""
    paths, values = [], array.array("f")
    try:
        with open(file, encoding="utf-8") as lines:
            for number, line in enumerate(lines, 1):
                path, labels = _read_line(file, number, line)
                paths.append(path)
                values.extend(labels)
    except UnicodeDecodeError as error:
        raise DataError(f"{file} is not UTF-8 text ({error.reason}): unpack it again.") from error
    except OSError as error:
        raise DataError(
            f"{file} cannot be read ({error.strerror}): unpack chexbert_labels.zip beside the "
            "table, it has the labels of CheXpert Plus."
        ) from error
    if not paths:
        raise DataError(f"{file} is empty: unpack it again.")
    if len(set(paths)) < len(paths):
        repeated = next(path for path, n in collections.Counter(paths).items() if n > 1)
        raise DataError(f"{file} has two lines for {repeated!r}: use the file as published.")
    return paths, np.asarray(values, np.float32).reshape(-1, len(LABELS))


def _read_line(file: str, number: int, line: str) -> tuple[str, list[float]]:
    try:
        record = json.loads(line)
        labels = [np.nan if record[name] is None else float(record[name]) for name in LABELS]
        path = record["path_to_image"]
    except (ValueError, TypeError, KeyError) as error:
        raise DataError(
            f"{file}, line {number} is not a JSON object of path_to_image and the 14 labels "
            f"({type(error).__name__}: {error}): download it again."
        ) from error
    for name, value in zip(LABELS, labels):
        if value not in (1, 0, -1) and not np.isnan(value):
            raise DataError(
                f"{file}, line {number}: {name} is {value}: a label is 1, 0, -1 or null."
            )
    return path, labels
