"""Hashes of the content of a folder's files: a copy of a folder is the same dataset.

Size and modification time only decide whether a file that was hashed before has to be read again.
"""

import hashlib
import itertools
import os
import sys
import time
import zipfile
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import joblib
import numpy as np
import tensorflow_datasets as tfds
from etils import epath

# Part of every fingerprint: increase it when equal files are read or stored in another way.
READING = "content 1"
_FOLDER = ".file_hashes"  # in the folder of prepared datasets
_DIGEST = 32  # bytes of a SHA-256
UNREADABLE = bytes(_DIGEST)  # instead of a hash: the build says what to do with such a file
# A file that changed just before it was read may change again with the same time: the clock of some
# file systems ticks every two seconds (FAT). Git calls such entries racily clean.
_RACY_NS = 2 * 10**9
_BATCH = 1000  # files
_SECONDS_TO_WRITE = 3600  # at most, for a process that lives
_SECONDS_UNTIL_REPORT, _SECONDS_BETWEEN_LINES = 3, 30


class File(NamedTuple):
    """A file as the folder lists it, unread."""

    path: str  # relative to the folder, with /
    size: int  # bytes
    mtime: int  # of its last change, ns


class Contents:
    """SHA-256 of files, cached between commands in the folder of prepared datasets.

    Args:
      data_dir: that folder, local or remote; None: TFDS's own; "": no cache.
    """

    def __init__(self, data_dir: str | None = ""):
        self._root = None
        if data_dir != "":
            self._root = epath.Path(data_dir or tfds.core.constants.DATA_DIR) / _FOLDER

    def digests(self, folder: str, files: Sequence[File]) -> list[bytes]:
        """Returns the SHA-256 (32 bytes) of each file, `UNREADABLE` for one that cannot be read.

        Only files that are not in the cache are read.

        Args:
          folder: that the paths are relative to.
          files: a file that is listed twice is read once.
        """
        cache = None
        if self._root:
            name = hashlib.sha256(os.path.realpath(folder).encode()).hexdigest()[:16]
            cache = self._root / f"{name}.npz"
        known = _load(cache) if cache else {}
        unknown = [file for file in dict.fromkeys(files) if file not in known]
        if unknown:
            now = time.time_ns()
            known |= _read(folder, unknown)
            # Hashes of files that no longer exist are dropped.
            stable = {file: known[file] for file in files if file.mtime < now - _RACY_NS}
            stable = {file: digest for file, digest in stable.items() if digest != UNREADABLE}
            if cache and stable:
                _save(cache, stable)
        return [known[file] for file in files]


def _read(folder: str, files: Sequence[File]) -> dict[File, bytes]:
    """Returns the SHA-256 of each file, read by several threads (hashing frees the GIL).

    Reading may take long: progress and the remaining time are printed.
    """
    total, done = sum(file.size for file in files), 0
    started = last_report = time.monotonic()
    digests = {}
    with ThreadPoolExecutor(joblib.cpu_count()) as pool:
        for start in range(0, len(files), _BATCH):
            batch = files[start : start + _BATCH]
            paths = [os.path.join(folder, file.path) for file in batch]
            for file, digest in zip(batch, pool.map(_hash, paths)):
                digests[file] = digest
                done += file.size
                now = time.monotonic()
                wait = _SECONDS_UNTIL_REPORT if last_report == started else _SECONDS_BETWEEN_LINES
                if now - last_report > wait and len(digests) < len(files):
                    last_report = now
                    seconds_left = (now - started) * (total - done) / max(done, 1)
                    print(
                        f"Reading the files in {folder} to know their content: {len(digests):,} of "
                        f"{len(files):,}, {done / 1e9:.1f} of {total / 1e9:.1f} GB, {seconds_left:,.0f} "
                        "s left (next time only what has changed).",
                        file=sys.stderr,
                        flush=True,
                    )
    return digests


def _hash(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").digest()
    except OSError:
        return UNREADABLE


def _load(cache: epath.Path) -> dict[File, bytes]:
    """Returns the cached hashes; {} without a cache, or with one that cannot be read."""
    try:
        with cache.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
            paths = stored["paths"].tobytes().decode().split("\0")
            sizes, times = stored["sizes"].tolist(), stored["times"].tolist()
            hashes = stored["hashes"].reshape(len(paths), _DIGEST)
        files = itertools.starmap(File, zip(paths, sizes, times, strict=True))
        return dict(zip(files, (row.tobytes() for row in hashes)))
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile):
        return {}  # the cache only saves time: it is written again
    except Exception as error:
        if _is_tensorflows(error):
            return {}
        raise


def _save(cache: epath.Path, known: dict[File, bytes]) -> None:
    """Writes the cache; prints a note if that is impossible."""
    temporary = cache.with_name(f"{cache.name}.{os.getpid()}.tmp")
    try:
        cache.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            np.savez(
                stream,
                paths=np.frombuffer("\0".join(file.path for file in known).encode(), np.uint8),
                sizes=np.array([file.size for file in known], np.int64),
                times=np.array([file.mtime for file in known], np.int64),
                hashes=np.frombuffer(b"".join(known.values()), np.uint8),
            )
        temporary.replace(cache)
        for leftover in cache.parent.glob(f"{cache.name}.*.tmp"):  # of processes that were killed
            if leftover.stat().mtime < time.time() - _SECONDS_TO_WRITE:
                leftover.unlink(missing_ok=True)
    except Exception as error:
        if not isinstance(error, OSError) and not _is_tensorflows(error):
            raise
        print(
            f"Note: {cache.parent} cannot be written to ({type(error).__name__}), so the next command "
            "reads all files of the folder again to know their content.",
            flush=True,
        )


def _is_tensorflows(error: Exception) -> bool:
    """Returns whether an error comes from TensorFlow, which reads and writes remote folders."""
    return type(error).__module__.startswith("tensorflow")
