"""Shared by the benchmarks: contenders measured in turn, and one table at the end.

Every contender runs in a process of its own: its peak memory is its own, and the reference's flags and
Keras settings cannot conflict with simclr_med's. A contender prepares and warms up, then waits; the
parent lets one after the other do the same piece of work, `--pairs` times, so that changes in the
machine's speed affect all alike. A ratio is the median of the ratios within a pair. CPU seconds are
those of the whole process, all threads.

A script creates a `Bench`, which becomes a contender's process if `--worker` is given:

    def make_new(options):        # runs in its own process; imports go here
        ...                       # prepare, warm up
        return work               # work() does one piece and returns its number of items

    new, reference = Contender(make_new), Contender(make_reference, needs="reference")
    bench = Bench(__doc__, {"simclr_med": new, "reference": reference})
    results = bench.measure("simclr_med", "reference")
    bench.row("an image, two views", results["simclr_med"], results.get("reference"), goal=1 / 2.5)
    bench.finish()
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

ROOT = os.path.realpath(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))


@dataclasses.dataclass(frozen=True)
class Contender:
    """A program to measure.

    Attributes:
      make: function of the options that returns the work: a function that does one piece and returns
        its number of items.
      needs: option without which the contender is absent, as an attribute's name: "reference", ...
      python: option that names the interpreter to run it with; None: the current one.
    """

    make: Callable[[argparse.Namespace], Callable[[], int]]
    needs: str | None = None
    python: str | None = None


@dataclasses.dataclass(frozen=True)
class Measured:
    """Result of a contender: seconds per item for each piece of work, and its peak memory in MiB."""

    cpu_s: list[float]
    wall_s: list[float]
    peak_mib: float


class Bench:
    """One benchmark: its contenders, its options and the rows of its table.

    Args:
      doc: docstring of the script; its first line describes the command.
      contenders: by name.
      add_arguments: adds the script's own options to the parser.
    """

    def __init__(
        self,
        doc: str,
        contenders: dict[str, Contender],
        add_arguments: Callable[[argparse.ArgumentParser], None] | None = None,
    ):
        parser = argparse.ArgumentParser(description=doc.splitlines()[0])
        parser.add_argument("--reference", help="folder tf2/ of google-research/simclr, unmodified")
        parser.add_argument("--pairs", type=int, default=5, help="times each contender is measured")
        parser.add_argument("--worker", help=argparse.SUPPRESS)
        if add_arguments:
            add_arguments(parser)
        self.options = parser.parse_args()
        self._contenders, self._rows = contenders, []
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        os.environ.setdefault("TF_USE_LEGACY_KERAS", "1" if sys.version_info >= (3, 12) else "0")
        if self.options.worker:
            sys.path.insert(0, ROOT)
            _serve(contenders[self.options.worker].make(self.options))
            sys.exit()
        for option in {c.needs for c in contenders.values() if c.needs}:
            if not getattr(self.options, option):
                print(f"{option} absent: give --{option.replace('_', '-')}", flush=True)

    def measure(self, *names: str) -> dict[str, Measured]:
        """Measures the named contenders in turn and returns their results; absent ones are left out."""
        present = [name for name in names if self._is_available(self._contenders[name])]
        workers = {name: self._start(name) for name in present}
        samples: dict[str, list[dict]] = {name: [] for name in present}
        try:
            for worker in workers.values():  # all are warm before the first is measured
                _read(worker)
            for _ in range(self.options.pairs):
                for name, worker in workers.items():
                    worker.stdin.write("go\n")
                    worker.stdin.flush()
                    samples[name].append(_read(worker))
        finally:
            for worker in workers.values():
                worker.stdin.close()
                worker.wait()
        return {
            name: Measured(
                [s["cpu_s"] / s["items"] for s in pieces],
                [s["wall_s"] / s["items"] for s in pieces],
                pieces[-1]["peak_mib"],
            )
            for name, pieces in samples.items()
        }

    def row(
        self,
        what: str,
        measured: Measured,
        other: Measured | None,
        *,
        goal: float | None,
        of: str = "cpu_s",
        against: str = "reference",
    ) -> None:
        """Adds a row: the median of measured / other, which should be at most `goal`.

        Args:
          what: description of the measurement.
          measured: result of the contender in question.
          other: result to compare with, measured in turn with it; None if absent.
          goal: upper limit of the ratio; None if there is no goal.
          of: "cpu_s", "wall_s" (both per item) or "peak_mib".
          against: name of the other.
        """
        value, other_value = getattr(measured, of), getattr(other, of, None)
        ratio = None
        if of == "peak_mib":
            ratio = value / other_value if other else None
        else:
            if other:
                ratio = statistics.median(a / b for a, b in zip(value, other_value))
                other_value = statistics.median(other_value)
            value = statistics.median(value)
        self.add(what, value, other_value, ratio, unit=of, goal=goal, against=against)

    def add(
        self, what, value, other, ratio, *, unit: str, goal: float | None, against: str
    ) -> None:
        """Adds and prints a row of given numbers; see `row`."""
        met = None if ratio is None or goal is None else ratio <= goal
        row = {"what": what, "ours": value, "other": other, "ratio": ratio, "goal": goal}
        self._rows.append({**row, "unit": unit, "against": against, "met": met})
        verdict = "" if met is None else "met" if met else "NOT MET"
        limit = "" if goal is None else f"<= {goal:g}"
        print(
            f"{what:58} {_number(value):>9} {_number(other):>9} {unit:9} {against:12} "
            f"ratio {_number(ratio):>7} {limit:8} {verdict}",
            flush=True,
        )

    def finish(self) -> None:
        """Prints the last line: the rows, the commit and the machine as JSON."""
        name = os.path.splitext(os.path.basename(sys.argv[0]))[0]
        print(json.dumps({"benchmark": name, **machine(), "rows": self._rows}))

    def _is_available(self, contender: Contender) -> bool:
        return contender.needs is None or bool(getattr(self.options, contender.needs))

    def _start(self, name: str) -> subprocess.Popen:
        python = self._contenders[name].python
        command = [getattr(self.options, python) if python else sys.executable]
        command += [*sys.argv, f"--worker={name}"]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=os.getcwd()
        )


def machine() -> dict[str, str]:
    """Returns the commit and the machine: processor, cores, versions of Python and TensorFlow."""
    from importlib import metadata, util

    def git(*arguments: str) -> str:
        command = ["git", "-C", ROOT, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()

    commit = git("describe", "--always")
    # Without the files that run_all.py writes between two benchmarks.
    results = ":!benchmarks/README.md", ":!benchmarks/results"
    if git("status", "--porcelain", "--untracked-files=no", "--", ROOT, *results):
        commit += "-dirty"
    with open("/proc/cpuinfo", encoding="utf-8") as cpuinfo:
        models = [line.split(":")[1].strip() for line in cpuinfo if line.startswith("model name")]
    return {
        "commit": commit or "unknown",
        "cpu": f"{models[0] if models else platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "tensorflow": metadata.version("tensorflow") if util.find_spec("tensorflow") else "absent",
    }


def _serve(work: Callable[[], int]) -> None:
    """Does `work` once per line of standard input, and prints its times and memory."""
    _send({})
    for _ in sys.stdin:
        wall, cpu = time.perf_counter(), time.process_time()
        items = work()
        times = {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        _send({**times, "items": items, "peak_mib": peak})


_MARK = "@measured "  # distinguishes answers from what libraries print


def _send(answer: dict) -> None:
    print(_MARK + json.dumps(answer), flush=True)


def _read(worker: subprocess.Popen) -> dict:
    for line in worker.stdout:
        if line.startswith(_MARK):
            return json.loads(line[len(_MARK) :])
    raise SystemExit(f"A contender ended with exit code {worker.wait()}; its output is above.")


def _number(x: float | None) -> str:
    if x is None:
        return "-"
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"
