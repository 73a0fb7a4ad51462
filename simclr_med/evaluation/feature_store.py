"""Features of cases on disk, so that a command does not compute again what an earlier one computed.

--features_dir holds KEY.npy, float32 [n, d], which is read memory-mapped, and KEY.json, which is written
last and says what shaped them: weights, images, how these are read, software, kind of device. KEY is a
digest of that, so features with any other input are computed again. KEY.unfinished.npy has the first of
the rows, while they are computed or where that was interrupted. Nothing is ever removed.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Iterator
from typing import IO, Any

import numpy as np
import tensorflow as tf

from simclr_med import __version__
from simclr_med.checkpoints.weights import initial
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.errors import UserError
from simclr_med.run_folder import files, leftovers, try_lock, write_json

_UNFINISHED = ".unfinished.npy"
_OF_MODEL = ("encoder", "resnet_depth", "width_multiplier", "sk_ratio", "se_ratio", "input_range")


class FeatureStore:
    """Features of some cases, stored in a folder, for models whose weights do not change meanwhile.

    Args:
      folder: made if it is missing.
      made_of: what shapes the features beside the weights; JSON values.
    """

    def __init__(self, folder: str, made_of: dict[str, Any]):
        self._folder, self._made_of = folder, made_of
        self._paths: dict[int, tuple[str, dict]] = {}  # of models, whose weights are hashed once
        os.makedirs(folder, exist_ok=True)
        leftovers.remove(folder)

    def read(self, model) -> np.ndarray | None:
        """Returns a model's features, float32 [n, d], read-only; None if they are not stored."""
        path, about = self._path_of(model)
        try:
            with open(f"{path}.json", encoding="utf-8") as file:
                if json.load(file) != about:
                    return None
            return np.lib.format.open_memmap(f"{path}.npy", mode="r").view(np.ndarray)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            print(f"Note: {path}.npy cannot be read ({error}); its features are computed again.")
            return None

    @contextlib.contextmanager
    def growing(self, model, num_cases: int) -> Iterator[Growing]:
        """Yields what a model's features are added to; afterwards, if all are there, they are stored.

        An error in storing them, such as a full disk, costs a note only.

        Args:
          model: that computes them.
          num_cases: n.
        """
        path, about = self._path_of(model)
        unfinished = path + _UNFINISHED
        with contextlib.ExitStack() as stack:
            try:
                file = stack.enter_context(open(unfinished, "a+b", buffering=0))
                is_own = try_lock(file)  # else another process computes them, or there are no locks
                features = Growing(num_cases, file if is_own else None)
            except OSError as error:
                features, is_own = Growing(num_cases), None
                self._note(error)
            yield features
            if features.error:
                self._note(features.error)
            elif features.is_complete and is_own is not None:
                try:
                    if is_own:
                        os.replace(unfinished, f"{path}.npy")
                    else:
                        with files.writing(f"{path}.npy") as temporary:
                            np.save(temporary, features.rows)
                    write_json(f"{path}.json", about)
                except OSError as error:
                    self._note(error)

    def _note(self, error: OSError) -> None:
        print(f"Note: features could not be kept in {self._folder} ({error.strerror or error}).")

    def _path_of(self, model) -> tuple[str, dict]:
        """Returns the path of a model's features, without its extension, and what shapes them."""
        if id(model) in self._paths:
            return self._paths[id(model)]
        parts = ("encoder/", *(("projection_head/",) if model.selected_stage else ()))
        about = json.loads(json.dumps({**self._made_of, "weights": initial.digest(model, parts)}))
        key = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:16]
        self._paths[id(model)] = os.path.join(self._folder, key), about
        return self._paths[id(model)]


class Growing:
    """Features of a split's cases while they are computed, in memory and, with a file, there too.

    Args:
      num_cases: n.
      file: of an array [n, d], complete up to some row, or empty; opened to append, unbuffered, and
        written by this process only. None: the features are in memory alone.

    Attributes:
      rows: float32 [n, d]; None before the first row.
      num_done: number of rows that are complete.
      error: which ended the writing of the file; None: all complete rows are in it.
    """

    def __init__(self, num_cases: int, file: IO[bytes] | None = None):
        self._num_cases, self._file = num_cases, file
        self.rows: np.ndarray | None = None
        self.num_done = 0
        self.error: OSError | None = None
        if file is not None and (done := _complete_rows(file, num_cases)) is not None:
            self._add_in_memory(done)

    @property
    def is_complete(self) -> bool:
        """Whether all rows are there."""
        return self.num_done == self._num_cases

    def add(self, start: int, rows: np.ndarray) -> None:
        """Adds rows; those of them that are there already stay as they are.

        Args:
          start: number of the first, at most `num_done`.
          rows: float32 [m, d].
        """
        if self.rows is None:
            self._write(_header(self._num_cases, rows.shape[1]))
        new = np.ascontiguousarray(rows[self.num_done - start :])
        self._write(new.tobytes())
        self._add_in_memory(new)

    def _add_in_memory(self, rows: np.ndarray) -> None:
        if self.rows is None:
            self.rows = np.empty((self._num_cases, rows.shape[1]), np.float32)
        self.rows[self.num_done : self.num_done + len(rows)] = rows
        self.num_done += len(rows)

    def _write(self, data: bytes) -> None:
        try:
            while self._file is not None and self.error is None and data:
                data = data[self._file.write(data) :]  # a disk that is almost full takes a part
        except OSError as error:
            self.error = error  # what was written is a beginning that the next process can use


def _header(num_cases: int, width: int) -> bytes:
    """Returns the beginning of a .npy file of float32 [num_cases, width]."""
    file = io.BytesIO()
    what = {"descr": "<f4", "fortran_order": False, "shape": (num_cases, width)}
    np.lib.format.write_array_header_1_0(file, what)
    return file.getvalue()


def _complete_rows(file: IO[bytes], num_cases: int) -> np.ndarray | None:
    """Returns the rows that a file begins with, float32 [m, d], and cuts off what follows them.

    Args:
      file: of a .npy file of float32 [num_cases, d], or of its beginning; opened to append.
      num_cases: n.

    Returns:
      None, and an empty file, where it is no such beginning.
    """
    file.seek(0)
    try:
        np.lib.format.read_magic(file)
        (rows, width), in_columns, dtype = np.lib.format.read_array_header_1_0(file)
        start = file.tell()
        if (rows, in_columns, dtype) != (num_cases, False, np.dtype("<f4")) or width < 1:
            raise ValueError("another array")
    except ValueError:
        file.truncate(0)
        return None
    data = file.read()
    complete = len(data) // (4 * width)
    if complete > num_cases:  # two processes wrote it, where locks do not work
        file.truncate(0)
        return None
    file.truncate(start + complete * 4 * width)
    return np.frombuffer(data, "<f4", complete * width).reshape(complete, width)


def of_cases(
    config: Config, strategy: tf.distribute.Strategy, bags: Bags, num_cases: int
) -> FeatureStore | None:
    """Returns the store of the first `num_cases` cases; None without --features_dir.

    Args:
      config: of the run.
      strategy: whose kind of device computes the features.
      bags: the split.
      num_cases: n.

    Raises:
      UserError: the folder is remote, or cannot be made.
    """
    folder = config.eval.features_dir
    if not folder:
        return None
    known = bags.known_cases()
    if known is None or bags.known is None:
        print(
            "Note: which images these cases hold is not known, so --features_dir keeps no features."
        )
        return None
    if files.is_remote(folder):
        raise UserError(
            f"--features_dir={folder}: features are read memory-mapped, from a local disk."
        )
    size = known.num_images[:num_cases]
    reading = {
        "image_size": config.augment.image_size,
        "antialias": config.augment.is_antialiased,
        "max_bag_size": config.data.max_bag_size,
        "seed": config.run.seed if (size > config.data.max_bag_size).any() else None,  # of the draw
    }
    made_of = {
        "data": {**bags.known.source, "cases": _digest(known.ids[:num_cases], size)},
        "reading": reading,
        "model": {name: getattr(config.model, name) for name in (*_OF_MODEL, "ft_proj_selector")},
        "mixed_precision": config.device.mixed_precision,
        "device": strategy.extended.worker_devices[0].split("device:")[-1].split(":")[0],
        "software": {"simclr_med": __version__, "tensorflow": tf.__version__},
    }
    try:
        return FeatureStore(folder, made_of)
    except OSError as error:
        raise UserError(f"--features_dir={folder}: {error.strerror or error}.") from error


def _digest(ids: np.ndarray, size: np.ndarray) -> str:
    """Returns a digest of cases: their ids, and the number of images of each."""
    text = json.dumps([ids.tolist(), size.tolist()])
    return hashlib.sha256(text.encode()).hexdigest()
