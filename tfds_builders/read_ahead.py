"""Loads image files ahead of their use; the images held in memory are bounded."""

import collections
import concurrent.futures
from collections.abc import Generator, Iterable

import joblib

from tfds_builders.pixels import ImageError, load_encoded

READ_AHEAD = 32  # images held in memory, encoded, while threads check them


def load_ahead(
    paths: Iterable[str], long_side: int = 0
) -> Generator[bytes | ImageError, None, None]:
    """Yields the bytes to store, or the error, of each image in order.

    Threads decode (Pillow frees the GIL) at most READ_AHEAD images beyond the one last yielded.

    Args:
      paths: absolute.
      long_side: pixels that the longer side is reduced to; 0 keeps every image as it is.
    """

    def load(path: str) -> bytes | ImageError:
        try:
            return load_encoded(path, long_side)
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
    finally:  # also when the caller stops early: images nobody will take are not decoded
        pool.shutdown(cancel_futures=True)
