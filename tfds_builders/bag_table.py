"""Bags of chest X-rays as one table, a row per image, in the order in which they are stored.

The two published datasets differ in how they are read (`nih_cxr14/`, `chexpert_studies/`); from
here on they are the same.
"""

import dataclasses
import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from tfds_builders import bag_checks
from tfds_builders.contents import READING, Contents, File
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.problems import Problems

VIEWS = ("frontal", "lateral")
MISSING_EXAMPLES = 20
# TFDS keeps the examples of a shard in memory while it writes it, and Beam hands out shards as work.
SHARD_BYTES = 64 * 2**20
ROW_BYTES = 4096  # of one image's ids, labels and metadata, about, in memory
_CHUNK = 2**20


@dataclasses.dataclass(frozen=True, eq=False)
class BagTable:
    """The content of a dataset. Bags are sorted by (SHA-256 of the patient, study), all splits mixed.

    `rows` has one row per existing image: table (file name), row (as in a spreadsheet), path
    (relative to `folder`), size (bytes), bag_id, patient_id, split, view, one float32 column per
    label (1 positive, 0 negative, -1 uncertain, NaN blank), one str column per metadata key; also
    mtime (of the last change of the file, ns).
    """

    folder: str  # absolute
    rows: pd.DataFrame
    labels: tuple[str, ...]
    metadata_keys: tuple[str, ...]
    num_missing: int  # rows of the table without an image file
    missing: tuple[str, ...]  # the first of their paths
    files: tuple[str, ...]  # tables and lists that were read, in `folder`
    facts: Mapping[str, Any]  # further entries of `info.metadata`
    image_folder: str = ""  # absolute; what `path` is relative to
    notes: tuple[str, ...] = ()  # assumptions, and what is left out, to be printed
    # named split -> (split, n): its first bags, of at most n images
    named_images: Mapping[str, tuple[str, int]] = dataclasses.field(default_factory=dict)


def make_bag_table(
    *,
    folder: str,
    files: Sequence[str],
    rows: pd.DataFrame,
    labels: Sequence[str],
    metadata_keys: Sequence[str],
    facts: Mapping[str, Any],
    images: ImageRoot,
    near: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    problems: Problems | None = None,
    skip_missing: bool = True,
    needs_train: bool = True,
) -> BagTable:
    """Returns the checked table, without the rows whose image is missing.

    Args:
      folder: real path.
      files: names of the tables and lists that were read.
      rows: the columns of `BagTable.rows`, with path, size and mtime missing where there is no
        file; also listed_path (as in the table), study_order and image_order (within the patient).
      labels: names of the label columns.
      metadata_keys: names of the metadata columns.
      facts: see `BagTable`.
      images: where images are.
      near: (image that is missing, as written; path of a file of another spelling), see
        `near_paths.find_near`.
      notes: see `BagTable`.
      problems: found while the tables were read.
      skip_missing: counts missing images instead of refusing the folder.
      needs_train: refuses a folder of which no image of split 'train' is there.

    Raises:
      DataError: there are `problems`, a patient is in two splits or written in two ways, images of
        one bag differ in their labels, an image is missing, or none (of split 'train') is there.
    """
    problems = Problems() if problems is None else problems
    bag_checks.check_ids(problems, folder, rows)
    bag_checks.check_patients(problems, folder, rows)
    bag_checks.check_labels(problems, folder, rows, labels)
    is_missing = rows["path"].isna()
    missing = rows.loc[is_missing, "listed_path"]
    if not skip_missing:
        bag_checks.add_missing(problems, folder, rows[is_missing], images, dict(near))
    problems.raise_if_any()
    all_rows, rows = rows, _in_order(rows[~is_missing])
    spellings = "; ".join(f"{listed_path!r} is there as {path!r}" for listed_path, path in near[:3])
    if rows.empty or (needs_train and "train" not in set(rows["split"])):
        no_train = " and none of the rest is in split 'train'" if needs_train else ""
        raise DataError(
            f"{folder}: of the {len(is_missing):,} images of {', '.join(sorted(files))}, "
            f"{len(missing):,} are not there{no_train} "
            f"(missing: {', '.join([*missing[:3], '...'])}): unpack more images"
            + (
                f", and rename those that are there under another spelling ({spellings})."
                if near
                else "."
            )
        )
    if len(missing):
        notes = [
            *notes,
            f"{len(missing):,} of the {len(is_missing):,} images that {', '.join(files)} name are not in "
            f"{images.folder}, and are left out ({missing.iloc[0]}, ...).",
        ]
    if near:
        notes = [
            *notes,
            f"{len(near):,} of the missing images may be there under another spelling ({spellings}): "
            "rename the files.",
        ]
    return BagTable(
        folder=folder,
        rows=rows.drop(columns=["listed_path", "study_order", "image_order"]),
        labels=tuple(labels),
        metadata_keys=tuple(metadata_keys),
        num_missing=len(missing),
        missing=tuple(missing[:MISSING_EXAMPLES]),
        files=tuple(sorted(files)),
        facts={**facts, **_table_facts(all_rows, labels, facts), "table_notes": list(notes)}
        | ({"image_root": images.folder} if images.folder != folder else {})
        | ({"near_images": [list(pair) for pair in near[:MISSING_EXAMPLES]]} if near else {}),
        image_folder=images.folder,
        notes=tuple(notes),
    )


def _table_facts(
    rows: pd.DataFrame, labels: Sequence[str], facts: Mapping[str, object]
) -> dict[str, object]:
    """Returns counts of the tables, whether or not the images exist: for `verify`."""
    expected = facts.get("expected")
    names = expected if isinstance(expected, Mapping) else {}
    return {
        "in_tables": {name: count(rows, name) for name in names},
        "positives_in_tables": {label: int((rows[label] == 1).sum()) for label in labels},
    }


def count(rows: pd.DataFrame, name: str) -> int:
    """Returns the number that `verify` calls `name`.

    Args:
      rows: of a table, with or without images.
      name: such as "images", "studies in train" or "patients in train+test".
    """
    what, _, where = name.partition(" in ")
    if where:
        rows = rows[rows["split"].isin(where.split("+"))]
    if what in VIEWS:
        return int((rows["view"] == what).sum())
    if what == "images":
        return len(rows)
    return int(rows["patient_id" if what == "patients" else "bag_id"].nunique())


def find_images(
    folder: str,
    rows: pd.DataFrame,
    key: pd.Series,
    index: pd.DataFrame,
    index_key: pd.Series,
    image_folder: str = "",
    problems: Problems | None = None,
) -> pd.DataFrame:
    """Returns `rows` with path, size and mtime of the image of each; NA where there is no file.

    Args:
      folder: real path of that of the tables, for the message.
      rows: with columns table, row, listed_path.
      key: what identifies the image of each row.
      index: of `image_index.index_files`.
      index_key: the same of each file.
      image_folder: that of the images, for the message; "": `folder`.
      problems: receives rows that name an image again (they are left out), and images with two files;
        None: either is an error.
    """
    collected = Problems() if problems is None else problems
    is_repeated = key.duplicated().to_numpy()
    firsts: dict = {}
    if is_repeated.any():
        firsts = {value: i for i, value in reversed(list(enumerate(key)))}
    for i in np.flatnonzero(is_repeated):
        row, other = rows.iloc[i], rows.iloc[firsts[key.iloc[i]]]
        collected.add(
            "images in two rows",
            os.path.join(folder, row["table"]),
            row["row"],
            f"image {row['listed_path']!r} is in row {other['row']} of {other['table']} already",
            "remove one of the two rows",
        )
    rows, key = rows[~is_repeated], key[~is_repeated]
    index = index.set_index(pd.Index(index_key))
    for name in index.index[index.index.duplicated() & index.index.isin(key)].unique():
        paths = " and ".join(index.loc[name, "path"][:2])
        what, advice = f"holds one image twice, {paths}", "remove one of the two"
        collected.add("images with two files", image_folder or folder, None, what, advice)
    if problems is None:
        collected.raise_if_any()
    index = index[~index.index.duplicated()]
    # By position: reindex() would make floats of the times, which are beyond 2**53.
    position = index.index.get_indexer(pd.Index(key))
    columns = {name: index[name].to_numpy()[position] for name in index} if len(index) else {}
    path = np.where(position < 0, None, columns["path"]) if columns else None
    return rows.assign(path=path, size=columns.get("size", 0), mtime=columns.get("mtime", 0))


def shards(rows: pd.DataFrame, shard_bytes: int = SHARD_BYTES) -> list[pd.DataFrame]:
    """Returns the rows of one split in pieces of about `shard_bytes`; no patient is cut in two.

    So a reader that opens only some of the files still gets all images of their patients.

    Args:
      rows: of one split, in the order of `BagTable`.
      shard_bytes: of images and of their ids, labels and metadata in memory.
    """
    weight = rows["size"] + ROW_BYTES
    before = weight.cumsum() - weight  # bytes before this image
    is_first = rows["patient_id"].ne(rows["patient_id"].shift())
    shard = (before.where(is_first).ffill() // shard_bytes).astype(np.int64)
    return [piece for _, piece in rows.groupby(shard.to_numpy(), sort=True)]


def _in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Returns `rows` sorted by (sha256 of the patient, study, image)."""
    codes, patients = pd.factorize(rows["patient_id"])
    hashes = [hashlib.sha256(patient.encode()).digest() for patient in patients]
    rank = np.empty(len(patients), np.int64)
    rank[sorted(range(len(patients)), key=hashes.__getitem__)] = np.arange(len(patients))
    order = np.lexsort((rows["image_order"], rows["study_order"], rank[codes]))
    return rows.iloc[order].reset_index(drop=True)


def fingerprints(table: BagTable, salt: str, contents: Contents) -> tuple[str, str]:
    """Returns two SHA-256 (hex) of tables and lists (bytes), images and `salt`.

    The first depends on the path and content of each image; the second, that of earlier versions, on
    its path, size and modification time.

    Args:
      table: the rows and files.
      salt: options that affect what is built.
      contents: cached hashes of the image files.
    """
    rows = table.rows
    digest = hashlib.sha256(f"{READING} {salt}".encode())
    older = hashlib.sha256(salt.encode())
    for name in table.files:
        for hasher in (digest, older):
            hasher.update(f"\0{name}\0".encode())
        with open(os.path.join(table.folder, name), "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                older.update(chunk)
    paths = "\0".join(rows["path"]).encode()
    files = list(map(File, rows["path"], rows["size"].tolist(), rows["mtime"].tolist()))
    digest.update(paths + b"".join(contents.digests(table.image_folder or table.folder, files)))
    older.update(paths)
    for column in ("size", "mtime"):
        older.update(rows[column].to_numpy().astype("<i8").tobytes())
    return digest.hexdigest(), older.hexdigest()
