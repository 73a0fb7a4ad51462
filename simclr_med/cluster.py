"""Who the workers of a run are: from TF_CONFIG, or from the variables that Slurm sets.

Nothing here imports TensorFlow: a worker that has nothing to do can leave at once.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping, MutableMapping

from simclr_med.errors import UserError

_FIRST_PORT, _PORTS = 20000, 10000  # of a Slurm job: decided by its number
_HINT = (
    'As in {"cluster": {"worker": ["host1:2222", "host2:2222"]}, '
    '"task": {"type": "worker", "index": 0}}.'
)


@dataclasses.dataclass(frozen=True)
class Cluster:
    """The worker processes of a run, and which of them this is.

    Attributes:
      workers: host:port of each.
      index: of this one; worker 0, the chief, writes the run's folder.
    """

    workers: tuple[str, ...]
    index: int

    @property
    def is_chief(self) -> bool:
        """Returns whether this is worker 0."""
        return self.index == 0


def find(num_workers: int, environ: MutableMapping[str, str] | None = None) -> Cluster | None:
    """Returns the cluster that this process is part of, or None where it works alone.

    TF_CONFIG comes first. Without it, more than one `num_workers` means the tasks of a Slurm job
    step; then TF_CONFIG is set, because TensorFlow reads it.

    Args:
      num_workers: as many there have to be; 1: however many TF_CONFIG names.
      environ: the environment; None: that of the process.

    Raises:
      UserError: the variables make no sense, are missing, or name another number of workers.
    """
    environ = os.environ if environ is None else environ
    text = environ.get("TF_CONFIG", "").strip()
    cluster = _of_tf_config(text) if text else None
    if cluster is None and num_workers > 1:
        cluster = _of_slurm(environ)
        task = {"type": "worker", "index": cluster.index}
        environ["TF_CONFIG"] = json.dumps({"cluster": {"worker": cluster.workers}, "task": task})
    found = len(cluster.workers) if cluster else 1
    if num_workers not in (1, found):
        raise UserError(
            f"--num_workers={num_workers}, but the environment names {found}. Start as many "
            "processes, or leave --num_workers out: TF_CONFIG alone is enough."
        )
    return cluster if found > 1 else None


def leave(environ: MutableMapping[str, str] | None = None) -> None:
    """Makes this process work alone from now on."""
    (os.environ if environ is None else environ).pop("TF_CONFIG", None)


def _of_tf_config(text: str) -> Cluster | None:
    try:
        found = json.loads(text)
        jobs, task = found.get("cluster", {}), found.get("task", {})
        workers = (*jobs.get("chief", ()), *jobs.get("worker", ()))
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, TypeError, AttributeError) as error:
        raise UserError(f"TF_CONFIG={text!r} cannot be read ({error}). {_HINT}") from error
    if not workers:
        return None
    if kind not in ("chief", "worker") or "ps" in jobs:
        raise UserError(
            f"TF_CONFIG names a task '{'ps' if 'ps' in jobs else kind}': here all tasks are workers "
            f"that train together. {_HINT}"
        )
    if kind == "worker":
        index += len(jobs.get("chief", ()))
    if not 0 <= index < len(workers) or not all(re.search(r":\d+$", w) for w in workers):
        raise UserError(f"TF_CONFIG={text!r} names no host:port for this task. {_HINT}")
    return Cluster(workers, index)


def _of_slurm(environ: Mapping[str, str]) -> Cluster:
    """Returns the tasks of the job step; TensorFlow's own resolver sorts n10 before n9."""
    names = ("SLURM_PROCID", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE", "SLURM_JOB_ID")
    missing = [name for name in names if name not in environ]
    if missing:
        raise UserError(
            "--num_workers > 1 needs either TF_CONFIG or a Slurm job step (srun --ntasks=N python "
            f"run.py ...): {', '.join(missing)} is not set."
        )
    rank, nodes, per_node, job = (environ[name] for name in names)
    try:
        hosts, counts = _hosts(nodes), _counts(per_node)
        base = _FIRST_PORT + int(job) % (_PORTS - max(counts))
        tasks = [(host, base + i) for host, count in zip(hosts, counts) for i in range(count)]
        own = tasks[int(rank)][0]
    except (ValueError, IndexError) as error:
        values = ", ".join(f"{name}={environ[name]}" for name in names)
        raise UserError(f"Slurm's variables do not fit together: {values}.") from error
    here = environ.get("SLURMD_NODENAME", own)
    if here != own:
        raise UserError(
            f"Slurm's task {rank} runs on {here}, not on {own}: start the tasks node after node "
            "(srun --distribution=block)."
        )
    return Cluster(tuple(f"{host}:{port}" for host, port in tasks), int(rank))


def _hosts(text: str) -> list[str]:
    """Returns the hosts of a list such as 'n[9-10,12],login', in its order."""
    hosts = []
    for part in re.findall(r"[^,\[]+(?:\[[^\]]*\][^,\[]*)?", text):
        prefix, bracket, rest = part.partition("[")
        numbers, _, suffix = rest.partition("]")
        if not bracket:
            hosts.append(part)
            continue
        for span in numbers.split(","):
            ends = span.split("-")
            for number in range(int(ends[0]), int(ends[-1]) + 1):
                hosts.append(f"{prefix}{number:0{len(ends[0])}d}{suffix}")
    return hosts


def _counts(text: str) -> list[int]:
    """Returns the tasks of each node of a list such as '4(x2),3'."""
    counts = []
    for part in text.split(","):
        found = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not found:
            raise ValueError(part)
        counts += [int(found[1])] * int(found[2] or 1)
    return counts
