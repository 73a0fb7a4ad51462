"""Software, hardware and duration of training and evaluation: sessions.json, config.json, result.json.

Host and command may name people: report and model card show neither (`--keep_identifiers` does).
"""

from __future__ import annotations

import contextlib
import datetime
import functools
import importlib.metadata
import os
import platform
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import joblib
import tensorflow as tf

from simclr_med import __version__
from simclr_med.keras_api import keras
from simclr_med.run_folder import gfile
from simclr_med.run_folder.folder import read_json, write_json

FILE = "sessions.json"
_ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
_PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "tensorflow-datasets")


@functools.cache
def software() -> dict[str, str]:
    """Returns {package: version}, with "python", and "commit" of a clone."""
    versions = {"simclr_med": __version__}
    if commit := _commit():
        versions["commit"] = commit
    versions |= {"python": platform.python_version(), "tensorflow": tf.__version__}
    own = "tf_keras" if keras.__name__.startswith("tf_keras") else "keras"
    return versions | {name: importlib.metadata.version(name) for name in (own, *_PACKAGES)}


def hardware() -> dict[str, Any]:
    """Returns {"cpu", "cpus", "memory_gib" (None: unknown), "accelerators": {name: number}}."""
    names = [
        tf.config.experimental.get_device_details(device).get("device_name", device.device_type)
        for kind in ("GPU", "TPU")
        for device in tf.config.list_physical_devices(kind)
    ]
    return {
        "cpu": _cpu(),
        "cpus": joblib.cpu_count(),
        "memory_gib": _memory(),
        "accelerators": {name: names.count(name) for name in sorted(set(names))},
    }


def here(argv: list[str] | None) -> dict[str, Any]:
    """Returns the provenance of this process: software, hardware, host, command, and starting time."""
    now = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return {
        "began": now,
        "software": software(),
        "hardware": hardware(),
        "host": socket.gethostname(),
        "command": argv,
    }


@contextlib.contextmanager
def session(
    folder: str, invocation: dict, start: int, reached: Callable[[], int]
) -> Iterator[None]:
    """Adds a session to sessions.json when entered, and how long it took when left, however it is left.

    A session that is killed has no "seconds".

    Args:
      folder: of the run.
      invocation: what the command line said, for its "argv".
      start: step that the session begins at.
      reached: returns the step that was reached.
    """
    path, earlier = os.path.join(folder, FILE), sessions(folder)
    row = {**here(invocation.get("argv")), "from_step": start}
    write_json(path, {"sessions": [*earlier, row]})
    begun = time.monotonic()
    try:
        yield
    finally:
        done = {"to_step": reached(), "seconds": round(time.monotonic() - begun, 1)}
        write_json(path, {"sessions": [*earlier, {**row, **done}]})


def sessions(folder: str) -> list[dict]:
    """Returns the sessions in which a run was trained; [] of a run that is older than the file."""
    path = os.path.join(folder, FILE)
    return read_json(path).get("sessions", []) if gfile.exists(path) else []


def training_of(folder: str) -> dict[str, Any]:
    """Returns how a run was trained: {"sessions", "seconds", "killed", "commits"}, {} if unknown."""
    earlier = sessions(folder)
    if not earlier:
        return {}
    return {
        "sessions": len(earlier),
        "seconds": round(sum(row.get("seconds", 0.0) for row in earlier), 1),
        "killed": sum("seconds" not in row for row in earlier),
        "commits": sorted({row["software"].get("commit", "") for row in earlier} - {""}),
    }


def in_words(training: dict[str, Any]) -> str:
    """Returns "0:12:31 in 2 sessions"; "" if unknown."""
    if not training:
        return ""
    took = str(datetime.timedelta(seconds=round(training["seconds"])))
    count = training["sessions"]
    text = f"{took} in {count} session{'s' * (count > 1)}"
    if training["killed"]:
        text += f", without the {training['killed']} that was killed or goes on"
    return text


def hardware_in_words(hardware: dict[str, Any]) -> str:
    """Returns "2 x NVIDIA H200, 16 CPUs (Intel Xeon ...), 128 GiB"."""
    accelerators = [f"{number} x {name}" for name, number in hardware["accelerators"].items()]
    memory = [] if hardware["memory_gib"] is None else [f"{hardware['memory_gib']:g} GiB"]
    return ", ".join([*accelerators, f"{hardware['cpus']} CPUs ({hardware['cpu']})", *memory])


@functools.cache
def _commit() -> str:
    """Returns the commit of a clone, "+" at its end if files were changed since; "" without git."""
    if not os.path.exists(os.path.join(_ROOT, ".git")):  # git would look further up
        return ""
    try:
        commit, changed = (
            subprocess.run(
                ["git", "-C", _ROOT, *arguments],
                capture_output=True,
                text=True,
                check=True,
                timeout=10,
            ).stdout.strip()
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "-uno"))
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return commit + "+" * bool(changed)


def _memory() -> float | None:
    """Returns the machine's memory, GiB; None where the system does not say."""
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (AttributeError, ValueError, OSError):  # Windows
        return None


@functools.cache
def _cpu() -> str:
    """Returns the name of the CPU, as its maker calls it where that is known."""
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
