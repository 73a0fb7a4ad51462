"""Checks the rows of a folder, whatever its layout; one error names all problems with their rows.

Images are looked up and, unless their hash is cached, read to compute it (`contents.py`); they are
decoded only at build, by `bags.py`.
"""

import dataclasses
import hashlib
import os
from collections.abc import Iterable, Mapping

from tfds_builders.contents import READING, Contents, File
from tfds_builders.derm_bags import findings
from tfds_builders.derm_bags.label_columns import check_exclusive, parse_names
from tfds_builders.derm_bags.labels import (
    MISSING_LABELS,
    OTHER,
    commonest,
    gather,
    is_tied,
)
from tfds_builders.derm_bags.layouts import Source, location, read_source
from tfds_builders.derm_bags.row_checks import Case, Checker, ImageRow
from tfds_builders.errors import DataError
from tfds_builders.kept_metadata import Kept, keep


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A checked folder: no case in two patients, no patient (and no image) in two splits."""

    folder: str  # absolute
    layout: str  # name of the layout, see layouts/
    file: str  # the table that row numbers lead to; "" where there is none
    cases: tuple[Case, ...]
    classes: tuple[str, ...]  # sorted, "Other" last; empty if no row has a label
    has_differentials: bool  # whether any case has labels with weights
    metadata_columns: tuple[str, ...]
    patient_id_from: str  # what named the patients
    splits_from: str  # "table": the source names them; "hash": by a hash of the patients' ids
    missing: tuple[tuple[int, str, str], ...]  # (row, path, reason) of images left out
    fingerprint: str  # sha256, hex; of the folder's content, whatever is stored of it
    older_fingerprint: str  # of earlier versions, by the images' sizes and times
    kept: Kept = Kept((), True, True)  # its columns are `metadata_columns`
    image_folder: str = ""  # absolute; what `ImageRow.path` is relative to
    notes: tuple[str, ...] = ()  # assumptions, to be printed
    renamed_splits: Mapping[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    lost_classes: Mapping[str, int] = dataclasses.field(
        default_factory=dict
    )  # -> images, all missing
    label_columns: tuple[str, ...] = ()  # of several labels a case; then `classes` is empty
    positive_rows: Mapping[str, int] = dataclasses.field(default_factory=dict)  # of each of them

    def location(self, image: ImageRow) -> str:
        """Returns the beginning of an error message about an image."""
        return location(self.folder, self.file, image.row, image.path)

    def class_weights(self, case: Case) -> tuple[float, ...]:
        """Returns the weight of each of `classes` for a case, 0 for all where it has no label."""
        weights = dict(case.weights)
        return tuple(weights.get(name, 0.0) for name in self.classes)


def read_manifest(
    manual_dir: str | os.PathLike,
    salt: str = "",
    *,
    skip_missing: bool = False,
    top_conditions: int = 0,
    bag_regex: str = "",
    keep_metadata: str = "all",
    used_columns: Iterable[str] = (),
    on_label_conflict: str = "error",
    missing_labels: str = MISSING_LABELS,
    image_root: str = "",
    follow_links: bool = False,
    split_column: str = "split",
    label_columns: str = "",
    contents: Contents | None = None,
) -> Manifest:
    """Returns the checked contents of the folder `manual_dir`.

    Args:
      manual_dir: the folder; see README.md for its layouts.
      salt: whatever else affects what is built; part of the fingerprint.
      skip_missing: leaves missing images out, instead of refusing the folder.
      top_conditions: 0, or the number of labels to keep: those of most cases in the training split,
        ties by name. All others become "Other".
      bag_regex: for folders of images only, see layouts/loose.py.
      keep_metadata, used_columns: see `kept_metadata.keep`; what is not kept is not read.
      on_label_conflict: for a case whose rows have different labels, see conflicts.py.
      missing_labels: see `labels.read_labels`.
      image_root, follow_links: where images are, see `layouts.read_source`.
      split_column: of a manifest.csv, the column that names the splits.
      label_columns: of a manifest.csv, the columns of several labels a case, with commas.
      contents: cached hashes of the image files; None: all are read.

    Raises:
      DataError: for anything the user has to mend, see the module docstring.
    """
    check_exclusive(label_columns, top_conditions, missing_labels)
    label_names = parse_names(label_columns)
    source = read_source(
        manual_dir, bag_regex, image_root, follow_links, split_column, label_columns=label_names
    )
    kept_columns = keep(keep_metadata, source.metadata_columns, used_columns)
    options = f"{source.layout} {skip_missing} {top_conditions} {bag_regex!r} {salt}"
    options += findings.salt(source)
    checker = Checker(source, skip_missing, kept_columns.columns, on_label_conflict, missing_labels)
    cases = checker.cases()
    source.problems.raise_if_any()
    _check_train(source, cases)
    classes = sorted(labels := {name for case in cases for name, _ in case.weights})
    if top_conditions:
        top_labels = _top_conditions(source, cases, top_conditions)
        cases = tuple(_gather(case, top_labels) for case in cases)
        classes = [*sorted(top_labels), OTHER]
    return Manifest(
        folder=source.folder,
        layout=source.layout,
        file=source.file,
        cases=cases,
        classes=tuple(classes),
        has_differentials=bool(classes) and _has_differentials(source),
        metadata_columns=kept_columns.columns,
        patient_id_from=source.patient_id_from,
        splits_from="table" if "split" in source.rows.columns else "hash",
        missing=tuple(checker.missing),
        fingerprint=_fingerprint(options, source, checker.images, contents or Contents()),
        older_fingerprint=_older_fingerprint(options, source, checker.images),
        kept=kept_columns,
        image_folder=source.image_root.folder,
        notes=findings.notes(source, [*checker.notes, *_label_notes(source, cases)], checker.near),
        renamed_splits=source.renamed_splits,
        lost_classes=findings.lost_classes(checker.labels_of_missing, labels),
        label_columns=source.label_columns,
        positive_rows=checker.positive_rows,
    )


def _label_notes(source: Source, cases: tuple[Case, ...]) -> list[str]:
    """Returns how many cases have no label, and how many labels were chosen among tied ones."""
    notes = []
    labelled = sum(bool(case.label) for case in cases)
    if "label" in source.rows.columns and labelled < len(cases):
        notes.append(f"{len(cases) - labelled:,} of {len(cases):,} cases have no label.")
    if tied := sum(is_tied(case.weights) for case in cases):
        notes.append(
            f"{tied:,} of {labelled:,} labelled cases have several labels of the greatest weight: "
            "`label` is the first of them in the table, `label_weights` has all."
        )
    return notes


def _fingerprint(
    options: str, source: Source, images: list[tuple[str, File | None]], contents: Contents
) -> str:
    """Returns the SHA-256 (hex) of the options, the tables, and path and content of every image."""
    digest = hashlib.sha256(f"{READING} {options}".encode() + b"\0" + source.raw)
    present = [file for _, file in images if file]
    hashes = iter(contents.digests(source.image_root.folder, present))
    for path, file in images:
        digest.update(f"{path}\0".encode() + (next(hashes) if file else b"missing") + b"\n")
    return digest.hexdigest()


def _older_fingerprint(options: str, source: Source, images: list[tuple[str, File | None]]) -> str:
    """Returns the fingerprint of earlier versions, which included modification times."""
    digest = hashlib.sha256(options.encode() + b"\0" + source.raw)
    for path, file in images:
        state = f"{file.size}\0{file.mtime}" if file else "missing"
        digest.update(f"{path}\0{state}\n".encode())
    return digest.hexdigest()


def _has_differentials(source: Source) -> bool:
    labels = source.rows.get("label")
    return labels is not None and bool(labels.str.startswith("{").any())


def _check_train(source: Source, cases: tuple[Case, ...]) -> None:
    splits = sorted({case.split for case in cases})
    if "train" in splits:
        return
    if not cases:
        raise DataError(
            f"{source.name}: none of the {len(source.rows)} images is in "
            f"{source.image_root.folder}: unpack the images there."
        )
    if "split" in source.rows.columns:
        raise DataError(
            f"{source.name}: no row has split 'train' (splits in the file: "
            f"{', '.join(splits)}). Rename one of them to 'train'."
        )
    patients = len({case.patient_id for case in cases})
    raise DataError(
        f"{source.name}: none of the {patients} patients fell into 'train' when split 75/10/15 by "
        "a hash of their id: add patients, or a 'split' column in a manifest.csv."
    )


def _top_conditions(source: Source, cases: tuple[Case, ...], number: int) -> set[str]:
    """Returns the labels to keep, by the training split alone."""
    labels = [case.label for case in cases if case.split == "train"]
    top_labels = commonest(labels, number)
    if number < 0 or len(top_labels) < number:
        raise DataError(
            f"{source.name}: top_conditions is {number}, but the training split has "
            f"{len(set(labels) - {'', OTHER})} labels: give a number up to that, or 0 to keep all."
        )
    return top_labels


def _gather(case: Case, kept: set[str]) -> Case:
    label = case.label if case.label in kept or not case.label else OTHER
    return dataclasses.replace(case, label=label, weights=gather(case.weights, kept))
