"""Reads CheXpert's tables: the X-rays of each study, its patient and its labels."""

import dataclasses
import os
import re

import pandas as pd

from tfds_builders.bag_table import BagTable, find_images, make_bag_table
from tfds_builders.chexpert_studies import official_test, plus
from tfds_builders.chexpert_studies.labels import LABELS, parse_labels
from tfds_builders.columns import read_columns, report_invalid
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot, existing_folder, image_root_of
from tfds_builders.image_index import index_files
from tfds_builders.near_paths import find_near, spelling
from tfds_builders.problems import Problems
from tfds_builders.splits import hash_split
from tfds_builders.tables import decimal_points

METADATA_KEYS = ("age", "sex", "projection")
TRAIN_CSV, VALID_CSV = "train.csv", "valid.csv"
# The paper's split has 67,429 / 22,240 / 33,745 images, 100,000 fewer than train.csv; with 167,429
# for training they sum exactly, and a split by patient, 75/10/15, gives such counts.
PAPER_TRAIN, PAPER_TRAIN_ALL, ALL_IMAGES = 67_429, 167_429, 223_414
PUBLISHED = {  # with the names that `verify` expects
    "images in train+validation+test": ALL_IMAGES,
    "patients in train+validation+test": 64_540,
    "studies in train+validation+test": 187_641,
    "images in official_valid": 234,
    "patients in official_valid": 200,
}
# Where the images are: CheXpert-v1.0 and -small; CheXpert Plus, unpacked without and with the
# folder inside its archive.
_IMAGE_FOLDERS = ("", "PNG/", "PNG/PNG/")
# What identifies an image: tables name .jpg files where CheXpert Plus has .png, and begin with
# 'CheXpert-v1.0-small/' or 'CheXpert-v1.0/', which is dropped. Copies have .PNG, .jpeg and so on.
_EXTENSION = r"(?:[Jj][Pp][Ee]?[Gg]|[Pp][Nn][Gg])"
_IMAGE = rf"((train|valid|test)/(patient\d+)/(study(\d+))/view(\d+)_\w+)\.{_EXTENSION}"
_SPLITS = ("train", "valid", "test")  # folders
_COLUMNS = {
    "listed_path": ("Path",),
    "sex": ("Sex",),
    "age": ("Age",),
    "view": ("Frontal/Lateral",),
    "projection": ("AP/PA",),
} | {label: (label,) for label in LABELS}


def read_table(
    manual_dir: str | os.PathLike,
    image_root: str = "",
    follow_links: bool = False,
    on_missing_image: str = "auto",
    needs_train: bool = True,
) -> BagTable:
    """Returns the checked table of a folder with CheXpert-v1.0, CheXpert-v1.0-small or CheXpert Plus.

    Args:
      manual_dir: the dataset's folder, or the folder that holds it; images may be there in part.
      image_root: the folder that holds train/, valid/ and test/, or the dataset's folder in it; "": that
        of the tables.
      follow_links: whether links may lead out of it.
      on_missing_image: "error" refuses a folder without some of the images; else they are counted.
      needs_train: refuses a folder of which no image of split 'train' is there.

    Raises:
      DataError: for anything the user has to mend.
    """
    folder = _dataset_folder(manual_dir)
    images = image_root_of(folder, image_root, follow_links)
    index, key = _index(images, bool(image_root))
    problems = Problems()
    notes: list[str] = []
    if name := plus.table_name(folder):
        files = [name, plus.LABEL_FILE]
        rows = _image_rows(folder, name, plus.read_rows(folder, name), problems)
    else:
        files = [n for n in (TRAIN_CSV, VALID_CSV) if os.path.isfile(os.path.join(folder, n))]
        parts = [_read_rows(folder, n, problems, notes) for n in files]
        rows = pd.concat([_image_rows(folder, n, part, problems) for n, part in zip(files, parts)])
    expected = {} if name else PUBLISHED
    tests = official_test.table_names(folder)
    if tests:
        test, test_notes = official_test.read_rows(folder, tests[0], key[key.notna()], problems)
        notes += [*test_notes, *(f"{tests[0]} is read, {other} is not." for other in tests[1:])]
        rows = pd.concat([rows, _image_rows(folder, tests[0], test, problems)])
        files = [*files, tests[0]]
        expected = expected | official_test.PUBLISHED
    elif num_tests := int(key.str.startswith("test/").sum()):
        notes.append(
            f"test/ holds {num_tests:,} images, which are not read: put {official_test.TABLES[0]} beside "
            f"{TRAIN_CSV}, and they are split {official_test.SPLIT}."
        )
    if rows.empty:
        problems.raise_if_any()
    is_image = key.notna()
    rows = find_images(
        folder, rows, rows["key"], index[is_image], key[is_image], images.folder, problems
    )
    near = find_near(rows, rows["key"], index["path"][~is_image], _match_key)
    table = make_bag_table(
        folder=folder,
        files=files,
        rows=rows.drop(columns="key"),
        images=images,
        near=near,
        notes=notes,
        labels=LABELS,
        metadata_keys=METADATA_KEYS,
        # CheXpert Plus counts differently; its numbers have not been checked on the real files.
        facts={
            "labels_from": plus.LABEL_FILE if name else "the tables",
            "splits_from": "hash",
            "expected": expected,
        },
        problems=problems,
        skip_missing=on_missing_image != "error",
        needs_train=needs_train,
    )
    return dataclasses.replace(table, named_images={"paper_train": ("train", _paper_train(table))})


def _dataset_folder(manual_dir: str | os.PathLike) -> str:
    """Returns the real path of `manual_dir`, or of the one folder in it, that holds the tables."""
    folder = os.path.realpath(existing_folder(manual_dir, "give the folder CheXpert-v1.0-small"))
    names = sorted(os.listdir(folder))
    inside = [os.path.join(folder, name) for name in names]
    for candidates in ([folder], inside):
        folders = [path for path in candidates if os.path.isdir(path) and _has_table(path)]
        if len(folders) > 1:
            raise DataError(
                f"{folder} holds several datasets, {' and '.join(map(os.path.basename, folders))}: "
                "give one of these folders."
            )
        if folders:
            return os.path.realpath(folders[0])
    raise DataError(
        f"{folder} has no {TRAIN_CSV} (CheXpert) or {plus.TABLE_PATTERN} (CheXpert Plus), nor has a "
        f"folder in it (found: {', '.join(names[:5]) or 'nothing'}): give the folder that does."
    )


def _has_table(folder: str) -> bool:
    return os.path.isfile(os.path.join(folder, TRAIN_CSV)) or bool(plus.table_name(folder))


def _read_rows(folder: str, name: str, problems: Problems, notes: list[str]) -> pd.DataFrame:
    """Returns the rows of train.csv or valid.csv, its labels parsed; index = row number.

    Rows that cannot be read are added to `problems`, assumptions about the file to `notes`.
    """
    file = os.path.join(folder, name)
    table, file_notes = read_columns(file, _COLUMNS, problems)
    table, label_notes = parse_labels(file, table, problems)
    table, converted = decimal_points(table, ["age"])
    notes += [*file_notes, *label_notes]
    if converted:
        notes.append(f"{name}: decimal commas read as points in Age.")
    return table


def _image_rows(folder: str, name: str, table: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """Returns the columns that `make_bag_table` needs, except path, size and mtime, and key.

    Args:
      folder: real path.
      name: of the table file in it.
      table: listed_path, sex, age, view, projection (str) and the labels; index = row number.
      problems: rows whose path or view is not as published are added to it, and left out.
    """
    file = os.path.join(folder, name)
    paths = table["listed_path"]
    parts = paths.str.extract(rf"^(?:[^/]+/)?{_IMAGE}$")
    is_invalid = report_invalid(
        file,
        parts[0].isna(),
        lambda row: f"the path is {paths[row]!r}",
        "write it like CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg",
        problems,
        "paths that are not as published",
    )
    # CheXpert Plus has one table for train and valid.
    expected_folder = {
        TRAIN_CSV: "train",
        VALID_CSV: "valid",
        **dict.fromkeys(official_test.TABLES, "test"),
    }.get(name)
    if expected_folder:
        is_invalid |= report_invalid(
            file,
            parts[1].fillna(expected_folder) != expected_folder,
            lambda row: f"the path {paths[row]!r} is not in {expected_folder}/",
            "use the table as published",
            problems,
            "paths that are not as published",
        )
    view = table["view"]
    is_invalid |= report_invalid(
        file,
        ~view.isin(["Frontal", "Lateral"]),
        lambda row: f"Frontal/Lateral is {view[row]!r}",
        "write Frontal or Lateral",
        problems,
        "views that are not as published",
    )
    table, parts, view = table[~is_invalid], parts[~is_invalid], view[~is_invalid]
    by_patient = {patient: hash_split(patient) for patient in parts[2].unique()}
    return table.assign(
        table=name,
        row=table.index,
        key=parts[0],
        bag_id=parts[2] + "/" + parts[3],
        patient_id=parts[2],
        split=parts[2]
        .map(by_patient)
        .mask(parts[1] == "valid", "official_valid")
        .mask(parts[1] == "test", official_test.SPLIT),
        view=view.str.lower(),
        study_order=parts[4].astype(int),
        image_order=parts[5].astype(int),
    )


def _index(images: ImageRoot, is_elsewhere: bool) -> tuple[pd.DataFrame, pd.Series]:
    """Returns the files in the folders of splits, and the key of each image (NA: no image).

    Args:
      images: where images are.
      is_elsewhere: whether that is not the folder of the tables: it may also hold the dataset's folder.
    """
    bases = [*_IMAGE_FOLDERS]
    if is_elsewhere:
        names = images.names(images.folder)
        bases += [f"{name}/" for name in names if name.lower().startswith("chexpert")]
    tops = [
        base + name
        for base in bases
        for name in images.names(os.path.join(images.folder, base))
        if name.lower() in _SPLITS
    ]
    index = index_files(images, tops)
    return index, index["path"].str.extract(rf"(?:^|/){_IMAGE}$")[0]


def _match_key(path: str) -> str:
    """Returns a key that ignores case, Unicode form and extension of a path."""
    path = spelling(path)
    match = re.search(r"(?:^|/)((?:train|valid|test)/.*)", path)
    return os.path.splitext(match[1] if match else path)[0]


def _paper_train(table: BagTable) -> int:
    """Returns how many images of `train` the paper trained on; for a partial copy, the same share."""
    split = table.rows["split"]
    num_train = int((split == "train").sum())
    if int((~split.isin(["official_valid", official_test.SPLIT])).sum()) == ALL_IMAGES:
        return PAPER_TRAIN
    return round(num_train * PAPER_TRAIN / PAPER_TRAIN_ALL)
