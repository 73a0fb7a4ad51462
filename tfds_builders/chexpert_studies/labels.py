"""CheXpert's 14 labels, from text or JSON to numbers: 1 positive, 0 negative, -1 uncertain, NaN blank."""

import numpy as np
import pandas as pd

from tfds_builders.columns import refuse

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
# As published, and as Excel saves it.
_TEXTS = {"1.0": 1, "1": 1, "0.0": 0, "0": 0, "-1.0": -1, "-1": -1, "": np.nan}


def parse_labels(file: str, table: pd.DataFrame) -> pd.DataFrame:
    """Returns `table` (str; index = row number) with its label columns as float32.

    Raises:
      DataError: a label is none of 1.0, 0.0, -1.0 and blank.
    """
    return table.assign(**{label: _numbers(file, label, table[label]) for label in LABELS})


def _numbers(file: str, label: str, texts: pd.Series) -> pd.Series:
    refuse(
        file,
        ~texts.isin(_TEXTS),
        lambda row: f"{label} is {texts[row]!r}",
        "write 1.0, 0.0, -1.0 (uncertain) or nothing",
    )
    return texts.map(_TEXTS).astype(np.float32)
