"""Goes through the rows of a folder, whatever its layout, and adds what is wrong to its problems.

Images are looked up and, unless their hash is cached, read to compute it (`contents.py`); they are
decoded only at build, by `bags.py`.
"""

import collections
import dataclasses
import re

from tfds_builders import identifiers
from tfds_builders.contents import File
from tfds_builders.derm_bags.conflicts import LabelChoice
from tfds_builders.derm_bags.label_columns import LabelColumns
from tfds_builders.derm_bags.labels import Weights, read_labels
from tfds_builders.derm_bags.layouts import REQUIRED, Source
from tfds_builders.folders import MissingError, PathError, look_up
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
    labels: tuple[float, ...] = ()  # of label columns, see label_columns.py; () without


class Checker:
    """Goes through the rows once; records the first row of each case, patient and image.

    Mistakes are added to the source's problems.
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
        # (column, owner) -> id of the owner -> (value, row) of its first row.
        self._first: dict = collections.defaultdict(dict)
        self._conflicting: set = set()  # (column, owner, id) already reported
        self._labels = read_labels(source.rows.get("label", ()), missing_labels)
        self._choice = LabelChoice(source, on_label_conflict)
        self._label_columns = LabelColumns(source, on_label_conflict)
        self.missing: list[tuple[int, str, str]] = []
        self.labels_of_missing: collections.Counter = collections.Counter()  # label -> images
        self.notes: list[str] = []
        self.near: list[tuple[str, str]] = []  # (missing path, path of a file of another spelling)
        self.images: list[tuple[str, File | None]] = []  # path as written; None: it is missing

    def cases(self) -> tuple[Case, ...]:
        """Returns the cases in the order of their first rows."""
        table, metadata_columns = self._source.rows, self._columns
        self._check_ids()
        images: dict = {}  # case_id -> its images
        # One row at a time: 100,000 rows as a list of dicts would be most of the memory needed.
        for row, *values in zip(table.index.tolist(), *(table[name] for name in table.columns)):
            record = dict(zip(table.columns, values))
            if self._check_row(row, record):
                image = ImageRow(
                    row, record["image_path"], tuple(record[name] for name in metadata_columns)
                )
                images.setdefault(record["case_id"], []).append(image)
        labels = self._choice.labels(images)
        column_labels = self._label_columns.labels(images)
        notes = (
            *self._labels.notes,
            *self._choice.notes(),
            *self._label_columns.notes(column_labels),
        )
        self.notes += [note + "." for note in notes]
        return tuple(
            self._case(
                case_id, labels.get(case_id, ()), tuple(of_case), column_labels.get(case_id, ())
            )
            for case_id, of_case in images.items()
        )

    @property
    def positive_rows(self) -> dict[str, int]:
        """Number of rows with a 1 in each label column, whether or not their images exist."""
        return self._label_columns.positive_rows

    def _case(self, case_id, weights, images, labels):
        patient, _ = self._first["patient_id", "case"][case_id]
        split, _ = self._first["split", "patient"][patient]
        label = weights[0][0] if weights else ""
        return Case(case_id, patient, split, label, weights, images, labels)

    def _check_ids(self):
        """Adds ids that were changed by a spreadsheet, or occur in two spellings."""
        table, source = self._source.rows, self._source
        rows = table.index.tolist()

        def locate(position):
            return source.file_and_row(rows[position])

        # Paths of images as ids: no program has written them.
        are_paths = table["case_id"].equals(table["image_path"].rename("case_id"))
        for column in source.id_columns:
            if column in table.columns and not (column == "case_id" and are_paths):
                name = source.published.get(column, column)
                # Without patients, each case counts as one.
                owner = "patient_id" if "patient_id" in table.columns else "case_id"
                splits = self._splits(table, column) if column == owner else None
                identifiers.check(source.problems, table[column], name, locate, splits)

    def _splits(self, table, owner) -> list[str]:
        """Returns the split of each row, as its patient (the column `owner`) would be put into it."""
        if "split" in table.columns:
            return table["split"].tolist()
        return [hash_split(patient) for patient in table[owner]]

    def _check_row(self, row, record) -> bool:
        """Adds the mistakes in a row; returns whether its image exists.

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
        self._check_same(row, "patient_id", patient, "case", case, "a case belongs to one patient")
        self._add_label(row, case, record.get("label", ""))
        self._label_columns.add(case, row)
        self._check_same(row, "split", split, "patient", patient, "keep a patient in one split")
        image = self._look_up(row, path)
        if image is None:
            weights = self._labels.weights.get(record.get("label", ""), ())
            self.labels_of_missing.update(name for name, _ in weights[:1])
            return False
        advice = "an image in two splits leaks; give its cases one patient_id or one split"
        self._check_same(row, "split", split, "image", image, advice, name=path)
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

    def _add_label(self, row, case, cell):
        if cell in self._labels.errors:
            advice = (
                "write labels with weights as {'eczema': 0.7, 'psoriasis': 0.3}, in double quotes "
                "as a whole"
            )
            what = f"label {cell!r} {self._labels.errors[cell]}"
            self._add("labels that cannot be read", row, what, advice)
        elif weights := self._labels.weights.get(cell):
            self._choice.add(case, weights, row)

    def _check_same(self, row, column, value, owner, key, advice, name=None):
        """Adds a problem if the rows of `key` (a case, patient or image: `owner`) differ in `column`."""
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
        """Returns the real path of an image file, None if it is missing or cannot be used.

        Existing and missing files are recorded for the fingerprint.
        """
        try:
            real_path, info = look_up(
                self._source.image_root, path, self._source.near.get(path, "")
            )
        except MissingError as error:
            if not self._skip_missing:
                advice = error.advice
                if self._source.layout != "manifest":
                    advice = f"unpack all images into {self._source.image_root.folder}"
                what = error.problem
                if error.near:
                    what += f", but there is {error.near!r}, which differs {error.differs}"
                skip = "or pass --on_missing_image=skip to leave such images out"
                self._add("missing images", row, what, f"{advice}, {skip}")
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
        return real_path

    def _add(self, kind, row, what, advice):
        self._source.problems.add(kind, *self._source.file_and_row(row), what, advice)
