"""Reads NIH's table and lists: patient, findings and split of each image."""

import difflib
import os

import numpy as np
import pandas as pd

from tfds_builders.bag_table import BagTable, find_images, make_bag_table
from tfds_builders.columns import read_columns, report_invalid
from tfds_builders.dialects import decode
from tfds_builders.errors import DataError
from tfds_builders.folders import existing_folder, image_root_of
from tfds_builders.image_index import index_files
from tfds_builders.near_paths import find_near, spelling
from tfds_builders.problems import Problems
from tfds_builders.splits import hash_split, hash_train_or_validation
from tfds_builders.tables import read_bytes

LABELS = (
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
)
NO_FINDING = "No Finding"
# The five labels of CheXpert's competition, under NIH's names.
CHEXPERT5 = {
    "Atelectasis": "Atelectasis",
    "Cardiomegaly": "Cardiomegaly",
    "Consolidation": "Consolidation",
    "Edema": "Edema",
    "Effusion": "Pleural Effusion",
}
METADATA_KEYS = ("age", "sex", "projection", "follow_up")
# As published by NIH now and in 2017 (also on Kaggle), and Kaggle's sample; the first found is read.
TABLES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "sample_labels.csv")
TRAIN_VAL_LIST, TEST_LIST = "train_val_list.txt", "test_list.txt"
PUBLISHED = {"images": 112_120, "patients": 30_805}  # with the names that `verify` expects
# Copies have .jpg, .jpeg or .PNG; an image is the same by the rest of its name.
_EXTENSION = r"(?:[Pp][Nn][Gg]|[Jj][Pp][Ee]?[Gg])"
_FILE = rf"(?:^|/)(\d{{8}}_\d{{3}})\.{_EXTENSION}$"
# The header breaks 'OriginalImage[Width,Height]' into two, as it is not quoted: columns are found
# by name, and those are not needed.
_COLUMNS = {
    "listed_path": ("Image Index",),
    "findings": ("Finding Labels",),
    "follow_up": ("Follow-up #",),
    "patient": ("Patient ID",),
    "age": ("Patient Age",),
    "sex": ("Patient Gender", "Patient Sex"),
    "projection": ("View Position",),
}


def read_table(
    manual_dir: str | os.PathLike,
    image_root: str = "",
    follow_links: bool = False,
    on_missing_image: str = "auto",
    needs_train: bool = True,
) -> BagTable:
    """Returns the checked table of a folder with NIH's table and images, wherever they are in it.

    Args:
      manual_dir: the folder; it may hold only a part of the images.
      image_root: the folder that holds the images; "": that of the table.
      follow_links: whether links may lead out of it.
      on_missing_image: "error" refuses a folder without some of the images; else they are counted.
      needs_train: refuses a folder of which no image of split 'train' is there.

    Raises:
      DataError: for anything the user has to mend.
    """
    advice = f"give the folder that holds {TABLES[0]}"
    folder = os.path.realpath(existing_folder(manual_dir, advice))
    name = _table_name(folder)
    file = os.path.join(folder, name)
    problems = Problems()
    table, notes = read_columns(file, _COLUMNS, problems)
    table = _published_rows(file, table, problems)
    labels = _labels(file, table["findings"], problems)
    if table.empty:
        problems.raise_if_any()
    stem = table["listed_path"].str[:12]  # 00000001_000, whatever the extension
    lists = [n for n in (TRAIN_VAL_LIST, TEST_LIST) if os.path.isfile(os.path.join(folder, n))]
    rows = pd.DataFrame(
        {
            "table": name,
            "row": table.index,
            "listed_path": table["listed_path"],
            "bag_id": stem + ".png",
            "patient_id": table["listed_path"].str[:8],
            "split": _splits(folder, file, table, lists),
            "view": "frontal",
            "study_order": table["follow_up"].astype(int),
            "image_order": table["listed_path"].str[9:12].astype(int),
        }
        | {key: table[key] for key in METADATA_KEYS}
    ).join(labels)
    images = image_root_of(folder, image_root, follow_links)
    index = index_files(images)
    key = index["path"].str.extract(_FILE)[0]
    is_image = key.notna()
    rows = find_images(folder, rows, stem, index[is_image], key[is_image], images.folder, problems)
    near = find_near(rows, stem[rows.index], index["path"][~is_image], _match_key)
    return make_bag_table(
        folder=folder,
        files=[name, *lists],
        rows=rows,
        labels=LABELS,
        metadata_keys=METADATA_KEYS,
        images=images,
        near=near,
        facts={
            "chexpert5": CHEXPERT5,
            "splits_from": "official lists" if lists else "hash",
            "expected": PUBLISHED if name != TABLES[-1] else {},  # Kaggle's sample is a part
        },
        notes=notes,
        problems=problems,
        skip_missing=on_missing_image != "error",
        needs_train=needs_train,
    )


def _table_name(folder: str) -> str:
    for name in TABLES:
        if os.path.isfile(os.path.join(folder, name)):
            return name
    names = ", ".join(sorted(os.listdir(folder))[:5]) or "nothing"
    raise DataError(f"{folder} has no {' or '.join(TABLES)} (found: {names}): put one there.")


def _published_rows(file: str, table: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """Returns the rows of a table that are as published; adds the others to `problems`."""
    names, patients = table["listed_path"], table["patient"]
    is_invalid = report_invalid(
        file,
        ~names.str.fullmatch(rf"\d{{8}}_\d{{3}}\.{_EXTENSION}"),
        lambda row: f"Image Index is {names[row]!r}",
        "names are like 00000001_000.png; use the table as published",
        problems,
    )
    is_invalid |= report_invalid(
        file,
        # 1 in the table is 00000001 in the name of the file.
        (patients.str.zfill(8) != names.str[:8]) & ~is_invalid,
        lambda row: f"Patient ID is {patients[row]!r}, but the image is {names[row]!r}",
        "names begin with the patient; use the table as published",
        problems,
    )
    follow_up = table["follow_up"]
    is_invalid |= report_invalid(
        file,
        ~follow_up.str.fullmatch(r"\d{1,9}"),
        lambda row: f"Follow-up # is {follow_up[row]!r}",
        "write a whole number",
        problems,
    )
    return table[~is_invalid]


def _labels(file: str, findings: pd.Series, problems: Problems) -> pd.DataFrame:
    """Returns 1 or 0 for each label (float32), from texts like 'Edema|Hernia' or 'No Finding'."""
    codes, texts = pd.factorize(findings)  # some 800 different texts
    values = np.zeros((len(texts), len(LABELS)), np.float32)
    for i, text in enumerate(texts):
        names = text.split("|")
        if invalid := _describe_invalid(names):
            what, advice = invalid
            for row in findings.index[codes == i]:
                kind = "findings that cannot be read"
                problems.add(kind, file, int(row), f"Finding Labels {what}", advice)
        values[i] = [label in names for label in LABELS]
    return pd.DataFrame(values[codes], index=findings.index, columns=list(LABELS))


def _describe_invalid(names: list[str]) -> tuple[str, str] | None:
    """Returns what is wrong with the findings of an image, and what to do; None if nothing is."""
    for name in names:
        if name not in (*LABELS, NO_FINDING):
            close = difflib.get_close_matches(name, LABELS, n=1)
            hint = f"write {close[0]!r}" if close else f"the labels are {', '.join(LABELS)}"
            return f"has {name!r}", f"{hint}, with | between"
    if NO_FINDING in names and len(names) > 1:
        return f"is {'|'.join(names)!r}", "either there is a finding or not"
    return None


def _splits(folder: str, file: str, table: pd.DataFrame, lists: list[str]) -> pd.Series:
    """Returns the split of each row: by the official lists if they exist, else by patient hash."""
    patients = table["listed_path"].str[:8]
    by_patient = {patient: hash_split(patient) for patient in patients.unique()}
    if not lists:
        return patients.map(by_patient)
    if len(lists) == 1:
        other = TEST_LIST if lists == [TRAIN_VAL_LIST] else TRAIN_VAL_LIST
        raise DataError(f"{folder} has {lists[0]} but no {other}: put both there, or none.")
    train_val, test = (_read_list(os.path.join(folder, name)) for name in lists)
    in_both = sorted(train_val & test)
    if in_both:
        raise DataError(
            f"{os.path.join(folder, TEST_LIST)}: {in_both[0]}.png is in {TRAIN_VAL_LIST} too "
            f"({len(in_both)} such images): use the lists as published."
        )
    names = table["listed_path"]
    stems = names.str[:12]
    in_test = stems.isin(test)
    report_invalid(
        file,
        ~(in_test | stems.isin(train_val)),
        lambda row: f"{names[row]} is neither in {TRAIN_VAL_LIST} nor in {TEST_LIST}",
        "use the lists as published, or remove both to split by patient",
    )
    by_patient = {patient: hash_train_or_validation(patient) for patient in patients.unique()}
    return patients.map(by_patient).mask(in_test, "test")


def _read_list(file: str) -> set[str]:
    """Returns the image names of an official list, one a line, without extension."""
    text, _ = decode(file, read_bytes(file))
    return {os.path.splitext(line.strip())[0] for line in text.splitlines() if line.strip()}


def _match_key(path: str) -> str:
    """Returns a key that ignores folder, case, Unicode form and extension of a path."""
    return os.path.splitext(spelling(path.rpartition("/")[2]))[0]
