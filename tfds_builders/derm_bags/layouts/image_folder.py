"""An "ImageFolder", label/image or split/label/image: each image is a case, or by --bag_regex."""

import collections
import os

import pandas as pd

from tfds_builders.derm_bags.layouts import loose
from tfds_builders.derm_bags.layouts.shapes import check_splits, is_split, not_labels, some
from tfds_builders.derm_bags.layouts.source import Source
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.splits import canonical_splits, renaming_note


def fits(paths: list[str]) -> bool:
    """Returns whether all paths (relative, with /) are label/image, or all are split/label/image."""
    parts = [path.split("/") for path in paths]
    depths = {len(names) for names in parts}
    splits = [is_split(names[0]) for names in parts]
    return (depths == {2} and not all(splits)) or (depths == {3} and any(splits))


def looks_like(paths: list[str]) -> str:
    """Returns what the label folders look like, such as "numbered parts"; "" if they may be labels."""
    labels = {path.split("/")[-2] for path in paths}
    if len(labels) == 1 and paths[0].count("/") == 2:
        return ""  # of all splits
    return not_labels(labels, len(paths))


def read(root: ImageRoot, paths: list[str]) -> Source:
    """Returns a row for each of the image `paths`: each image is a case, and a patient.

    Args:
      root: the folder.
      paths: for which `fits` is true.

    Raises:
      DataError: what seem to be splits cannot be.
    """
    columns, renamed, shape = _columns(root.folder, paths)
    columns["case_id"] = paths
    notes = [
        f"Read as {shape}; each of the {len(paths):,} images is a case, and a patient, of its own. Where "
        "cases have several images, or patients several cases, name them with --bag_regex (groups case "
        "and patient), or they may be in several splits."
    ]
    return _source(root, columns, renamed, notes, "case_id")


def read_bags(root: ImageRoot, paths: list[str], bag_regex: str) -> Source:
    """Returns a row for each of the image `paths`, in cases by `bag_regex`, with labels.

    Labels are those of the group `label` of the regex, else the folders, unless these cannot be labels:
    each is one case, or most cases with several images are in several of them. A note says which.

    Args:
      root: the folder.
      paths: for which `fits` is true.
      bag_regex: see `loose.groups`.

    Raises:
      DataError: as in `loose.read`, or what seem to be splits cannot be.
    """
    groups = loose.groups(root.folder, paths, bag_regex)
    columns, renamed, shape = _columns(root.folder, paths)
    patient_from = "bag_regex" if "patient_id" in groups else "case_id"
    if "label" not in groups and (
        why := _why_no_labels(paths, columns["label"], groups["case_id"])
    ):
        source = loose.read(root, paths, bag_regex)
        note = (
            f"Read without labels: {why}. A group label in --bag_regex keeps them: "
            "'(?P<label>[^/]+)/...'."
        )
        return loose.with_note(source, note)
    columns |= groups
    cases = len(set(groups["case_id"]))
    label_source = "the group label of --bag_regex" if "label" in groups else "the folders"
    notes = [f"Read as {shape}: {cases:,} cases by --bag_regex, labels from {label_source}."]
    return _source(root, columns, renamed, notes, patient_from)


def _why_no_labels(paths: list[str], labels: list[str], cases: list[str]) -> str:
    """Returns why the folders cannot be labels of the cases, "" if they may be."""
    if like := looks_like(paths):
        return f"the folders {some(set(labels))} look like {like}"
    folders_of, cases_of = collections.defaultdict(set), collections.defaultdict(set)
    for label, case in zip(labels, cases):
        folders_of[case].add(label)
        cases_of[label].add(case)
    if len(cases_of) < len(paths) and all(len(members) == 1 for members in cases_of.values()):
        return "each folder is one case"
    sizes = collections.Counter(cases)
    multi_image = [case for case, size in sizes.items() if size > 1]
    spread = [case for case in multi_image if len(folders_of[case]) > 1]
    if len(spread) > len(multi_image) / 2:
        return (
            f"{len(spread):,} of {len(multi_image):,} cases with several images have them in several "
            f"folders ({some(folders_of[spread[0]])})"
        )
    return ""


def _columns(
    folder: str, paths: list[str]
) -> tuple[dict[str, list[str]], dict[str, tuple[str, int]], str]:
    """Returns the columns image_path, label and any split; the renamed splits; the shape in words."""
    parts = [path.split("/") for path in paths]
    columns = {"image_path": paths, "label": [names[-2] for names in parts]}
    labels = set(columns["label"])
    shape = f"label/image, labels {some(labels)}"
    renamed: dict[str, tuple[str, int]] = {}
    if len(parts[0]) == 3:
        check_splits(folder, parts)
        columns["split"], renamed = canonical_splits(names[0] for names in parts)
        sizes = collections.Counter(columns["split"])
        counts = ", ".join(f"{split} {size:,}" for split, size in sizes.items())
        shape = f"split/label/image ({counts} images), labels {some(labels)}"
    return columns, renamed, shape


def _source(root, columns, renamed, notes, patient_from) -> Source:
    rows = pd.DataFrame(columns, index=range(1, len(columns["image_path"]) + 1))
    return Source(
        "image_folder",
        root.folder,
        rows,
        patient_id_from=patient_from,
        images=root,
        notes=(*notes, *filter(None, [renaming_note(renamed)])),
        renamed_splits=renamed,
    )


def check_alike(folder: str, paths: list[str]) -> None:
    """Raises DataError if images are at different depths.

    Args:
      folder: for the message.
      paths: of all images, relative to it.
    """
    model = max(paths, key=lambda path: (path.count("/") > 0, path.count("/") == 1))
    for path in paths:
        if path.count("/") != model.count("/"):
            raise DataError(
                f"{os.path.join(folder, path)} is not placed as {model!r} is: put all images into "
                "folders label/image, or give --bag_regex to read all images without labels."
            )
