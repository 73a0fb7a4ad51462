"""The patients of a split, without their images."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
from collections.abc import Iterator

from simclr_med.data import folds, known
from simclr_med.data.bags import find_split, open_split
from simclr_med.data.known import Reading
from simclr_med.data.labels import AS_STORED, LabelReading
from simclr_med.data.prepared import Prepared

_SPLITS_CSV = "splits.csv"  # of chest X-rays: patient_id, study, split of each stored bag


def patients_of(builder, split: str, reading: LabelReading = AS_STORED) -> frozenset[str]:
    """Returns the ids of the patients of a split: those that the bags of `open_split` have.

    Where a dataset names no patients, each bag or image counts as one (see `named_by`). Results are
    cached: the runs of a sweep read the same splits.

    Args:
      builder: of a prepared dataset.
      split: a split, a named part of one, a slice, "all", or a fold of one (see `folds`).
      reading: which images count: a patient without one of that projection is not in the split.

    Raises:
      UserError: no such split.
    """
    return _patients(Prepared(builder), split, reading.projection)


def named_by(builder) -> str:
    """Returns in words what identifies the patients of a dataset."""
    if source := (builder.info.metadata or {}).get("patient_id_from"):
        return str(source)
    for name in ("patient_id", "bag_id"):
        if name in builder.info.features:
            return name
    return "nothing: each image counts as a patient"


@functools.lru_cache(maxsize=64)
def _patients(prepared: Prepared, split: str, projection: str) -> frozenset[str]:
    builder = prepared.builder
    if part := folds.parse(split):
        fold = folds.fold_of_patients(builder, part)
        return frozenset(
            p for p in _patients(prepared, part.split, projection) if part.holds(fold[p])
        )
    _, tfds_split = find_split(builder, split)
    path = builder.data_path / _SPLITS_CSV
    whole = split == "all" or split in builder.info.splits
    if whole and projection == "all" and path.exists():  # instead of all the images
        rows = csv.DictReader(io.StringIO(path.read_text()))
        return frozenset(row["patient_id"] for row in rows if split in ("all", row["split"]))
    return frozenset(
        known.read(prepared, tfds_split, Reading(projection=projection)).patients.tolist()
    )


def same_pictures(one, other, most: int = 20) -> bool:
    """Returns whether two prepared datasets are copies: cases of equal ids hold equal pictures.

    Equal ids alone say little: many folders have a case 1.

    Args:
      one, other: builders of prepared datasets.
      most: number of cases in common to compare at most.
    """
    return _same_pictures(Prepared(one), Prepared(other), most)


@functools.lru_cache(maxsize=64)
def _same_pictures(one: Prepared, other: Prepared, most: int) -> bool:
    features = one.builder.info.features, other.builder.info.features
    if not all("images" in f and "bag_id" in f and "patient_id" in f for f in features):
        return False
    common = patients_of(one.builder, "all") & patients_of(other.builder, "all")
    if not common:
        return False
    digests: dict[str, bytes] = {}
    for bag, digest in _digests(one.builder, common):
        digests[bag] = digest
        if len(digests) == most:
            break
    left = set(digests)
    for bag, digest in _digests(other.builder, common):
        if digests.get(bag) == digest:
            return True
        left.discard(bag)
        if not left:
            break
    return False


def _digests(builder, patients: frozenset[str]) -> Iterator[tuple[str, bytes]]:
    """Yields (id, hash of the encoded images) of the bags of some patients."""
    for bag in open_split(builder, "all").dataset.as_numpy_iterator():
        if bag["patient_id"].decode() in patients:
            pictures = b"".join(hashlib.sha256(image).digest() for image in bag["images"])
            yield bag["bag_id"].decode(), hashlib.sha256(pictures).digest()
