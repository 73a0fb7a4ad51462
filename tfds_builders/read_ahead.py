"""Loads image files ahead of their use; the number of images in memory is bounded."""

import collections
import concurrent.futures
from collections.abc import Generator, Iterable

import joblib

from tfds_builders.pixels import ImageError, Loaded, load_encoded

READ_AHEAD = 32  # files in memory, encoded, while threads check them


def load_ahead(
    paths: Iterable[str], long_side: int = 0, dicom_frame: str = "first"
) -> Generator[Loaded | ImageError, None, None]:
    """Yields what to store of each file, or why it cannot be used, in order.

    Threads decode (Pillow frees the GIL) at most READ_AHEAD files beyond the one last yielded.

    Args:
      paths: absolute.
      long_side: pixels that the longer side is reduced to; 0 keeps every image as it is.
      dicom_frame: see `load_encoded`.
    """

    def load(path: str) -> Loaded | ImageError:
        try:
            return load_encoded(path, long_side, dicom_frame)
        except ImageError as error:
            return error

    pending: collections.deque = collections.deque()
    pool = concurrent.futures.ThreadPoolExecutor(joblib.cpu_count())
    try:
        for path in paths:
            pending.append(pool.submit(load, path))
            if len(pending) > READ_AHEAD:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:  # also when the caller stops early: unused images are not decoded
        pool.shutdown(cancel_futures=True)
