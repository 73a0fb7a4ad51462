"""Checks of the rows of a `BagTable`; all problems are collected, so that one message names them all."""

import os
from collections.abc import Sequence

import numpy as np
import pandas as pd

from tfds_builders.folders import ImageRoot
from tfds_builders.problems import Problems


def check_ids(problems: Problems, folder: str, rows: pd.DataFrame) -> None:
    """Adds patients and bags whose id is spelled in two ways: patient00005 and patient5.

    Args:
      problems: receives a problem for each such id.
      folder: of the tables, for the message.
      rows: of `BagTable`.
    """
    tables, numbers = rows["table"].tolist(), rows["row"].tolist()

    def location(position: int) -> tuple[str, int | str]:
        return os.path.join(folder, tables[position]), numbers[position]

    for column, name in (("patient_id", "patient"), ("bag_id", "study or image")):
        # Published ids have numbers in words: those are compared without their zeros.
        plain = rows[column].str.replace(r"(?<!\d)0+(?=\d)", "", regex=True).str.lower()
        spellings = pd.DataFrame({"plain": plain, "id": rows[column]}).reset_index(drop=True)
        spellings = spellings.drop_duplicates()
        first = spellings.drop_duplicates("plain").set_index("plain")["id"]
        for position, (key, value) in zip(
            spellings.index, spellings.itertuples(index=False, name=None)
        ):
            if value != first[key]:
                what = f"{name} {value!r} is {first[key]!r} in another row"
                advice = "write each id in one way, as published"
                kind = "identifiers written in several ways"
                problems.add(kind, *location(position), what, advice)


def check_patients(problems: Problems, folder: str, rows: pd.DataFrame) -> None:
    """Adds patients that are in two splits.

    Args:
      problems: receives a problem for each such patient.
      folder: of the tables, for the message.
      rows: of `BagTable`.
    """
    pairs = rows[["patient_id", "split"]].drop_duplicates()
    for patient, duplicates in pairs[pairs["patient_id"].duplicated(keep=False)].groupby(
        "patient_id"
    ):
        splits = sorted(duplicates["split"])
        images = rows.loc[rows["patient_id"] == patient, "listed_path"]
        problems.add(
            "patients in two splits",
            folder,
            None,
            f"patient {patient!r} is in splits {' and '.join(splits)} (images "
            f"{', '.join(images[:3])})",
            "a patient in two splits leaks; use the lists as published",
        )


def check_labels(
    problems: Problems, folder: str, rows: pd.DataFrame, labels: Sequence[str]
) -> None:
    """Adds bags with two images that differ in a label.

    Args:
      problems: receives a problem for each such row.
      folder: of the tables, for the message.
      rows: of `BagTable`.
      labels: names of the label columns.
    """
    bag, _ = pd.factorize(rows["bag_id"])
    first = np.unique(bag, return_index=True)[1]  # the first image of each bag
    differing: dict[int, list[str]] = {}  # position of a row -> labels
    for label in labels:
        values = rows[label].to_numpy()
        firsts = values[first[bag]]
        differs = ~((values == firsts) | (np.isnan(values) & np.isnan(firsts)))
        for i in np.flatnonzero(differs):
            differing.setdefault(int(i), []).append(label)
    for i, names in differing.items():
        row, other = rows.iloc[i], rows.iloc[first[bag[i]]]
        more = f", and {len(names) - 1} other labels differ" if len(names) > 1 else ""
        problems.add(
            "images of one study with different labels",
            os.path.join(folder, row["table"]),
            row["row"],
            f"{names[0]} is {row[names[0]]:g} in {row['bag_id']!r}, but {other[names[0]]:g} in "
            f"row {other['row']}{more}",
            "images of one study have the same labels; use the table as published",
        )


def add_missing(
    problems: Problems, folder: str, rows: pd.DataFrame, images: ImageRoot, near: dict[str, str]
) -> None:
    """Adds the rows of images that are missing.

    Args:
      problems: receives a problem for each of `rows`.
      folder: of the tables, for the message.
      rows: those of missing images.
      images: where images are.
      near: missing path -> path of a file that differs in spelling only.
    """
    advice = f"unpack all images into {images.folder}, or leave --on_missing_image=error out"
    for table, row, path in rows[["table", "row", "listed_path"]].itertuples(
        index=False, name=None
    ):
        what = f"image {path!r} is not in the folder"
        if path in near:
            what += f" (but {near[path]!r} is)"
        problems.add("missing images", os.path.join(folder, table), row, what, advice)
