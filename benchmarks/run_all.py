"""Runs the benchmarks one after the other and writes their tables into benchmarks/README.md.

    python benchmarks/run_all.py --reference PATH/tf2 [--torch_python PYTHON] [--only step,augment]

Each line of JSON is stored in benchmarks/results/tf-VERSION.jsonl, where a new result replaces the
previous one of the same benchmark; the tables in README.md are made from these files, with one column
of numbers per TensorFlow version. Takes about 35 minutes on two cores that are otherwise idle.
"""

from __future__ import annotations

import argparse
import glob
import json
import os
import subprocess
import sys
import time

from harness import ROOT, machine

SCRIPTS = {  # in the order of the tables
    "input_jpeg": "Host input: photographs",
    "input_xray": "Host input: X-rays",
    "micle_price": "MICLe's price",
    "step": "Training step",
    "augment": "Augmentation on the device",
    "nt_xent": "NT-Xent",
    "startup": "Start-up",
    "epoch_end": "End of an epoch",
    "micro_batch": "Gradient caching",
}
_HERE = os.path.join(ROOT, "benchmarks")
_BEGIN, _END = "<!-- made by run_all.py -->", "<!-- end -->"


def run(script: str, options: argparse.Namespace) -> dict:
    """Runs a benchmark, shows its output and returns its last line, parsed.

    Args:
      script: a key of SCRIPTS.
      options: with `reference` and `torch_python`, None if not given.
    """
    command = [sys.executable, os.path.join(_HERE, f"{script}.py")]
    if options.reference:
        command.append(f"--reference={options.reference}")
    if options.torch_python and script == "step":
        command.append(f"--torch_python={options.torch_python}")
    started, last = time.monotonic(), ""
    print(f"== {' '.join(command)}", flush=True)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            last = line
            print(line, end="", flush=True)
    if process.returncode:
        raise SystemExit(f"{script}.py ended with exit code {process.returncode}.")
    print(f"== {script}: {time.monotonic() - started:.0f} s\n", flush=True)
    return json.loads(last)


def results(path: str) -> dict[str, dict]:
    """Returns {benchmark: its last line, parsed} of a file of results; {} if it does not exist."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return {row["benchmark"]: row for row in map(json.loads, file)}


def table(name: str, stacks: list[dict]) -> str:
    """Returns the Markdown table of one benchmark.

    Args:
      name: a key of SCRIPTS.
      stacks: its results, one per TensorFlow version; each is a column.
    """
    versions = [f"TF {stack['tensorflow']}" for stack in stacks]
    columns = ["", "goal", *(f"{v}: simclr_med / other = ratio" for v in versions), "met"]
    lines = [f"### {SCRIPTS[name]} (`{name}.py`)", ""]
    commits = ", ".join(f"{stack['commit']} ({v})" for stack, v in zip(stacks, versions))
    lines += [f"Commit {commits}; {stacks[0]['cpu']}.", ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for rows in zip(*(stack["rows"] for stack in stacks)):
        row = rows[0]
        goal = "" if row["goal"] is None else f"<= {row['goal']:.3g}"
        cells = [f"{row['what']} ({row['unit']}, against {row['against']})", goal]
        cells += [
            f"{_number(r['ours'])} / {_number(r['other'])} = **{_number(r['ratio'])}**"
            for r in rows
        ]
        met = {r["met"] for r in rows}
        cells.append("" if met == {None} else "yes" if met == {True} else "**no**")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _number(x: float | None) -> str:
    if x is None:
        return "-"
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def write_readme() -> None:
    """Replaces the tables in README.md by those of all stored results."""
    stacks = [
        results(path) for path in sorted(glob.glob(os.path.join(_HERE, "results", "*.jsonl")))
    ]
    tables = [
        table(name, [stack[name] for stack in stacks if name in stack])
        for name in SCRIPTS
        if any(name in stack for stack in stacks)
    ]
    path = os.path.join(_HERE, "README.md")
    with open(path, encoding="utf-8") as file:
        text = file.read()
    before, after = text.split(_BEGIN)[0], text.split(_END)[1]
    with open(path, "w", encoding="utf-8") as file:
        file.write(before + _BEGIN + "\n\n" + "\n\n".join(tables) + "\n\n" + _END + after)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reference", help="folder tf2/ of google-research/simclr, unmodified")
    parser.add_argument("--torch_python", help="interpreter that has PyTorch")
    parser.add_argument("--only", default=",".join(SCRIPTS), help="comma-separated")
    options = parser.parse_args()
    os.makedirs(os.path.join(_HERE, "results"), exist_ok=True)
    path = os.path.join(_HERE, "results", f"tf-{machine()['tensorflow']}.jsonl")
    for script in options.only.split(","):
        stored = {**results(path), script: run(script, options)}
        with open(path, "w", encoding="utf-8") as file:
            file.write(
                "".join(json.dumps(stored[name]) + "\n" for name in SCRIPTS if name in stored)
            )
        write_readme()


if __name__ == "__main__":
    main()
