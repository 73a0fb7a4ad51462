"""Checkpoint files: written atomically, sealed, and verified before anything is read from them.

`ckpt-STEP.data-*` and `.index` are TensorFlow's; `ckpt-STEP.json` is the seal, which says the size and
CRC-32 of each. They are written under other names, renamed when they are whole and on the disk, and
sealed last.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import zlib

import tensorflow as tf

from simclr_med.checkpoints import reading
from simclr_med.errors import UserError
from simclr_med.run_folder import files, gfile
from simclr_med.transient import is_transient

_PIECE = 1 << 24  # bytes
_INDEX = re.compile(r"ckpt-(\d+)\.index")
_TEMPORARY = "unfinished-"


def list_prefixes(model_dir: str) -> list[str]:
    """Returns the prefixes of a run's checkpoints, the oldest first, damaged ones too."""
    matches = map(_INDEX.fullmatch, files.names(model_dir))
    steps = sorted(int(match[1]) for match in matches if match)
    return [os.path.join(model_dir, f"ckpt-{step}") for step in steps]


def newest_usable(model_dir: str) -> str | None:
    """Returns the prefix of the newest undamaged checkpoint; None if there are no checkpoints.

    See `usable`.

    Raises:
      UserError: there are some, and all are damaged.
    """
    prefixes = usable(model_dir, at_most=1)
    return prefixes[0] if prefixes else None


def usable(model_dir: str, at_most: int | None = None) -> list[str]:
    """Returns the prefixes of the undamaged checkpoints, the oldest first; [] if there are none.

    Prints a message for each that is damaged. One that a run removes meanwhile is left out.

    Args:
      model_dir: of the run, which may go on.
      at_most: number of newest ones to return; the files of older ones are not read. None: all.

    Raises:
      UserError: there are some, and none is whole.
    """
    prefixes = list_prefixes(model_dir)
    whole: list[str] = []
    num_damaged = 0
    for prefix in reversed(prefixes):
        damage = find_damage(prefix)
        if damage is None:
            whole.insert(0, prefix)
        elif exists(prefix):
            num_damaged += 1
            print(f"Warning: checkpoint {prefix} is damaged ({damage}); it is passed over.")
        if len(whole) == at_most:
            break
    if whole or not prefixes:
        return whole
    if num_damaged < len(prefixes):  # some were removed, after newer ones were written
        return usable(model_dir, at_most)
    raise UserError(
        f"None of the {len(prefixes)} checkpoints in {model_dir} can be used: all are damaged. "
        "Put back a copy of one with its .index, .data and .json files, or take another folder "
        "to train from scratch."
    )


def exists(prefix: str) -> bool:
    """Returns whether a checkpoint is still among those of `list_prefixes`, damaged or not."""
    folder, name = os.path.split(prefix)
    return f"{name}.index" in files.names(folder)  # as `list_prefixes` sees it: also a broken link


def identity(prefix: str) -> str | None:
    """Returns a hash of what a checkpoint holds; None if it is gone.

    Its index has a checksum of every tensor, so only that small file is read.
    """
    digest = hashlib.sha256()
    try:
        files.update_digest(digest, f"{prefix}.index")
    except tf.errors.NotFoundError:
        return None
    return digest.hexdigest()[:16]


def find_damage(prefix: str) -> str | None:
    """Reads all files of a checkpoint and returns what is wrong with them; None: nothing.

    Raises:
      UserError: they cannot be read just now, which does not make them damaged.
    """
    try:
        if not gfile.exists(f"{prefix}.json"):
            return _unreadable_tensor(prefix)
        return _broken_seal(prefix)
    except tf.errors.NotFoundError:
        return "a file of it is missing"
    except tf.errors.OpError as error:
        if is_transient(error):
            raise
        raise UserError(
            f"Checkpoint {prefix} cannot be read: {error.message}. Check that you may read it and "
            "that its disk or network can be reached, then give the same command again."
        ) from error


def commit(temporary: str, prefix: str) -> None:
    """Gives a written checkpoint its final name and seals it; from then on it survives a power failure.

    Args:
      temporary: prefix of its files now.
      prefix: their prefix from now on; what was there before is removed.
    """
    folder, name = os.path.split(temporary)
    suffixes = [n.removeprefix(name) for n in files.names(folder) if n.startswith(f"{name}.")]
    seal = {suffix: _size_and_crc(temporary + suffix) for suffix in suffixes}
    for suffix in suffixes:
        files.sync(temporary + suffix)
    remove(prefix)
    for suffix in suffixes:  # .index last: where it exists, the checkpoint is complete
        gfile.rename(temporary + suffix, prefix + suffix, overwrite=True)
    files.write_atomically(f"{prefix}.json", json.dumps(seal) + "\n")


def temp_prefix(prefix: str) -> str:
    """Returns the prefix under which a checkpoint is written."""
    folder, name = os.path.split(prefix)
    return os.path.join(folder, f"{_TEMPORARY}{name}")


def remove(prefix: str) -> None:
    """Removes a checkpoint's files, the index first: without it they are no checkpoint."""
    folder, name = os.path.split(prefix)
    names = [n for n in files.names(folder) if n.startswith((f"{name}.", f"{name}_temp"))]
    for n in sorted(names, key=lambda n: (not n.endswith(".index"), n)):
        _remove(os.path.join(folder, n))


def remove_leftovers(model_dir: str) -> None:
    """Removes the files of processes that died while they wrote or removed a checkpoint."""
    whole = {os.path.basename(prefix) for prefix in list_prefixes(model_dir)}
    for name in files.names(model_dir):
        match = re.match(rf"({_TEMPORARY})?(ckpt-\d+)[._]", name)
        if match and (match[1] or match[2] not in whole):
            _remove(os.path.join(model_dir, name))


def write_list(model_dir: str, prefixes: list[str]) -> None:
    """Writes the file `checkpoint`, where TensorFlow and other tools look for the newest checkpoint.

    Args:
      model_dir: of the run.
      prefixes: of its checkpoints, the newest last.
    """
    names = [os.path.basename(prefix) for prefix in prefixes]
    lines = [f'model_checkpoint_path: "{names[-1]}"']
    lines += [f'all_model_checkpoint_paths: "{name}"' for name in names]
    files.write_atomically(os.path.join(model_dir, "checkpoint"), "\n".join(lines) + "\n")


def listed(folder: str) -> str | None:
    """Returns the prefix that the file `checkpoint` in a folder names; None if its files are gone.

    As tf.train.latest_checkpoint, for whatever path; the folder may have been moved.
    """
    try:
        name = newest_name(folder)
    except ValueError:  # the file is damaged
        return None
    prefix = os.path.join(folder, name or "")
    return prefix if name and gfile.exists(f"{prefix}.index") else None


def newest_name(folder: str) -> str | None:
    """Returns the name of the newest checkpoint by the file `checkpoint` of a folder; None without one.

    Raises:
      tf.errors.OpError, ValueError: the file is damaged.
    """
    path = os.path.join(folder, "checkpoint")
    if not gfile.exists(path):
        return None
    gfile.read(
        path
    )  # retried if storage fails; the next line would read a failure as a missing file
    state = tf.train.get_checkpoint_state(folder)
    return os.path.basename(state.model_checkpoint_path) if state is not None else None


def _remove(path: str) -> None:
    (gfile.rmtree if gfile.isdir(path) else gfile.remove)(path)


def _size_and_crc(path: str) -> list[int]:
    size = crc = 0
    for piece in gfile.pieces(path, _PIECE):
        size, crc = size + len(piece), zlib.crc32(piece, crc)
    return [size, crc]


def _broken_seal(prefix: str) -> str | None:
    """Compares the files of a checkpoint with its seal."""
    try:
        seal = json.loads(files.read_text(f"{prefix}.json"))
    except ValueError:
        seal = None
    if not isinstance(seal, dict) or ".index" not in seal:
        return f"{os.path.basename(prefix)}.json is not what was written"
    for suffix in seal:
        size, crc = _size_and_crc(prefix + suffix)
        if [size, crc] != seal[suffix]:
            name, expected = os.path.basename(prefix) + suffix, seal[suffix][0]
            return (
                f"{name} has {size:,} bytes, not {expected:,}"
                if size != expected
                else f"{name} has another checksum"
            )
    return None


def _unreadable_tensor(prefix: str) -> str | None:
    """Reads a checkpoint that is older than the seals: TensorFlow keeps a checksum of each tensor."""
    folder, name = os.path.split(prefix)
    for other in files.names(folder):
        if other.startswith(
            f"{name}."
        ):  # first as bytes, where an error says if it is the network's
            _size_and_crc(os.path.join(folder, other))
    try:
        reader = reading.open_reader(prefix)
        for key in reader.get_variable_to_shape_map():
            reader.get_tensor(key)
    except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:
        if is_transient(error):
            raise
        return str(error).splitlines()[0][:200]
    return None
