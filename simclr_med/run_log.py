"""What a run leaves in its `model_dir`, and what it shows while it works."""

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import json
import os
import sys
import time
from collections.abc import Iterator
from typing import Any

import rich.console
import rich.progress
import tensorflow as tf

from simclr_med.config import FIELDS, Config, fields_that_shape_weights
from simclr_med.errors import UserError
from simclr_med.files import is_remote, read_text
from simclr_med.files import write_atomically as write_atomically

_SECONDS_BETWEEN_LINES = 5.0
_SECONDS_FOR_A_LOOK = 0.2
_LOCK = ".lock"
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK)  # so a file system says it


def write_json(path: str, value: Any) -> None:
    """Writes JSON atomically, indented, NaN as null."""
    write_atomically(path, json.dumps(_plain(value), indent=2) + "\n")


def read_json(path: str) -> Any:
    """Returns the content of a JSON file.

    Raises:
      UserError: it is not JSON, so something else than a run has changed it.
    """
    try:
        return json.loads(read_text(path))
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it.") from error


@contextlib.contextmanager
def locked(model_dir: str) -> Iterator[None]:
    """Holds the folder for one training process; the lock ends with the process, however it ends.

    A remote folder is made, and cannot be locked, nor can some local ones (Lustre without -o flock):
    two processes that train there are not found out.

    Raises:
      UserError: another process trains in this folder, or it cannot be made.
    """
    if is_remote(model_dir):
        tf.io.gfile.makedirs(model_dir)
        yield
        return
    try:
        os.makedirs(model_dir, exist_ok=True)
        file = open(os.path.join(model_dir, _LOCK), "a+")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"--model_dir={model_dir} cannot be used: {error.strerror}.") from error
    with file:
        had = _flock(file, fcntl.LOCK_EX)
        if had is False:
            time.sleep(_SECONDS_FOR_A_LOOK)  # `is_training` may be holding it for an instant
            had = _flock(file, fcntl.LOCK_EX)
            if had is False:
                raise UserError(
                    f"--model_dir={model_dir} is in use by another run; wait for it, or choose "
                    "another folder. (--mode=eval may look at it meanwhile.)"
                )
        if had is None:
            print(
                f"Note: the file system of {model_dir} has no locks, so a second run in this folder "
                "would not be found out: start none."
            )
        yield


def is_training(model_dir: str) -> bool:
    """Returns whether a process holds `locked(model_dir)`; needs no right to write there.

    Of a folder that cannot be locked nobody knows: False.
    """
    if is_remote(model_dir):
        return False
    try:
        with open(os.path.join(model_dir, _LOCK)) as file:
            return _flock(file, fcntl.LOCK_SH) is False
    except FileNotFoundError:
        return False


def _flock(file: Any, kind: int) -> bool | None:
    """Returns whether the lock could be had at once, until the file is closed; None: there are none."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def check_same_run(
    model_dir: str, config: Config, dataset: str, class_names: tuple[str, ...]
) -> None:
    """Compares with the configuration that began in this folder, if one did.

    Raises:
      UserError: names each field that shapes the weights and differs.
    """
    path = os.path.join(model_dir, "config.json")
    mine = _of_run(model_dir, config, dataset, class_names)
    if tf.io.gfile.exists(path):
        defaults = {name: field.default for name, field in FIELDS.items()}
        theirs = {**defaults, **read_json(path)}  # a run older than a field had its default
        differing = [
            f"{name} was {theirs.get(name)}, now {mine[name]}"
            for name in (*fields_that_shape_weights(), "prepared_dataset")
            if theirs.get(name) != mine[name]
        ]
        if differing:
            raise UserError(
                f"--model_dir={model_dir} holds a run of another configuration: "
                f"{'; '.join(differing)}. Use the same flags to go on, or another folder."
            )


def write_config(
    model_dir: str, config: Config, dataset: str, class_names: tuple[str, ...]
) -> None:
    """Writes config.json: from here on the folder holds this run."""
    mine = _of_run(model_dir, config, dataset, class_names)
    write_json(os.path.join(model_dir, "config.json"), mine)


def _of_run(model_dir: str, config: Config, dataset: str, class_names: tuple[str, ...]) -> dict:
    return {
        **config.to_dict(),
        "model_dir": model_dir,
        "prepared_dataset": dataset,
        "class_names": list(class_names),
    }


class RunLog:
    """Writes metrics.jsonl and TensorBoard events, and shows progress on the terminal.

    Args:
      model_dir: the run's folder.
      start_step: step of the checkpoint that was restored; later lines are of a lost future and go.
      total_steps: of the whole run.
      images_per_step: views that pass the network in a step, on average.
    """

    def __init__(self, model_dir: str, start_step: int, total_steps: int, images_per_step: float):
        self._path = os.path.join(model_dir, "metrics.jsonl")
        rows = [row for row in read_metrics(model_dir) if row["step"] <= start_step]
        write_atomically(self._path, "".join(json.dumps(row) + "\n" for row in rows))
        self._events = tf.summary.create_file_writer(os.path.join(model_dir, "events"))
        self._images_per_step = images_per_step
        self._total_steps = total_steps
        self._start: tuple[float, int] | None = None
        self._last_line = 0.0
        self._bar = _progress_bar() if sys.stdout.isatty() else None
        if self._bar:
            self._bar.start()
            self._task = self._bar.add_task("training", total=total_steps, completed=start_step)

    def show(self, step: int, metrics: dict[str, float]) -> None:
        """Moves the progress bar, or prints a line every few seconds where there is no terminal."""
        now = time.monotonic()
        if self._start is None:  # what came before was tracing and compiling: no measure of speed
            self._start = (now, step)
        rate = (step - self._start[1]) / max(now - self._start[0], 1e-9)
        words = " ".join(f"{name} {value:.3f}" for name, value in metrics.items())
        if rate:
            words += f"  {rate:.2f} steps/s {rate * self._images_per_step:.0f} images/s"
        if self._bar:
            self._bar.update(self._task, completed=step, description=words)
        elif now - self._last_line > _SECONDS_BETWEEN_LINES or step == self._total_steps:
            self._last_line = now
            if rate:
                words += f"  ETA {_clock((self._total_steps - step) / rate)}"
            print(f"step {step}/{self._total_steps}  {words}", flush=True)

    def write(self, step: int, metrics: dict[str, float]) -> None:
        """Appends a line to metrics.jsonl and scalars to the TensorBoard events."""
        with tf.io.gfile.GFile(self._path, "a") as file:
            file.write(json.dumps(_plain({"step": step, **metrics})) + "\n")
        with self._events.as_default(step=step):
            for name, value in metrics.items():
                tf.summary.scalar(f"train/{name}", value)
        self._events.flush()

    def picture(self, name: str, image: tf.Tensor, step: int) -> None:
        """Adds an image, uint8 [H, W, 3], to the TensorBoard events."""
        with self._events.as_default(step=step):
            tf.summary.image(name, image[tf.newaxis])

    def close(self) -> None:
        """Ends the progress bar and flushes what is written."""
        if self._bar:
            self._bar.stop()
        self._events.close()


def read_metrics(model_dir: str) -> list[dict[str, float]]:
    """Returns the rows of metrics.jsonl; a last line cut short by a crash is left out."""
    path = os.path.join(model_dir, "metrics.jsonl")
    if not tf.io.gfile.exists(path):
        return []
    lines = read_text(path).split("\n")[:-1]  # what follows the last newline is incomplete
    return [json.loads(line) for line in lines]


def _progress_bar() -> rich.progress.Progress:
    return rich.progress.Progress(
        rich.progress.BarColumn(bar_width=20),
        rich.progress.MofNCompleteColumn(),
        rich.progress.TextColumn("{task.description}"),
        rich.progress.TextColumn("ETA"),
        rich.progress.TimeRemainingColumn(),
        refresh_per_second=2,
    )


def _clock(seconds: float) -> str:
    """Returns H:MM:SS, with as many hours as it takes."""
    return str(datetime.timedelta(seconds=round(seconds)))


def _plain(value: Any) -> Any:
    """Returns `value` as JSON can hold it."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value
