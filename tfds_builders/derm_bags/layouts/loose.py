"""Images without a table; a regular expression defines the cases."""

import dataclasses
import os
import re

import pandas as pd

from tfds_builders.derm_bags.layouts.shapes import is_split
from tfds_builders.derm_bags.layouts.source import Source
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.splits import USUAL, canonical_splits, renaming_note

_COLUMNS = {"case": "case_id", "patient": "patient_id", "label": "label"}  # by name of the group


def read(root: ImageRoot, paths: list[str], bag_regex: str) -> Source:
    """Returns a row for each of the image `paths`, in bags as `bag_regex` says.

    Where all images are in folders of splits, these are the splits.

    Args:
      root: the folder.
      paths: of the images, relative to it, with /.
      bag_regex: see `groups`.

    Raises:
      DataError: no regular expression, without a group, or one that does not match every path.
    """
    columns = {"image_path": paths} | groups(root.folder, paths, bag_regex)
    tops = {path.split("/")[0] if "/" in path else "" for path in paths}
    splits = {top for top in tops if is_split(top)}
    notes: list[str] = []
    renamed: dict[str, tuple[str, int]] = {}
    known = set(canonical_splits(sorted(tops))[0])
    if "train" in known and known <= {*USUAL}:
        columns["split"], renamed = canonical_splits(path.split("/")[0] for path in paths)
        notes.append(f"Splits are those of the folders {', '.join(sorted(tops))}.")
        notes += filter(None, [renaming_note(renamed)])
    elif splits:
        missing = ", ".join(sorted(tops - splits)[:3]) or "a folder train"
        why = f"{missing} is beside them" if tops - splits else "there is no folder train"
        notes.append(f"The folders {', '.join(sorted(splits))} are not used as splits: {why}.")
    rows = pd.DataFrame(columns, index=range(1, len(paths) + 1))
    return Source(
        "images",
        root.folder,
        rows,
        patient_id_from="bag_regex" if "patient_id" in columns else "case_id",
        images=root,
        notes=tuple(notes),
        renamed_splits=renamed,
        salt="splits of the folders" if "split" in columns else "",
    )


def with_note(source: Source, note: str) -> Source:
    """Returns `source` with `note` before its other notes."""
    return dataclasses.replace(source, notes=(note, *source.notes))


def groups(folder: str, paths: list[str], bag_regex: str) -> dict[str, list[str]]:
    """Returns case_id and, where the regex has such groups, patient_id and label of each path.

    Args:
      folder: for messages.
      paths: of images.
      bag_regex: searched for in each path: its group named `case`, or else its first group that is not
        `patient` or `label`, is the case id; a group named `patient` is the patient id, one named `label`
        the label, which alone may be empty. "(.+)" makes each image its own bag.

    Raises:
      DataError: no regular expression, without a group, or one that does not match every path.
    """
    pattern = _compile(bag_regex)
    values = [_groups(folder, path, pattern) for path in paths]
    return {name: [of_path[name] for of_path in values] for name in values[0]}


def _compile(bag_regex: str) -> re.Pattern:
    try:
        pattern = re.compile(bag_regex)
    except re.error as error:
        raise DataError(
            f"--bag_regex={bag_regex!r} is no regular expression ({error}): correct it."
        ) from error
    if _case_group(pattern) > pattern.groups:
        raise DataError(
            f"--bag_regex={bag_regex!r} has no group for the case: put the part of the path that "
            "names the case in parentheses, as in '([^/]+)/[^/]+$'."
        )
    return pattern


def _case_group(pattern: re.Pattern) -> int:
    """Returns the number of the group that is the case."""
    named = pattern.groupindex
    reserved = {named.get("patient"), named.get("label")}
    first = next(number for number in range(1, pattern.groups + 2) if number not in reserved)
    return named.get("case", first)


def _groups(folder: str, path: str, pattern: re.Pattern) -> dict[str, str]:
    """Returns case_id, and patient_id and label where the pattern has such groups, of one path."""
    named = pattern.groupindex
    numbers = {"case": _case_group(pattern)}
    numbers |= {name: named[name] for name in ("patient", "label") if name in named}
    match = pattern.search(path)
    values = {
        _COLUMNS[name]: (match[group] or "") if match else "" for name, group in numbers.items()
    }
    for name, value in values.items():
        if not value.strip() and not (match and name == "label"):
            raise DataError(
                f"{os.path.join(folder, path)}: --bag_regex={pattern.pattern!r} finds no {name} in "
                f"{path!r}: correct it, or move the image out of the folder."
            )
    return values
