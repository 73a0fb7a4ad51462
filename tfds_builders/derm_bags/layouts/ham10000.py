"""HAM10000: dermatoscopic images of 7,470 lesions, a row per image; a lesion is a case.

The table is sorted by diagnosis, so that any split by order of rows would be useless. Patients are
not published: each lesion counts as its own.
"""

import os

from tfds_builders.derm_bags.layouts.files import ImageFinder
from tfds_builders.derm_bags.layouts.source import Source
from tfds_builders.derm_bags.table import read_table, rename_columns, require_columns
from tfds_builders.folders import ImageRoot
from tfds_builders.problems import Problems

# As Dataverse, Kaggle and Dataverse's default download (tabs, values in quotes) name it.
FILE_NAMES = ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab")
COLUMNS = ("lesion_id", "image_id", "dx")


def read(folder: str, file_name: str, images: ImageRoot) -> Source:
    """Returns the rows of the table, with `image_id` looked for in all folders of `images`.

    Args:
      folder: that holds the table.
      file_name: one of FILE_NAMES.
      images: folder of the images.

    Raises:
      DataError: the table is not as published.
    """
    file = os.path.join(folder, file_name)
    problems = Problems()
    table = read_table(file, COLUMNS, problems)
    require_columns(file, table.rows, COLUMNS, "HAM10000")
    names = {"lesion_id": "case_id", "image_id": "image_path", "dx": "label"}
    rows = rename_columns(file, table.rows, names, "HAM10000")
    finder = ImageFinder(images)
    rows["image_path"] = [finder.find(image) if image else "" for image in rows["image_path"]]
    return Source(
        layout="ham10000",
        folder=folder,
        rows=rows,
        patient_id_from="lesion_id",
        file=file,
        published={column: name for name, column in names.items()},
        raw=table.raw,
        notes=table.notes,
        problems=problems,
        images=images,
        near=finder.near,
    )
