"""Runs the benchmarks one after the other and writes their tables into benchmarks/README.md.

    python benchmarks/run_all.py --reference PATH/tf2 [--torch_python PYTHON] [--only step,augment]

Each line of JSON is kept in benchmarks/results/tf-VERSION.jsonl, where a benchmark that is run again
takes the place of its last result; the tables in README.md are made from these files, one column of
numbers for each TensorFlow. About 35 minutes on two cores, which nothing else should use meanwhile.
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

SCRIPTS = {  # in the order of the issue that set the goals
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
    """Runs a benchmark, showing what it prints, and returns its last line."""
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
    """Returns {benchmark: its last line} of a file of results; {} where there is none."""
    if not os.path.exists(path):
        return {}
    with open(path, encoding="utf-8") as file:
        return {row["benchmark"]: row for row in map(json.loads, file)}


def table(name: str, found: list[dict]) -> str:
    """Returns the Markdown table of one benchmark: a row a measurement, columns for each stack."""
    versions = [f"TF {one['tensorflow']}" for one in found]
    columns = ["", "goal", *(f"{v}: ours / other = ratio" for v in versions), "met"]
    lines = [f"### {SCRIPTS[name]} (`{name}.py`)", ""]
    commits = ", ".join(f"{one['commit']} ({v})" for one, v in zip(found, versions))
    lines += [f"Commit {commits}; {found[0]['cpu']}.", ""]
    lines += ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for rows in zip(*(one["rows"] for one in found)):
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
    """Puts the tables of all results in place of those in README.md."""
    found = [results(path) for path in sorted(glob.glob(os.path.join(_HERE, "results", "*.jsonl")))]
    tables = [
        table(name, [one[name] for one in found if name in one])
        for name in SCRIPTS
        if any(name in one for one in found)
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
        kept = {**results(path), script: run(script, options)}
        with open(path, "w", encoding="utf-8") as file:
            file.write("".join(json.dumps(kept[name]) + "\n" for name in SCRIPTS if name in kept))
        write_readme()


if __name__ == "__main__":
    main()
