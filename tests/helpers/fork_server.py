"""Starts processes that have TensorFlow imported already: the import is 5 s of CPU, a fork none.

Reads requests from standard input, a JSON line each, and answers with one: {"start": ...} with the
process's number, {"poll": number} with its exit code, null while it runs. Nothing of TensorFlow's has
been used when a process is forked, so no thread of its is lost. When nobody asks any more, all end.
"""

import json
import os
import runpy
import signal
import sys

import simclr_med.commands.main  # noqa: F401
import simclr_med.commands.train  # noqa: F401
import tfds_builders.derm_bags  # noqa: F401


def serve():
    """Answers requests; returns the request of the process that is to be, in that process."""
    running = set()
    while line := sys.stdin.readline():
        request = json.loads(line)
        if "start" in request:
            answer = os.fork()
            if not answer:
                return request
            running.add(answer)
        else:
            pid, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if pid else None
            running.discard(pid)
        print(json.dumps(answer), flush=True)
    for pid in running:
        os.kill(pid, signal.SIGKILL)
    return None


def become(request):
    """Is from now on what `python SCRIPT ARGUMENTS` would be."""
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environment"])
    for descriptor, path, flags in (
        (0, os.devnull, os.O_RDONLY),
        (1, request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC),
    ):
        opened = os.open(path, flags, 0o644)
        os.dup2(opened, descriptor)
        os.close(opened)
    os.dup2(1, 2)
    sys.argv = request["start"]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if request := serve():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        become(request)
