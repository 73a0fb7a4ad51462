"""The content of a file of weights, by the variable names of `Model`, whichever tool wrote it."""

from __future__ import annotations

import contextlib
import dataclasses
import zipfile
import zlib
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from simclr_med.errors import UserError
from simclr_med.transient import is_transient

_UNREADABLE = (
    tf.errors.PermissionDeniedError,
    tf.errors.ResourceExhaustedError,
    tf.errors.UnauthenticatedError,
)
HEAD = "supervised_head/"  # the classification head, in the names of `Model`


@dataclasses.dataclass(frozen=True)
class Entry:
    """One variable of a file: its shape, and a function that reads it."""

    shape: tuple[int, ...]
    read: Callable[[], np.ndarray]


@dataclasses.dataclass(frozen=True)
class Weights:
    """The content of a file of weights; values are read on demand.

    Attributes:
      path: as the user gave it.
      kind: what the file is, in words.
      entries: {name of a variable below our `Model`: entry}. What has no place in our models keeps
        a name that none of them has, under `encoder/` where it is part of an encoder.
      encoder: 'resnet', 'bit' or 'keras_resnet'; None where names alone cannot tell (a checkpoint
        of simclr_med's that was taken out of its run).
      input_range: that the encoder was trained with; None: unknown.
      antialias: "true" or "false", the rule by which they were shown images, see --antialias; None:
        unknown.
      image_size: px, of the run that made them, if it is known.
      pooled_shortcuts: whether a ResNet's shortcuts pool (ResNet-D), as with any --sk_ratio above 0;
        None: unknown.
      class_names: of the head's logits, in order; None: unknown.
      multilabel: whether the head has a sigmoid for each label, not a softmax; None: unknown.
      ft_proj_selector: the layer of the projection head that the head sees; None: unknown.
      num_other: variables of no part of a model, as an optimizer's.
    """

    path: str
    kind: str
    entries: dict[str, Entry]
    encoder: str | None
    input_range: str | None
    image_size: int | None = None
    pooled_shortcuts: bool | None = None
    class_names: tuple[str, ...] | None = None
    multilabel: bool | None = None
    ft_proj_selector: int | None = None
    antialias: str | None = None
    num_other: int = 0

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Returns {name: shape}."""
        return {name: entry.shape for name, entry in self.entries.items()}


@contextlib.contextmanager
def translate_access_errors(path: str) -> Iterator[None]:
    """Turns errors of a disk or network that does not deliver a file into a UserError.

    Raises:
      UserError: the file cannot be read.
    """
    try:
        yield
    except _UNREADABLE as error:
        if is_transient(error):
            raise
        raise _unreadable(path, error) from error


@contextlib.contextmanager
def translate_read_errors(path: str) -> Iterator[None]:
    """Turns errors of reading a truncated or changed file into a UserError.

    PermissionError passes: `run.py` has a message for it.

    Raises:
      UserError: the file is damaged, or cannot be read.
    """
    try:
        with translate_access_errors(path):
            yield
    except (UserError, PermissionError):
        raise
    except (
        tf.errors.OpError,
        OSError,
        EOFError,
        LookupError,
        RuntimeError,
        ValueError,
        zipfile.BadZipFile,
        zlib.error,
    ) as error:
        if is_transient(error):
            raise
        if "Permission denied" in str(error):  # TensorFlow's reader raises all as one type
            raise _unreadable(path, error) from error
        raise UserError(
            f"--checkpoint={path} is damaged or was cut short ({_first_line(error)}); copy or "
            "download it again, with all of its files."
        ) from error


def _unreadable(path: str, error: Exception) -> UserError:
    return UserError(
        f"--checkpoint={path} cannot be read: {_first_line(error)}. Check that you may read it and "
        "that its disk or network can be reached, then give the same command again."
    )


def _first_line(error: Exception) -> str:
    lines = str(getattr(error, "message", error)).splitlines()
    return lines[0][:120].rstrip(" .") if lines else type(error).__name__
