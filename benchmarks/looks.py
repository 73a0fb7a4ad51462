"""Time saved by fetching metrics and agreeing on signals twice a second instead of after every step.

Two workers on this machine train the smoke run's network (ResNet-18, 40 px), alternately with a look
at both after each step and with one every half second; steps/s is that of the last line, from the
second step on.

    python benchmarks/looks.py [--pairs 3] [--steps 120] [--workers 2]
"""

from __future__ import annotations

import argparse
import os
import re
import resource
import statistics
import subprocess
import sys
import tempfile

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))
_WORKER = """
import sys
from simclr_med.training import loop
loop._SECONDS_BETWEEN_LOOKS = float(sys.argv.pop(1))
from simclr_med.commands import main
sys.exit(main.main(["run.py", *sys.argv[1:]]))
"""


def train(seconds: float, options: argparse.Namespace, folder: str) -> tuple[float, float]:
    """Trains once and returns (seconds per step, CPU seconds per step of all workers, start-up included).

    Args:
      seconds: between two looks; 0 for one after each step.
      options: of the command.
      folder: for the run.
    """
    sys.path[:0] = [os.path.join(ROOT, "tests")]
    from helpers.processes import environments

    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-c", _WORKER, str(seconds), f"--flagfile={ROOT}/flags/smoke.flags"]
    command += ["--mode=train", f"--model_dir={folder}/run", f"--data_dir={options.data_dir}"]
    command += [f"--train_steps={options.steps}", "--checkpoint_steps=100000"]
    workers = [
        subprocess.Popen(command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        for environment in environments(options.workers)
    ]
    outputs = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        raise SystemExit(f"A worker failed:\n{outputs[0]}")
    rates = re.findall(r"([\d.]+) steps/s", outputs[0])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return 1 / float(rates[-1]), cpu / options.steps


def main() -> None:
    """Prints the step times of each pair and the median of their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--data_dir", default=os.path.expanduser("~/tensorflow_datasets"))
    options = parser.parse_args()
    ratios, cpu_ratios = [], []
    for pair in range(options.pairs):
        times = []
        for seconds in (0.0, 0.5):
            with tempfile.TemporaryDirectory() as folder:
                times.append(train(seconds, options, folder))
        (every, every_cpu), (seldom, seldom_cpu) = times
        ratios.append(seldom / every)
        cpu_ratios.append(seldom_cpu / every_cpu)
        print(
            f"pair {pair + 1}: a look each step {1e3 * every:.1f} ms ({every_cpu:.3f} CPU s), "
            f"every 0.5 s {1e3 * seldom:.1f} ms ({seldom_cpu:.3f} CPU s)",
            flush=True,
        )
    print(
        f"{options.workers} workers, {options.steps} steps: time of a step x "
        f"{statistics.median(ratios):.2f}, CPU seconds x {statistics.median(cpu_ratios):.2f}, median of "
        f"{options.pairs} pairs."
    )


if __name__ == "__main__":
    main()
