"""A run's `model_dir`: its JSON files, its lock, its identity, its metrics."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterator
from typing import IO, Any

import filelock

from simclr_med.config import FIELDS, OF_OLDER_RUNS, Config, fields_that_shape_weights, renamed
from simclr_med.errors import UserError
from simclr_med.run_folder import gfile, schemas
from simclr_med.run_folder.files import is_remote, read_text, write_atomically

_SECONDS_FOR_A_LOOK = 0.2
_OF_FIELDS = ("config.json", "simclr_med.json")  # which hold fields of the configuration
_LOCK, _LOCK_OF_RESULTS, _CLAIM = ".lock", ".lock_results", ".lock_claim"
# Of file systems without locks; EBADF: NFS, which locks only files open for writing.
_NO_LOCKS = (errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK, errno.EBADF)


def write_json(path: str, value: Any) -> None:
    """Writes JSON atomically, indented, NaN as null."""
    write_atomically(path, json.dumps(plain(value), indent=2) + "\n")


def read_json(path: str) -> Any:
    """Returns the content of a JSON file, an object.

    Raises:
      UserError: it is not JSON, or not what a run writes into a file of that name (`schemas`), so
        something else than a run has changed it.
    """
    try:
        value = json.loads(read_text(path))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({error}); restore it.") from error
    if os.path.basename(path) in _OF_FIELDS and isinstance(value, dict):
        value = renamed(value)
    if problem := schemas.find_problem(path, value):
        raise UserError(f"{path} is damaged ({problem}); restore it.")
    return value


@contextlib.contextmanager
def locked(model_dir: str, busy: str = "") -> Iterator[None]:
    """Locks the folder for one training process; the lock ends with the process, however it ends.

    A remote folder is made, and cannot be locked, nor can some local ones (Lustre without -o flock):
    two processes that train there are not found out.

    Args:
      model_dir: the folder; made if it is missing.
      busy: what to tell who comes second; "": that a run is in it.

    Raises:
      UserError: another process trains in this folder, or it cannot be made.
    """
    if is_remote(model_dir):
        gfile.makedirs(model_dir)
        yield
        return
    try:
        os.makedirs(model_dir, exist_ok=True)
        file = open(os.path.join(model_dir, _LOCK), "a+")  # noqa: SIM115
    except OSError as error:
        raise UserError(f"--model_dir={model_dir} cannot be used: {error.strerror}.") from error
    with file:
        had = try_lock(file)
        if had is False:
            raise UserError(
                busy
                or f"--model_dir={model_dir} is in use by another run; wait for it, or choose another "
                "folder. (--mode=eval may look at it meanwhile.)"
            )
        if had is None:
            print(
                f"Note: the file system of {model_dir} has no locks, so a second run in this folder "
                "would not be noticed: do not start one."
            )
        yield


@contextlib.contextmanager
def claimed(folder: str) -> Iterator[bool]:
    """Yields whether this process, and no other, may make the run of a folder.

    Until the block or the process ends, however it ends. Where there are no locks (remote folders, some
    local ones) every process may.

    Args:
      folder: of the run, or of an experiment; made if it is missing.
    """
    gfile.makedirs(folder)
    if is_remote(folder):
        yield True
        return
    with open(os.path.join(folder, _CLAIM), "a+") as file:
        yield try_lock(file) is not False


@contextlib.contextmanager
def results_locked(model_dir: str) -> Iterator[None]:
    """Locks the results of a run while an evaluation or export writes them; waits for the lock.

    So the files of two evaluations do not mix: those of the later one stay. The lock ends with the
    process, however it ends. Where there are no locks, each file is still written whole.
    """
    with contextlib.ExitStack() as stack:
        if not is_remote(model_dir):
            os.makedirs(model_dir, exist_ok=True)
            path = os.path.join(model_dir, _LOCK_OF_RESULTS)
            try:
                file = stack.enter_context(open(path, "a+"))
            except PermissionError:  # another user's, in a folder of a group
                file = stack.enter_context(open(path))
            announced = False
            while try_lock(file) is False:
                if not announced:
                    print(f"Another evaluation writes its results to {model_dir}: waiting for it.")
                announced = True
        yield


def is_training(model_dir: str) -> bool:
    """Returns whether a process holds `locked(model_dir)`; needs no right to write there.

    False for a folder that cannot be locked.
    """
    return _is_held(model_dir, _LOCK)


def is_claimed(folder: str) -> bool:
    """Returns whether a process holds `claimed(folder)`, as a study in it does; see `is_training`."""
    return _is_held(folder, _CLAIM)


def _is_held(folder: str, name: str) -> bool:
    if is_remote(folder):
        return False
    path = os.path.join(folder, name)
    try:
        file = open(path, "r+" if os.access(path, os.W_OK) else "r")  # noqa: SIM115
    except FileNotFoundError:
        return False
    with file:
        return try_lock(file) is False


def try_lock(file: IO) -> bool | None:
    """Returns whether the lock was acquired, until the file is closed; None: locks are not supported."""
    try:
        if filelock.lock_descriptor(file.fileno(), blocking=False):
            return True
        time.sleep(_SECONDS_FOR_A_LOOK)  # `is_training` may be holding it for an instant
        return filelock.lock_descriptor(file.fileno(), blocking=False)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None


def check_same_run(
    model_dir: str, config: Config, dataset: str, class_names: tuple[str, ...]
) -> None:
    """Compares a configuration with that of the run in a folder, if one has begun there.

    Args:
      model_dir: the folder.
      config, dataset, class_names: of the run, as in `write_config`.

    Raises:
      UserError: names each field that shapes the weights and differs.
    """
    path = os.path.join(model_dir, "config.json")
    own = _of_run(model_dir, config, dataset, class_names)
    if gfile.exists(path):
        defaults = {name: field.default for name, field in FIELDS.items()}
        # A run older than a field had its default, or what `OF_OLDER_RUNS` says.
        stored = {**defaults, **OF_OLDER_RUNS, **read_json(path)}
        differing = [
            f"{name} was {stored.get(name)}, now {own[name]}"
            for name in (*fields_that_shape_weights(), "prepared_dataset")
            if stored.get(name) != own[name]
        ]
        if differing:
            raise UserError(
                f"--model_dir={model_dir} holds a run of another configuration: "
                f"{'; '.join(differing)}. Use the same flags to go on, or another folder."
            )


def write_config(
    model_dir: str,
    config: Config,
    dataset: str,
    class_names: tuple[str, ...],
    data_order: int,
    num_streams: int | None,
    software: dict[str, str] | None = None,
) -> None:
    """Writes config.json; from then on the folder belongs to this run.

    Args:
      model_dir: the folder.
      config, dataset, class_names, data_order: of the run.
      num_streams: in which the split is read; None: of weights that were trained elsewhere.
      software: versions, of `provenance.software`; None: unknown.
    """
    values = _of_run(model_dir, config, dataset, class_names)
    path = os.path.join(model_dir, "config.json")
    read_as = {"data_order": data_order, **({"num_streams": num_streams} if num_streams else {})}
    write_json(path, {**values, **read_as, "software": software or {}})


def data_order(model_dir: str) -> int | None:
    """Returns the `data_order` of the run in a folder, see `data.training_batches`.

    1 for a run that is older than the record; None if none has begun.
    """
    path = os.path.join(model_dir, "config.json")
    return read_json(path).get("data_order", 1) if gfile.exists(path) else None


def num_streams(model_dir: str) -> int | None:
    """Returns in how many streams the run in a folder reads its split; None if none has begun.

    None too of a run that is older than streams: `data_order` says so.
    """
    path = os.path.join(model_dir, "config.json")
    return read_json(path).get("num_streams") if gfile.exists(path) else None


def _of_run(model_dir: str, config: Config, dataset: str, class_names: tuple[str, ...]) -> dict:
    return {
        **config.to_dict(),
        "model_dir": model_dir,
        "prepared_dataset": dataset,
        "class_names": list(class_names),
    }


def read_metrics(model_dir: str) -> list[dict[str, float]]:
    """Returns the rows of metrics.jsonl; a last line cut short by a crash is left out.

    Raises:
      UserError: another line is damaged; says which.
    """
    path = os.path.join(model_dir, "metrics.jsonl")
    if not gfile.exists(path):
        return []
    try:
        lines = read_text(path).split("\n")[:-1]  # what follows the last newline is incomplete
    except ValueError as error:
        raise UserError(f"{path} is damaged ({error}); restore it, or move it away.") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
            problem = schemas.find_problem_of_metrics(row)
        except (ValueError, RecursionError) as error:
            problem = str(error)
        if problem:
            raise UserError(
                f"{path}, line {number}, is damaged ({problem}): remove that line. Weights do not "
                "depend on this file."
            )
        rows.append(row)
    return rows


def plain(value: Any) -> Any:
    """Returns a value as JSON can represent it: NaN and infinity as None."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if value == value and abs(value) != float("inf") else None
    return value
