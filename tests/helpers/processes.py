"""Starts the processes of a test: alone, or workers that talk over the loopback device."""

import json
import os
import socket
import subprocess
import sys
import time

from helpers import ROOT

TABLE: list[str] = []  # lines that are printed after the tests


def free_ports(count):
    """Returns ports that are free now."""
    sockets = [socket.socket() for _ in range(count)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def environments(workers):
    """Returns the environment of each worker; without TF_CONFIG if there is one."""
    base = {k: v for k, v in os.environ.items() if k != "TF_CONFIG" and not k.startswith("SLURM_")}
    base["PYTHONPATH"] = f"{ROOT}{os.pathsep}{ROOT / 'tests'}"
    base["CUDA_VISIBLE_DEVICES"] = "-1"
    if workers == 1:
        return [base]
    addresses = [f"127.0.0.1:{port}" for port in free_ports(workers)]
    task = {"cluster": {"worker": addresses}, "task": {"type": "worker"}}
    return [
        {**base, "TF_CONFIG": json.dumps({**task, "task": {"type": "worker", "index": i}})}
        for i in range(workers)
    ]


def start(command, environment, log, cwd):
    """Starts a Python command whose whole output goes to the file `log`."""
    with open(log, "w") as file:
        return subprocess.Popen(
            [sys.executable, *map(str, command)],
            env=environment,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=cwd,
        )


def finish(processes, timeout):
    """Waits for all, and returns their exit codes; kills what has not ended in time (seconds)."""
    deadline = time.monotonic() + timeout
    try:
        return [process.wait(max(0, deadline - time.monotonic())) for process in processes]
    finally:
        for process in processes:
            if process.poll() is None:
                process.kill()
                process.wait()
