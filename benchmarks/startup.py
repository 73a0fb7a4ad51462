"""Start-up: `run.py --help`, and the time from the command to the demo's first training step.

    python benchmarks/startup.py [--pairs 3]

`drawn before`: the demo is already prepared in --data_dir, as after the first run; `first run`: it is
drawn and prepared, too. The step is done when its checkpoint is saved. The reference has no demo to
compare with; limits are in seconds, so a ratio is seconds / limit.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

from harness import ROOT, Bench

DEMO = ["--mode=train_then_eval", "--train_mode=pretrain", "--micle", "--checkpoint_steps=1"]
HELP_LIMIT_S, STEP_LIMIT_S = 2.0, 25.0


def help_s() -> float:
    """Returns the wall seconds of `run.py --help`."""
    started = time.perf_counter()
    command = [sys.executable, "run.py", "--help"]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - started


def first_step_s(data_dir: str) -> float:
    """Returns the wall seconds until the checkpoint of the demo's first step is saved."""
    with tempfile.TemporaryDirectory() as model_dir:
        command = [sys.executable, "run.py", *DEMO, f"--data_dir={data_dir}"]
        command += [f"--model_dir={model_dir}"]
        started = time.perf_counter()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, cwd=ROOT, **quiet) as run:
            while not os.path.exists(os.path.join(model_dir, "ckpt-1.index")):
                if run.poll() is not None:
                    raise SystemExit(f"{' '.join(command)} ended with {run.returncode}")
                time.sleep(0.02)
            seconds = time.perf_counter() - started
            run.kill()
    return seconds


def main() -> None:
    bench = Bench(__doc__, {})

    def row(what: str, seconds: list[float], limit: float) -> None:
        median = statistics.median(seconds)
        bench.add(what, median, limit, median / limit, unit="wall_s", goal=1.0, against="limit")

    times = range(bench.options.pairs)
    row("run.py --help", [help_s() for _ in times], HELP_LIMIT_S)
    first, then = [], []
    for _ in times:
        with tempfile.TemporaryDirectory() as data_dir:
            first.append(first_step_s(data_dir))
            then.append(first_step_s(data_dir))
    row("first step, drawn before", then, STEP_LIMIT_S)
    row("first step, first run", first, STEP_LIMIT_S)
    bench.finish()


if __name__ == "__main__":
    main()
