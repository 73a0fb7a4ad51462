"""CheXpert's 14 labels, from text or JSON to numbers: 1 positive, 0 negative, -1 uncertain, NaN blank."""

import functools
import os

import pandas as pd

from tfds_builders.columns import report_invalid
from tfds_builders.label_values import read_values
from tfds_builders.problems import Problems

LABELS = (
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Opacity",
    "Lung Lesion",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
)


def parse_labels(file: str, table: pd.DataFrame, problems: Problems) -> tuple[pd.DataFrame, list]:
    """Returns `table` (str; index = row number) with its label columns as float32, and notes.

    Rows with a label other than 1.0, 0.0, -1.0 or blank are dropped.

    Args:
      file: path of the table, for messages.
      table: str columns LABELS, and any others.
      problems: receives the rows with invalid labels.
    """
    is_dropped = pd.Series(False, index=table.index)
    values, num_blank = {}, 0
    for label in LABELS:
        texts = table[label]
        values[label], is_invalid, num_written = read_values(texts)
        num_blank += num_written
        is_dropped |= report_invalid(
            file,
            is_invalid,
            functools.partial(_describe, label, texts),
            "write 1.0, 0.0, -1.0 (uncertain) or nothing",
            problems,
            "labels that cannot be read",
        )
    notes = []
    if num_blank:
        notes.append(
            f"{os.path.basename(file)}: {num_blank:,} labels are NA or nan: read as blank."
        )
    return table.assign(**values)[~is_dropped], notes


def _describe(label: str, texts: pd.Series, row: int) -> str:
    return f"{label} is {texts[row]!r}"
