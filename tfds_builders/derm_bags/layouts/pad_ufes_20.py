"""PAD-UFES-20: smartphone photographs of 1,641 lesions of 1,373 patients; a lesion is a case."""

import os

from tfds_builders.derm_bags.layouts.files import ImageFinder
from tfds_builders.derm_bags.layouts.source import Source
from tfds_builders.derm_bags.table import read_table, rename_columns, require_columns
from tfds_builders.dialects import decode, find_dialect, split_line
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.problems import Problems

FILE_NAME = "metadata.csv"
OWN_COLUMNS = ("img_id", "diagnostic")  # no other metadata.csv is expected to have both
COLUMNS = ("patient_id", "lesion_id", *OWN_COLUMNS)


def is_here(folder: str) -> bool:
    """Returns whether the folder's metadata.csv is that of PAD-UFES-20: other datasets have one too."""
    file = os.path.join(folder, FILE_NAME)
    try:
        with open(file, "rb") as table:
            text, _ = decode(file, table.read())
    except (OSError, DataError):
        return False
    dialect = find_dialect(text, COLUMNS)
    return set(OWN_COLUMNS) <= set(split_line(dialect.text.partition("\n")[0], dialect.separator))


def read(folder: str, images: ImageRoot) -> Source:
    """Returns the rows of the table, with `img_id` looked for in all folders of `images`.

    The case is named patient_lesion, as its image files are.

    Args:
      folder: that holds the table.
      images: folder of the images.

    Raises:
      DataError: the table is not as published.
    """
    file = os.path.join(folder, FILE_NAME)
    problems = Problems()
    table = read_table(file, COLUMNS, problems)
    require_columns(file, table.rows, COLUMNS, "PAD-UFES-20")
    names = {"img_id": "image_path", "diagnostic": "label", "patient_id": "patient_id"}
    rows = rename_columns(file, table.rows, names, "PAD-UFES-20")
    rows["case_id"] = [
        f"{patient}_{lesion}" if lesion else ""
        for patient, lesion in zip(rows["patient_id"], rows["lesion_id"])
    ]
    finder = ImageFinder(images)
    rows["image_path"] = [finder.find(image) if image else "" for image in rows["image_path"]]
    return Source(
        layout="pad_ufes_20",
        folder=folder,
        rows=rows,
        patient_id_from="patient_id",
        file=file,
        published={"case_id": "lesion_id", "image_path": "img_id"},
        raw=table.raw,
        notes=table.notes,
        problems=problems,
        id_columns=("patient_id", "lesion_id"),
        images=images,
        near=finder.near,
    )
