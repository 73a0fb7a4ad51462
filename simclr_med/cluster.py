"""The workers of a run, from TF_CONFIG or from Slurm's variables; and waiting until all are there.

Nothing here imports TensorFlow: a worker that has nothing to do can leave at once.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import socket
import time
from collections.abc import Mapping, MutableMapping

from simclr_med.errors import UserError

_PAUSE, _REMIND = 0.2, 30.0  # seconds between attempts to reach a worker, and between printed lines
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
      num_workers: required number of workers; 1: as many as TF_CONFIG names.
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
    count = len(cluster.workers) if cluster else 1
    if num_workers not in (1, count):
        raise UserError(
            f"--num_workers={num_workers}, but the environment names {count}. Start as many "
            "processes, or leave --num_workers out: TF_CONFIG alone is enough."
        )
    return cluster if count > 1 else None


def clear_tf_config(environ: MutableMapping[str, str] | None = None) -> None:
    """Makes this process work alone from now on."""
    (os.environ if environ is None else environ).pop("TF_CONFIG", None)


def wait_for_workers(cluster: Cluster) -> None:
    """Waits until every worker of the cluster can be reached; each of them has to call this.

    TensorFlow would wait for them too, but ignore Ctrl-C and SIGTERM, and for an hour at most.

    Raises:
      UserError: this worker's own port is taken.
    """
    own, count = cluster.workers[cluster.index], len(cluster.workers)
    missing = {worker: "" for worker in cluster.workers if worker != own}
    waits = f"Worker {cluster.index} of {count} at {own}"
    print(f"{waits} waits for the others: {', '.join(missing)}", flush=True)
    with _listening(own):
        reminded = time.monotonic()
        while missing:
            reasons = {worker: _why_not_reached(worker) for worker in missing}
            missing = {worker: reason for worker, reason in reasons.items() if reason}
            if missing and time.monotonic() - reminded > _REMIND:
                reminded = time.monotonic()
                who = ", ".join(f"{worker} ({reason})" for worker, reason in missing.items())
                print(f"{waits} still waits for {who}", flush=True)
            if missing:
                time.sleep(_PAUSE)


def _listening(own: str) -> contextlib.AbstractContextManager:
    """Returns a socket at this worker's port: the system answers who tries to reach it."""
    port, both = int(own.rpartition(":")[2]), socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=both, backlog=1024)
    except OSError as error:
        raise UserError(
            f"This worker cannot listen at {own} ({error.strerror}). Is another process "
            "of the run, or of an earlier one, still there? Else choose another port."
        ) from error


def _why_not_reached(worker: str) -> str:
    """Returns why host:port cannot be reached; "" where it can."""
    host, _, port = worker.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        return error.strerror or str(error)
    return ""


def _of_tf_config(text: str) -> Cluster | None:
    try:
        spec = json.loads(text)
        jobs, task = spec.get("cluster", {}), spec.get("task", {})
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
    rank, node_list, per_node, job = (environ[name] for name in names)
    try:
        hosts, counts = _hosts(node_list), _counts(per_node)
        base = _FIRST_PORT + int(job) % (_PORTS - max(counts))
        nodes = zip(hosts, counts, strict=True)
        tasks = [(host, base + i) for host, count in nodes for i in range(count)]
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
    if max(counts) > 1 and "SLURM_GPUS_ON_NODE" in environ and "SLURM_GPUS_PER_TASK" not in environ:
        raise UserError(
            f"Slurm starts {max(counts)} tasks on a node, and each would take all its GPUs. Start one "
            "task on a node (--ntasks-per-node=1), which uses all of them, or add --gpus-per-task=1."
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
        if "[" in suffix:
            raise ValueError(part)
        for span in numbers.split(","):
            ends = span.split("-")
            for number in range(int(ends[0]), int(ends[-1]) + 1):
                hosts.append(f"{prefix}{number:0{len(ends[0])}d}{suffix}")
    return hosts


def _counts(text: str) -> list[int]:
    """Returns the tasks of each node of a list such as '4(x2),3'."""
    counts = []
    for part in text.split(","):
        match = re.fullmatch(r"(\d+)(?:\(x(\d+)\))?", part)
        if not match:
            raise ValueError(part)
        counts += [int(match[1])] * int(match[2] or 1)
    return counts
