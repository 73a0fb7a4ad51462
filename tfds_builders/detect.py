"""Detects the dataset of a folder by its tables, and suggests one for an unknown --dataset."""

import difflib
import os
import re

from tfds_builders.chexpert_studies import plus
from tfds_builders.chexpert_studies.table import TRAIN_CSV
from tfds_builders.derm_bags.layouts import ham10000, manifest_csv, pad_ufes_20, scin
from tfds_builders.errors import DataError
from tfds_builders.folders import existing_folder
from tfds_builders.nih_cxr14.table import TABLES

NAMES = ("derm_bags", "chexpert", "nih_cxr14", "derm_bags/demo", "derm_bags/demo_shift")
_ALIASES = {  # other names -> name
    **dict.fromkeys(
        ("scin", "ham10000", "pad_ufes_20", "manifest", "isic", "imagefolder"), "derm_bags"
    ),
    **dict.fromkeys(("chexpert_studies", "chexpert_small", "chexpert_plus"), "chexpert"),
    **dict.fromkeys(
        ("nih", "chestx_ray14", "nih_chest_xray", "cxr14", "chest_xray14"), "nih_cxr14"
    ),
}
_FIRST_BYTES = 4096  # of a table: comments and the header


def detect(manual_dir: str | os.PathLike) -> tuple[str, str]:
    """Returns the name of the dataset in a folder, as for --dataset, and the table that identified it.

    Without a table of chexpert or nih_cxr14 it is derm_bags; its reader reports what the folder lacks.

    Raises:
      DataError: there is no such folder, or it holds the tables of several datasets.
    """
    folder = existing_folder(manual_dir, "give the folder of the dataset with --manual_dir")
    names = sorted(os.listdir(folder))
    table_of: dict[str, str] = {}
    inside = [os.path.join(folder, name) for name in names]
    for candidate in (folder, *filter(os.path.isdir, inside)):
        if table := _chexpert_table(candidate):
            table_of.setdefault("chexpert", os.path.relpath(os.path.join(candidate, table), folder))
    if tables := [name for name in TABLES if name in names]:
        table_of["nih_cxr14"] = tables[0]
    if table := _derm_table(folder, names):
        table_of["derm_bags"] = table
    if len(table_of) > 1:
        listing = ", ".join(f"{table} ({name})" for name, table in table_of.items())
        raise DataError(
            f"{folder} holds the tables of several datasets, {listing}: say which with "
            f"--dataset={'|'.join(table_of)}."
        )
    for name, table in table_of.items():
        return name, table
    return "derm_bags", "it has no table of chexpert or nih_cxr14"


def suggestion(name: str, manual_dir: str | None) -> str:
    """Returns a hint for an unknown --dataset, such as " Did you mean ...?", or "".

    Args:
      name: value of --dataset that is no dataset.
      manual_dir: value of --manual_dir.
    """
    path = os.path.expanduser(name)
    if os.path.isfile(path):
        path = os.path.dirname(os.path.abspath(path))
    if os.path.isdir(path):
        try:
            dataset, _ = detect(path)
        except DataError:
            dataset = "derm_bags|chexpert|nih_cxr14"
        return f" A folder is read with --dataset={dataset} --manual_dir={path}."
    if re.match(r"[/.~]|.*(\\|/.*/)", name) and not manual_dir:
        return f" It looks like a path, and there is no {path}: folders are named by --manual_dir."
    plain = re.sub(r"[^a-z0-9]", "", name.lower())
    known = {re.sub(r"[^a-z0-9]", "", alias): alias for alias in (*NAMES, *_ALIASES)}
    near = difflib.get_close_matches(plain, known, n=1, cutoff=0.7)
    if not near:
        return ""
    dataset = known[near[0]]
    return f" Did you mean --dataset={_ALIASES.get(dataset, dataset)}?"


def _chexpert_table(folder: str) -> str | None:
    """Returns the name of CheXpert's table; other datasets have a train.csv, too."""
    try:
        if name := plus.table_name(folder):
            return name
        with open(os.path.join(folder, TRAIN_CSV), "rb") as file:
            first = file.read(_FIRST_BYTES)
    except OSError:
        return None
    text = first.replace(b"\0", b"").decode("latin-1")  # UTF-16, too
    return TRAIN_CSV if "Path" in text and "Frontal/Lateral" in text else None


def _derm_table(folder: str, names: list[str]) -> str | None:
    """Returns the name of the table that derm_bags reads in a folder."""
    for name in names:
        if os.path.splitext(name)[0] == os.path.splitext(manifest_csv.FILE_NAME)[0]:
            return name
    if tables := scin.tables_folder(folder):
        return os.path.relpath(os.path.join(tables, scin.CASES), folder)
    for name in ham10000.FILE_NAMES:
        if name in names:
            return name
    return pad_ufes_20.FILE_NAME if pad_ufes_20.is_here(folder) else None
