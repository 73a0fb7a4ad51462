"""Starts the processes of a test: alone, or workers that talk over the loopback device."""

import atexit
import functools
import json
import os
import signal
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


class Process:
    """A process of `fork_server`; with the methods of `subprocess.Popen` that tests use."""

    def __init__(self, pid):
        self.pid, self._code = pid, None

    def poll(self):
        """Returns the exit code, -n if signal n ended it; None while it runs."""
        if self._code is None:
            self._code = _ask({"poll": self.pid})
        return self._code

    def wait(self, timeout):
        """Returns the exit code, once there is one.

        Raises:
          subprocess.TimeoutExpired: after `timeout` seconds.
        """
        deadline = time.monotonic() + timeout
        while self.poll() is None:
            if time.monotonic() > deadline:
                raise subprocess.TimeoutExpired(str(self.pid), timeout)
            time.sleep(0.05)
        return self._code

    def send_signal(self, number):
        """Sends a signal, unless it was seen to have ended."""
        if self._code is None:
            os.kill(self.pid, number)

    def kill(self):
        """Ends it at once."""
        self.send_signal(signal.SIGKILL)


@functools.cache
def _server():
    """Returns the one fork server of this process, which ends with it."""
    environment = {**environments(1)[0], "OPENBLAS_NUM_THREADS": "1"}  # no threads at a fork
    server = subprocess.Popen(
        [sys.executable, ROOT / "tests" / "helpers" / "fork_server.py"],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)  # which closes its input
    return server


def _ask(request):
    server = _server()
    print(json.dumps(request), file=server.stdin, flush=True)
    answer = server.stdout.readline()
    assert answer, "the fork server has ended: its error message is above"
    return json.loads(answer)


def start(command, environment, log, cwd):
    """Starts a Python command, [script, arguments]; its whole output goes to the file `log`."""
    request = {"start": list(map(str, command)), "environment": environment}
    return Process(_ask({**request, "log": str(log), "cwd": str(cwd)}))


def finish(processes, timeout):
    """Waits for all, and returns their exit codes; who has not ended in time (seconds) is killed.

    Once one has failed, the others have two minutes: TensorFlow waits an hour for a lost worker.
    """
    deadline = time.monotonic() + timeout
    while None in (codes := [process.poll() for process in processes]):
        if any(codes):
            deadline = min(deadline, time.monotonic() + 120)
        if time.monotonic() > deadline:
            for process in processes:
                process.kill()
            return [process.wait(60) for process in processes]
        time.sleep(0.05)
    return codes
