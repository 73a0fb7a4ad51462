"""Cases -> bags of encoded images, split by split; reads the images and handles unreadable ones."""

import concurrent.futures
import itertools
import multiprocessing
import os
import signal
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import joblib
from PIL import Image
from threadpoolctl import threadpool_limits

from tfds_builders.derm_bags import demo
from tfds_builders.derm_bags.demo_clinic import Clinic
from tfds_builders.derm_bags.manifest import Manifest
from tfds_builders.derm_bags.row_checks import Case, ImageRow
from tfds_builders.errors import DataError, NotAPicture
from tfds_builders.image_log import ImageLog
from tfds_builders.pixels import ImageError, encode_jpeg
from tfds_builders.read_ahead import load_ahead

DEMO_SEED = 0
DEMO_JPEG_QUALITY = 92
_PIECE = 10  # cases that a process draws at a time, about a fifth of a second


class Bag(NamedTuple):
    """A case, ready to be stored: K encoded images, K ids and K values for each metadata key."""

    bag_id: str
    patient_id: str
    label: str  # "" where there is none
    images: tuple[bytes, ...]
    image_ids: tuple[str, ...]
    metadata: dict[str, tuple[str, ...]]
    label_weights: tuple[float, ...] = ()  # one for each class
    labels: dict[str, float] | None = None  # label column -> value; None without label columns


def demo_metadata_keys() -> list[str]:
    """Returns the metadata keys of a demo case."""
    return list(next(demo.demo_cases(seed=DEMO_SEED, num_cases=1)).metadata)


def demo_bags(clinic: Clinic, num_cases: int) -> dict[str, Iterator[Bag]]:
    """Returns split -> its bags; all are drawn at once (10 MB for 1,200 cases).

    Args:
      clinic: where the cases come from.
      num_cases: to draw.
    """
    bags: dict = {}
    for split, bag in _drawn(clinic, num_cases):
        bags.setdefault(split, []).append(bag)
    return {split: iter(split_bags) for split, split_bags in bags.items()}


def _drawn(clinic: Clinic, num_cases: int) -> Iterator[tuple[str, Bag]]:
    """Yields (split, bag) of each case in order, drawn by as many processes as there are cores.

    Processes, since drawing is many small steps that hold the GIL; started with "spawn", since
    TensorFlow's threads do not survive a fork.
    """
    pieces = [range(i, min(i + _PIECE, num_cases)) for i in range(0, num_cases, _PIECE)]
    workers = min(joblib.cpu_count(), len(pieces))
    if workers == 1:
        yield from _draw(clinic, range(num_cases))
        return
    pool = concurrent.futures.ProcessPoolExecutor(
        workers,
        multiprocessing.get_context("spawn"),
        initializer=_start_worker,
    )
    try:
        for drawn in pool.map(_draw, itertools.repeat(clinic), pieces):
            yield from drawn
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C
    # After a product of 2 x 2 matrices, too, OpenBLAS's other threads wait by spinning: on the
    # cores of the other workers.
    threadpool_limits(1)


def _draw(clinic: Clinic, indices: Iterable[int]) -> list[tuple[str, Bag]]:
    return [_demo_bag(demo.demo_case(DEMO_SEED, index, clinic)) for index in indices]


def _demo_bag(case: demo.DemoCase) -> tuple[str, Bag]:
    images = [Image.fromarray(image) for image in case.images]
    bag = Bag(
        bag_id=case.case_id,
        patient_id=case.patient_id,
        label=case.condition,
        images=tuple(encode_jpeg(image, DEMO_JPEG_QUALITY) for image in images),
        image_ids=tuple(f"{case.case_id}/{i}.jpg" for i in range(len(images))),
        metadata=case.metadata,
    )
    return case.split, bag


def folder_bags(
    manifest: Manifest,
    skip_bad: bool,
    log: ImageLog,
    long_side: int = 0,
    dicom_frame: str = "first",
) -> dict[str, Iterator[Bag]]:
    """Returns split -> iterator over its bags, which reads the images lazily.

    Args:
      manifest: the checked folder.
      skip_bad: leaves unreadable images out instead of raising DataError.
      log: receives notes on images, the missing ones included.
      long_side: pixels that the longer side of an image is reduced to; 0 keeps it.
      dicom_frame: see `pixels.load_encoded`.
    """
    for row, path, reason in manifest.missing:
        log.leave_out(os.path.basename(manifest.file), row, path, reason)
    cases: dict = {}
    for case in manifest.cases:
        cases.setdefault(case.split, []).append(case)
    return {
        split: _read_bags(manifest, split_cases, skip_bad, log, long_side, dicom_frame)
        for split, split_cases in cases.items()
    }


def _read_bags(
    manifest: Manifest,
    cases: list[Case],
    skip_bad: bool,
    log: ImageLog,
    long_side: int,
    dicom_frame: str,
) -> Iterator[Bag]:
    """Yields a bag for each case that has a readable image.

    Raises:
      DataError: at an unreadable image, unless `skip_bad`.
    """
    paths = (
        os.path.join(manifest.image_folder, image.path) for case in cases for image in case.images
    )
    table = os.path.basename(manifest.file)
    loaded = load_ahead(paths, long_side, dicom_frame)
    for case in cases:
        stored_rows: list[ImageRow] = []
        ids: list[str] = []
        encoded: list[bytes] = []
        names = image_names(manifest, case)
        for image, result in zip(case.images, itertools.islice(loaded, len(case.images))):
            if not isinstance(result, ImageError):
                ids_of_file = log.add_stored(table, image.row, names[image.path], result)
                stored_rows += [image] * len(ids_of_file)
                ids += ids_of_file
                encoded += result.images
            elif skip_bad or isinstance(result, NotAPicture):
                log.leave_out(table, image.row, image.path, result)
            else:
                raise DataError(
                    f"{manifest.location(image)}: image {image.path!r} cannot be used: "
                    f"{result}: replace the file, or pass --on_bad_image=skip to leave such images "
                    "out."
                )
        if stored_rows:
            columns = zip(
                manifest.metadata_columns, zip(*(image.metadata for image in stored_rows))
            )
            yield Bag(
                bag_id=case.case_id,
                patient_id=case.patient_id,
                label=case.label,
                images=tuple(encoded),
                image_ids=tuple(ids),
                metadata=dict(columns),
                label_weights=manifest.class_weights(case),
                labels=dict(zip(manifest.label_columns, case.labels)) or None,
            )


def image_names(manifest: Manifest, case: Case) -> dict[str, str]:
    """Returns {path: id} of a case's images.

    The id is the path or, if file names are not stored, the row of the table, or without a table the
    number of the image in the order of paths. If a row has several images (SCIN), they are numbered.

    Args:
      manifest: the checked folder.
      case: one of its cases.
    """
    if manifest.kept.file_names:
        return {image.path: image.path for image in case.images}
    rows = [image.row for image in case.images]
    unit = "row" if manifest.file else "image"
    return {
        image.path: f"{unit} {image.row}"
        + (f", image {rows[: i + 1].count(image.row)}" if rows.count(image.row) > 1 else "")
        for i, image in enumerate(case.images)
    }
