"""Counts of the rows of a `BagTable`, split by split: for `info.metadata`."""

import hashlib
from collections.abc import Mapping

import pandas as pd
import tensorflow_datasets as tfds

from tfds_builders.bag_table import VIEWS, BagTable


def counts(rows: pd.DataFrame) -> dict[str, int]:
    """Returns split -> number of rows."""
    return {split: int(n) for split, n in rows["split"].value_counts(sort=False).items()}


def num_by_views(
    rows: pd.DataFrame, named: dict[str, tuple[str, int]]
) -> dict[str, dict[str, dict[str, int]]]:
    """Returns split or named split -> "all" or a view -> number of images, bags and patients.

    A reader that keeps one view, or joins the bags of a patient, needs them to compute its epochs.

    Args:
      rows: of `BagTable`.
      named: see `named_splits`.
    """
    of_split = dict(tuple(rows.groupby("split", sort=False)))
    for name, (split, n) in named.items():
        first = of_split[split]
        of_split[name] = first[first["bag_id"].isin(first["bag_id"].unique()[:n])]
    return {
        split: {
            view: {
                "images": len(of_view),
                "bags": int(of_view["bag_id"].nunique()),
                "patients": int(of_view["patient_id"].nunique()),
            }
            for view in ("all", *VIEWS)
            for of_view in [
                rows_of_split if view == "all" else rows_of_split[rows_of_split["view"] == view]
            ]
        }
        for split, rows_of_split in of_split.items()
    }


def named_splits(table: BagTable, rows: pd.DataFrame) -> dict[str, tuple[str, int]]:
    """Returns named split -> (split, number of its first bags that hold at most n images).

    Args:
      table: its `named_images` say which splits.
      rows: of the images that are stored.
    """
    named = {}
    for name, (split, num_images) in table.named_images.items():
        sizes = rows[rows["split"] == split].groupby("bag_id", sort=False).size()
        if num_bags := int((sizes.cumsum() <= num_images).sum()):  # TFDS cannot read no bags
            named[name] = (split, num_bags)
    return named


def split_fingerprints(bags: pd.DataFrame, named: dict[str, tuple[str, int]]) -> dict[str, str]:
    """Returns split -> SHA-256 (hex) of its sorted bag ids, one per line.

    Args:
      bags: a row for each bag.
      named: see `named_splits`.
    """
    ids = {split: of_split["bag_id"] for split, of_split in bags.groupby("split", sort=False)}
    ids |= {name: ids[split][:n] for name, (split, n) in named.items()}
    return {
        split: hashlib.sha256("\n".join(sorted(of_split)).encode()).hexdigest()
        for split, of_split in ids.items()
    }


def same_counts(info: tfds.core.DatasetInfo, bags: Mapping[str, int], skipped: bool) -> bool:
    """Returns whether a prepared copy has as many bags a split as are read now.

    Args:
      info: of the copy.
      bags: split -> number of bags that the tables name.
      skipped: whether unreadable images were left out of it: then it may have fewer.
    """
    stored = {name: split.num_examples for name, split in info.splits.items()}
    if skipped:
        return all(number <= bags.get(name, 0) for name, number in stored.items())
    return stored == dict(bags)
