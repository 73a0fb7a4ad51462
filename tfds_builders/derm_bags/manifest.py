"""Checks the rows of a folder, whatever its layout; all that is wrong is one error naming the places.

Images are looked up and, unless their content is known, read to know it again (`contents.py`), but
not decoded: that is `bags.py`, at build.
"""

import collections
import dataclasses
import hashlib
import os
import re
from collections.abc import Iterable, Mapping

from tfds_builders import identifiers
from tfds_builders.contents import READING, Contents, File
from tfds_builders.derm_bags import findings
from tfds_builders.derm_bags.conflicts import LabelChoice
from tfds_builders.derm_bags.labels import (
    MISSING_LABELS,
    OTHER,
    Weights,
    commonest,
    gather,
    is_tied,
    read_labels,
)
from tfds_builders.derm_bags.layouts import REQUIRED, Source, place, read_source
from tfds_builders.errors import DataError
from tfds_builders.folders import MissingError, PathError, look_up
from tfds_builders.kept_metadata import Kept, keep
from tfds_builders.spelling import fold
from tfds_builders.splits import hash_split


@dataclasses.dataclass(frozen=True, slots=True)
class ImageRow:
    """One row: `row` as Source counts; `path` as written, no blanks."""

    row: int
    path: str
    metadata: tuple[str, ...]  # in the order of Manifest.metadata_columns


@dataclasses.dataclass(frozen=True, slots=True)
class Case:
    """The images of one case, in the order of the rows."""

    case_id: str
    patient_id: str
    split: str
    label: str  # the heaviest label, the first in the table of those tied; "" where there is none
    weights: Weights  # of all its labels
    images: tuple[ImageRow, ...]


@dataclasses.dataclass(frozen=True)
class Manifest:
    """A checked folder: no case in two patients, no patient (and no image) in two splits."""

    folder: str  # absolute
    layout: str  # what the folder was read as, see layouts/
    file: str  # the table that row numbers lead to; "" where there is none
    cases: tuple[Case, ...]
    classes: tuple[str, ...]  # sorted, "Other" last; empty if no row has a label
    has_differentials: bool  # whether any case has labels with weights
    metadata_columns: tuple[str, ...]
    patient_id_from: str  # what named the patients
    splits_from: str  # "table": the source names them; "hash": by a hash of the patients' ids
    missing: tuple[tuple[int, str, str], ...]  # (row, path, reason) of images left out
    fingerprint: str  # sha256, hex; of the folder's content, whatever is kept of it
    older_fingerprint: str  # as it was before content decided: by the images' sizes and times
    kept: Kept = Kept((), True, True)  # its columns are `metadata_columns`
    image_folder: str = ""  # absolute; what `ImageRow.path` is relative to
    notes: tuple[str, ...] = ()  # what was assumed, to be printed
    renamed_splits: Mapping[str, tuple[str, int]] = dataclasses.field(default_factory=dict)
    lost_classes: Mapping[str, int] = dataclasses.field(
        default_factory=dict
    )  # -> images, all missing

    def place(self, image: ImageRow) -> str:
        """Returns what a sentence about an image begins with."""
        return place(self.folder, self.file, image.row, image.path)

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
    contents: Contents | None = None,
) -> Manifest:
    """Returns the checked contents of the folder `manual_dir`.

    Args:
      manual_dir: the folder; see README.md for its layouts.
      salt: whatever else decides what is built; goes into the fingerprint.
      skip_missing: leaves out images that are not there, instead of refusing the folder.
      top_conditions: 0, or the number of labels to keep: those of most cases in the training split,
        ties by name. All others become "Other".
      bag_regex: for folders of images only, see layouts/loose.py.
      keep_metadata, used_columns: see `kept_metadata.keep`; what is not kept is not read.
      on_label_conflict: for a case whose rows have different labels, see conflicts.py.
      missing_labels: see `labels.read_labels`.
      image_root, follow_links: where images are, see `layouts.read_source`.
      contents: what is known of the images' content; None: all are read.

    Raises:
      DataError: for anything the user has to mend, see the module docstring.
    """
    source = read_source(manual_dir, bag_regex, image_root, follow_links)
    kept_columns = keep(keep_metadata, source.metadata_columns, used_columns)
    options = f"{source.layout} {skip_missing} {top_conditions} {bag_regex!r} {salt}"
    options += findings.salt(source)
    checker = _Checker(
        source, skip_missing, kept_columns.columns, on_label_conflict, missing_labels
    )
    cases = checker.cases()
    source.problems.raise_if_any()
    _check_train(source, cases)
    classes = sorted(kept_labels := {name for case in cases for name, _ in case.weights})
    if top_conditions:
        kept = _top_conditions(source, cases, top_conditions)
        cases = tuple(_gather(case, kept) for case in cases)
        classes = [*sorted(kept), OTHER]
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
        lost_classes=findings.lost_classes(checker.labels_of_missing, kept_labels),
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
    found = [file for _, file in images if file]
    hashes = iter(contents.digests(source.image_root.folder, found))
    for path, file in images:
        digest.update(f"{path}\0".encode() + (next(hashes) if file else b"missing") + b"\n")
    return digest.hexdigest()


def _older_fingerprint(options: str, source: Source, images: list[tuple[str, File | None]]) -> str:
    """Returns what the fingerprint was in versions to which times of change were a part of it."""
    digest = hashlib.sha256(options.encode() + b"\0" + source.raw)
    for path, file in images:
        said = f"{file.size}\0{file.mtime}" if file else "missing"
        digest.update(f"{path}\0{said}\n".encode())
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
            f"{source.name}: no row has split 'train' (found: {', '.join(splits)}): name one so."
        )
    patients = len({case.patient_id for case in cases})
    raise DataError(
        f"{source.name}: none of the {patients} patients fell into 'train' when split 75/10/15 by "
        "a hash of their id: add patients, or a 'split' column in a manifest.csv."
    )


def _top_conditions(source: Source, cases: tuple[Case, ...], number: int) -> set[str]:
    """Returns the labels to keep, by the training split alone: the others must not decide."""
    labels = [case.label for case in cases if case.split == "train"]
    kept = commonest(labels, number)
    if number < 0 or len(kept) < number:
        raise DataError(
            f"{source.name}: top_conditions is {number}, but the training split has "
            f"{len(set(labels) - {'', OTHER})} labels: give a number up to that, or 0 to keep all."
        )
    return kept


def _gather(case: Case, kept: set[str]) -> Case:
    label = case.label if case.label in kept or not case.label else OTHER
    return dataclasses.replace(case, label=label, weights=gather(case.weights, kept))


class _Checker:
    """Goes through the rows once; remembers where each case, patient and image was first seen.

    What is wrong is added to the source's problems.
    """

    def __init__(
        self,
        source: Source,
        skip_missing: bool,
        columns: tuple[str, ...],
        on_label_conflict: str,
        missing_labels: str,
    ):
        self._source = source
        self._columns = columns  # of metadata, that are kept
        self._skip_missing = skip_missing
        # (column, owner) -> id of the owner -> (value, row) of the first row that said so.
        self._first: dict = collections.defaultdict(dict)
        self._conflicting: set = set()  # (column, owner, id): a problem by now
        self._labels = read_labels(source.rows.get("label", ()), missing_labels)
        self._choice = LabelChoice(source, on_label_conflict)
        self.missing: list[tuple[int, str, str]] = []
        self.labels_of_missing: collections.Counter = collections.Counter()  # label -> images
        self.notes: list[str] = []
        self.near: list[tuple[str, str]] = []  # (missing path, path of a file of another spelling)
        self.images: list[tuple[str, File | None]] = []  # path as written; None: it is missing

    def cases(self) -> tuple[Case, ...]:
        """Returns the cases in the order of their first rows."""
        table, extra = self._source.rows, self._columns
        self._check_ids()
        images: dict = {}  # case_id -> its images
        # One row at a time: 100,000 rows as a list of dicts would be most of the memory needed.
        for row, *values in zip(table.index.tolist(), *(table[name] for name in table.columns)):
            record = dict(zip(table.columns, values))
            if self._check_row(row, record):
                image = ImageRow(row, record["image_path"], tuple(record[name] for name in extra))
                images.setdefault(record["case_id"], []).append(image)
        labels = self._choice.labels(images)
        self.notes += [note + "." for note in (*self._labels.notes, *self._choice.notes())]
        return tuple(
            self._case(case_id, labels.get(case_id, ()), tuple(of_case))
            for case_id, of_case in images.items()
        )

    def _case(self, case_id, weights, images):
        patient, _ = self._first["patient_id", "case"][case_id]
        split, _ = self._first["split", "patient"][patient]
        return Case(case_id, patient, split, weights[0][0] if weights else "", weights, images)

    def _check_ids(self):
        """Adds ids that were changed by a spreadsheet, or are there in two spellings."""
        table, source = self._source.rows, self._source
        rows = table.index.tolist()

        def place(position):
            return source.where(rows[position])

        # Paths of images as ids: no program has written them.
        are_paths = table["case_id"].equals(table["image_path"].rename("case_id"))
        for column in source.id_columns:
            if column in table.columns and not (column == "case_id" and are_paths):
                name = source.published.get(column, column)
                # Without patients, each case counts as one.
                owner = "patient_id" if "patient_id" in table.columns else "case_id"
                splits = self._splits(table, column) if column == owner else None
                identifiers.check(source.problems, table[column], name, place, splits)

    def _splits(self, table, owner) -> list[str]:
        """Returns the split of each row, as its patient (the column `owner`) would be put into it."""
        if "split" in table.columns:
            return table["split"].tolist()
        return [hash_split(patient) for patient in table[owner]]

    def _check_row(self, row, record) -> bool:
        """Adds the mistakes in a row; returns whether its image is there.

        Args:
          row: its number.
          record: column -> value.
        """
        if not self._is_filled_in(row, record):
            return False
        case, path = record["case_id"], record["image_path"]
        patient = record.get("patient_id", case)
        split = record.get("split", hash_split(patient))
        if not re.fullmatch(r"[A-Za-z0-9_]+", split) or split.lower() == "all":
            advice = "use letters, digits and _ (and not 'all')"
            self._add("names of splits", row, f"split {split!r}", advice)
        self._same(row, "patient_id", patient, "case", case, "a case belongs to one patient")
        self._take_label(row, case, record.get("label", ""))
        self._same(row, "split", split, "patient", patient, "keep a patient in one split")
        image = self._look_up(row, path)
        if image is None:
            weights = self._labels.weights.get(record.get("label", ""), ())
            self.labels_of_missing.update(name for name, _ in weights[:1])
            return False
        advice = "an image in two splits leaks; give its cases one patient_id or one split"
        self._same(row, "split", split, "image", image, advice, name=path)
        _, first = self._first["row", "case and image"].setdefault((case, image), ("", row))
        if first != row:
            what = f"image {path!r} is in case {case!r} already ({self._source.mention(first)})"
            self._add("images twice in a case", row, what, "remove one of the two rows")
        return True

    def _is_filled_in(self, row, record) -> bool:
        """Returns whether a row has a value in each column that needs one; adds those that do not."""
        empty = [
            column
            for column in REQUIRED + ("patient_id", "split")
            if record.get(column) == ""
            or column == "split"
            and fold(record.get(column, "train")) in identifiers.MEANINGLESS
        ]
        for column in empty:
            name = self._source.published.get(column, column)
            what = f"{name} is {repr(record[column]) if record[column] else 'blank'}"
            self._add("blank values", row, what, "fill it in or remove the row")
        return not empty

    def _take_label(self, row, case, cell):
        if cell in self._labels.errors:
            advice = (
                "write labels with weights as {'eczema': 0.7, 'psoriasis': 0.3}, in double quotes "
                "as a whole"
            )
            what = f"label {cell!r} {self._labels.errors[cell]}"
            self._add("labels that cannot be read", row, what, advice)
        elif weights := self._labels.weights.get(cell):
            self._choice.add(case, weights, row)

    def _same(self, row, column, value, owner, key, advice, name=None):
        """Adds an `owner` (its kind) called `key` if not all of its rows have this `value`."""
        known, first = self._first[column, owner].setdefault(key, (value, row))
        if known != value and (column, owner, key) not in self._conflicting:
            self._conflicting.add((column, owner, key))
            what = (
                f"{owner} {name or key!r} has {column} {value!r}, but {known!r} in "
                f"{self._source.mention(first)}"
            )
            kind = {"patient_id": "cases of two patients"}.get(column, f"{owner}s in two splits")
            self._add(kind, row, what, advice)

    def _look_up(self, row, path):
        """Returns the real path of an image file inside the folder; remembers it for the fingerprint.

        None where it is missing or cannot be used.
        """
        try:
            real, info = look_up(self._source.image_root, path, self._source.near.get(path, ""))
        except MissingError as error:
            if not self._skip_missing:
                advice = error.advice
                if self._source.layout != "manifest":
                    advice = f"unpack all images into {self._source.image_root.folder}"
                problem = error.problem
                if error.near:
                    problem += f", but there is {error.near!r}, which differs {error.differs}"
                skip = "or pass --on_missing_image=skip to leave such images out"
                self._add("missing images", row, problem, f"{advice}, {skip}")
            reason = "the file is missing"
            if error.near:
                reason += f"; there is one that differs {error.differs}"
                self.near.append((path, error.near))
            self.missing.append((row, path, reason))
            self.images.append((path, None))
            return None
        except PathError as error:
            self._add("image paths that cannot be used", row, error.problem, error.advice)
            return None
        self.images.append((path, File(path, info.st_size, info.st_mtime_ns)))
        return real

    def _add(self, kind, row, what, advice):
        self._source.problems.add(kind, *self._source.where(row), what, advice)
