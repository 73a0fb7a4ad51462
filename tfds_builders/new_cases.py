"""The cases of a folder, with images loaded lazily; nothing is prepared, copied or stored.

For predictions. Labels, splits and metadata are not read; each case lists its missing images.
"""

import contextlib
import dataclasses
import glob
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import pandas as pd

from tfds_builders.bag_table import BagTable
from tfds_builders.chexpert_studies import table as chexpert
from tfds_builders.derm_bags.labels import MISSING_LABELS
from tfds_builders.derm_bags.layouts import Source, loose, read_source
from tfds_builders.derm_bags.row_checks import Checker
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.image_log import ImageLog
from tfds_builders.nih_cxr14 import table as nih_cxr14
from tfds_builders.pixels import ImageError
from tfds_builders.read_ahead import load_ahead

EACH_IMAGE = "(.+)"  # --bag_regex: each image is a case
_ALL = "new"  # the one split that all cases are in
_CHEST = {"chexpert": chexpert.read_table, "nih_cxr14": nih_cxr14.read_table}


class Planned(NamedTuple):
    """A case: its existing files, and (name, reason) of the missing ones."""

    case_id: str
    patient_id: str
    paths: tuple[str, ...]  # relative to the folder of the images
    missing: tuple[tuple[str, str], ...] = ()


class Loaded(NamedTuple):
    """A case with its images, each JPEG or PNG, as a prepared dataset would store them."""

    case_id: str
    patient_id: str
    images: tuple[bytes, ...]
    image_ids: tuple[str, ...]
    notes: tuple[tuple[str, ...], ...]  # of each image, such as "all black"
    unreadable: tuple[tuple[str, str], ...]  # (name, reason) of images that are not in `images`


@dataclasses.dataclass(frozen=True)
class NewCases:
    """Cases in the order of the table, or of the paths.

    Attributes:
      cases: all of them.
      folder: absolute, of the images.
      digest: SHA-256 (hex) of ids, paths, sizes and modification times.
      notes: assumptions, and what is left out, to be printed.
      views_known: whether the tables name the view of each X-ray, so that `projection` was applied.
    """

    cases: tuple[Planned, ...]
    folder: str
    digest: str
    notes: tuple[str, ...] = ()
    views_known: bool = False

    def load(
        self, start: int = 0, long_side: int = 0, dicom_frame: str = "first"
    ) -> Iterator[Loaded]:
        """Yields the cases from number `start` on, `Loaded`; few images at a time are in memory.

        Args:
          start: cases to leave out; their files are not opened.
          long_side, dicom_frame: see `pixels.load_encoded`.
        """
        cases = self.cases[start:]
        paths = (os.path.join(self.folder, path) for case in cases for path in case.paths)
        with contextlib.closing(load_ahead(paths, long_side, dicom_frame)) as loaded:
            for case in cases:
                yield _with_images(case, loaded)


def _with_images(case: Planned, loaded: Iterator) -> Loaded:
    images: list[bytes] = []
    ids: list[str] = []
    notes: list[tuple[str, ...]] = []
    unreadable = list(case.missing)
    log = ImageLog()
    for path, result in zip(case.paths, loaded):  # in this order: zip() takes a path first
        if isinstance(result, ImageError):
            unreadable.append((path, str(result)))
            continue
        ids += log.add_stored("", 0, path, result)
        images += result.images
        notes += [result.notes] * len(result.images)
    return Loaded(
        case.case_id, case.patient_id, tuple(images), tuple(ids), tuple(notes), tuple(unreadable)
    )


def in_folder(
    name: str,
    manual_dir: str,
    *,
    bag_regex: str = "",
    image_root: str = "",
    follow_links: bool = False,
    projection: str = "all",
    by_patient: bool = False,
) -> NewCases:
    """Returns the cases of a folder, in whatever split.

    Args:
      name: derm_bags, chexpert or nih_cxr14: how the folder is read. If a folder of images
        does not define cases, each image is one.
      manual_dir: the folder.
      bag_regex, image_root, follow_links: as for a prepared dataset.
      projection: of chexpert, the X-rays of a study to take: all, frontal or lateral.
      by_patient: of chexpert and nih_cxr14: all X-rays of a patient are one case.

    Raises:
      DataError: for anything the user has to mend.
    """
    if name in _CHEST:
        if bag_regex:
            raise DataError(f"--bag_regex means nothing to --dataset={name}: leave it out.")
        table = _CHEST[name](
            manual_dir, image_root=image_root, follow_links=follow_links, needs_train=False
        )
        return _of_table(table, projection, by_patient)
    return _of_source(
        read_source(manual_dir, bag_regex, image_root, follow_links, single_image_cases=True)
    )


def in_files(pattern: str, bag_regex: str = "") -> NewCases:
    """Returns the cases among the files that a pattern such as "scans/**/*.png" matches.

    Args:
      pattern: as `glob.glob` has it; ** stands for folders within folders.
      bag_regex: the part of a path, relative to the folder that holds all files, that names the case;
        "": each image is a case.

    Raises:
      DataError: no file matches.
    """
    matches = (path for path in glob.glob(pattern, recursive=True) if os.path.isfile(path))
    files = sorted({os.path.abspath(path) for path in matches})
    if not files:
        raise DataError(
            f"--images={pattern} matches no file (quote it, so that the shell does not)."
        )
    folder = os.path.commonpath([os.path.dirname(path) for path in files])
    paths = [os.path.relpath(path, folder).replace(os.sep, "/") for path in files]
    root = ImageRoot(folder, follow_links=True)  # each file was named
    return _of_source(loose.read(root, paths, bag_regex or EACH_IMAGE))


def in_paths(cases: Mapping[str, Sequence[str]]) -> NewCases:
    """Returns the cases of the given files, {case id: paths}; each case is a patient."""
    planned = tuple(
        Planned(case, case, tuple(map(os.path.abspath, paths))) for case, paths in cases.items()
    )
    return NewCases(planned, os.getcwd(), _digest(planned, ()))


def _of_source(source: Source) -> NewCases:
    """Returns the cases of a folder of `derm_bags`."""
    unused = [name for name in ("label", "split") if name in source.rows]
    rows = source.rows.drop(columns=unused).assign(split=_ALL)
    checker = Checker(dataclasses.replace(source, rows=rows), True, (), "error", MISSING_LABELS)
    stored = {case.case_id: case for case in checker.cases()}
    source.problems.raise_if_any()
    missing: dict[str, list[tuple[str, str]]] = {}
    case_of = dict(zip(zip(rows.index.tolist(), rows["image_path"]), rows["case_id"]))
    for row, path, reason in checker.missing:
        missing.setdefault(case_of[row, path], []).append((path, reason))
    patients = rows["patient_id"] if "patient_id" in rows else rows["case_id"]
    cases = []
    for case_id, patient in dict(zip(rows["case_id"], patients)).items():
        images = stored[case_id].images if case_id in stored else ()
        paths = tuple(image.path for image in images)
        cases.append(Planned(case_id, patient, paths, tuple(missing.get(case_id, ()))))
    files = (
        (path, *((file.size, file.mtime) if file else ("missing",)))
        for path, file in checker.images
    )
    # Notes on splits matter for training only.
    notes = tuple(note for note in source.notes if not note.startswith(("Splits ", "The folders ")))
    return NewCases(tuple(cases), source.image_root.folder, _digest(cases, files), notes)


def _of_table(table: BagTable, projection: str, by_patient: bool) -> NewCases:
    """Returns the cases of a folder of chest X-rays."""
    rows: pd.DataFrame = table.rows
    if projection != "all":
        rows = rows[rows["view"] == projection]
    if rows.empty:
        raise DataError(f"{table.folder}: --projection={projection} leaves no image.")
    key = "patient_id" if by_patient else "bag_id"
    cases = [
        Planned(name, case_rows["patient_id"].iloc[0], tuple(case_rows["path"]))
        for name, case_rows in rows.groupby(key, sort=False)
    ]
    files = zip(rows["path"], rows["size"], rows["mtime"])
    folder = table.image_folder or table.folder
    return NewCases(tuple(cases), folder, _digest(cases, files), table.notes, views_known=True)


def _digest(cases: Iterable[Planned], files: Iterable[tuple]) -> str:
    digest = hashlib.sha256()
    for part in (*(case[:3] for case in cases), *files):
        digest.update(f"{part!r}\n".encode("utf-8", "backslashreplace"))
    return digest.hexdigest()
