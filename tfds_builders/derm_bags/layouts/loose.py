"""Images without a table and without labels; a regular expression says which form a case."""

import os
import re

import pandas as pd

from tfds_builders.derm_bags.layouts.source import Source
from tfds_builders.errors import DataError


def read(folder: str, paths: list[str], bag_regex: str) -> Source:
    """Returns a row for each of the image `paths`, in bags as `bag_regex` says.

    Args:
      folder: its absolute path.
      paths: of the images, relative to it, with /.
      bag_regex: searched for in each path: its group named `case`, or else its first group, is the
        case id; a group named `patient` is the patient id. "(.+)" makes each image its own bag.

    Raises:
      DataError: no regular expression, without a group, or one that does not match every path.
    """
    pattern = _compile(bag_regex)
    found = [_groups(folder, path, pattern) for path in paths]
    columns = {"image_path": paths} | {name: [g[name] for g in found] for name in found[0]}
    rows = pd.DataFrame(columns, index=range(1, len(paths) + 1))
    patient = "patient_id" in columns
    return Source("images", folder, rows, patient_id_from="bag_regex" if patient else "case_id")


def _compile(bag_regex: str) -> re.Pattern:
    try:
        pattern = re.compile(bag_regex)
    except re.error as error:
        raise DataError(
            f"--bag_regex={bag_regex!r} is no regular expression ({error}): correct it."
        ) from error
    if pattern.groups < 1 + ("patient" in pattern.groupindex):
        raise DataError(
            f"--bag_regex={bag_regex!r} has no group for the case: put the part of the path that "
            "names the case in parentheses, as in '([^/]+)/[^/]+$'."
        )
    return pattern


def _groups(folder: str, path: str, pattern: re.Pattern) -> dict[str, str]:
    """Returns case_id, and patient_id where the pattern has such a group, of one path."""
    named = pattern.groupindex
    first = 2 if named.get("patient") == 1 else 1  # the first group that is not the patient
    wanted = {"case_id": named.get("case", first)}
    if "patient" in named:
        wanted["patient_id"] = named["patient"]
    match = pattern.search(path)
    groups = {name: (match[group] or "") if match else "" for name, group in wanted.items()}
    for name, value in groups.items():
        if not value.strip():
            raise DataError(
                f"{os.path.join(folder, path)}: --bag_regex={pattern.pattern!r} finds no {name} in "
                f"{path!r}: correct it, or move the image out of the folder."
            )
    return groups
