"""Checks that the step, lowered for XLA and run under JAX, is the step that TensorFlow runs.

    python benchmarks/gpu_check.py --jax_python PYTHON [--depth 18] [--size 64] [--batch 8]

Run it with the interpreter that has TensorFlow; --jax_python names one that has JAX. Both start from the
weights of `step_program.draw` and take one step on the device that is available. Prints relative
differences of the losses and of the updates (of all weights at once, and of the worst tensor), and fails
above the tolerances in CASES; it also fails if old weights were not donated, that is, did not give their
memory to the new ones, or if the operations counted by flops.py are not within 10 % of XLA's count.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np
from flops import step_flops
from step_program import Trainer, draw, make_program

HERE = os.path.dirname(os.path.abspath(__file__))
# Variants, and how far the loss and all updates at once may be apart: XLA fuses and therefore rounds at
# other points, and bfloat16 keeps 8 bits. Includes the code that simclr_med runs differently on CPUs.
CASES = {
    "float32, given views": (1e-5, 1e-3),
    "float32, augmented": (1e-5, 1e-3),
    "bfloat16, augmented": (2e-2, 2e-1),
}


def run_under_jax(path: str, results_path: str) -> None:
    """Takes a step of the program in `path` and writes its results to the .npz file `results_path`."""
    from jax_program import Program

    program = Program(path)
    before = list(program.values)
    loss = float(program.step())
    updates = program.updates()
    donated = sum(before[i].is_deleted() for i in updates)
    results = {str(i): value for i, value in updates.items()}
    np.savez(
        results_path,
        loss=loss,
        flops=program.flops(),
        not_donated=len(updates) - donated,
        **results,
    )


def check(options: argparse.Namespace, case: str, folder: str) -> bool:
    """Returns whether the two agree, and prints their differences.

    Args:
      options: of the command.
      case: a key of CASES.
      folder: for temporary files.
    """
    variant = "bfloat16" in case, "augmented" in case
    trainer = Trainer(options.depth, options.size, options.batch, *variant)
    path, results_path = os.path.join(folder, "program.npz"), os.path.join(folder, "results.npz")
    size = make_program(path, trainer, {})
    command = [options.jax_python, os.path.abspath(__file__), "--jax_python=here"]
    subprocess.run([*command, "--program", path, "--results", results_path], check=True)
    results = np.load(results_path)

    drawn = [draw(argument, i) for i, argument in enumerate(trainer.arguments)]
    inputs = len(trainer.signature)
    for variable, value in zip(trainer.variables, drawn[inputs:]):
        variable.assign(value)
    loss = float(trainer.step(*drawn[:inputs]))
    squared_error, squared_update, worst = 0.0, 0.0, (0.0, "")
    for i, variable in enumerate(trainer.variables, inputs):
        if str(i) not in results:  # the learning rate stays
            assert np.array_equal(variable.numpy(), drawn[i]), variable.name
            continue
        update = (variable.numpy() - drawn[i]).astype(np.float64)
        difference = results[str(i)] - drawn[i] - update
        squared_error, squared_update = (
            squared_error + np.sum(difference**2),
            squared_update + np.sum(update**2),
        )
        error = np.linalg.norm(difference) / np.linalg.norm(update)
        worst = max(worst, (float(error), variable.name))
    loss_error, update_error = (
        abs(float(results["loss"]) / loss - 1),
        float(np.sqrt(squared_error / squared_update)),
    )
    count_ratio = step_flops(options.depth, options.size, 2 * options.batch) / float(
        results["flops"]
    )
    print(
        f"{case}: program {size / 2**20:.2f} MiB; loss {loss:.6f}, differs by {loss_error:.1e}; "
        f"updates by {update_error:.1e}, at most {worst[0]:.1e} ({worst[1]}); flops.py counts "
        f"{count_ratio:.3f} of XLA's operations; arguments not donated: {results['not_donated']}",
        flush=True,
    )
    close = loss_error < CASES[case][0] and update_error < CASES[case][1]
    return close and abs(count_ratio - 1) < 0.1 and results["not_donated"] == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--jax_python", required=True, help="interpreter that has JAX")
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--size", type=int, default=64, help="px")
    parser.add_argument("--batch", type=int, default=8, help="images; each gives two views")
    parser.add_argument("--program", help=argparse.SUPPRESS)
    parser.add_argument("--results", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.program:
        run_under_jax(options.program, options.results)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.path.insert(0, os.path.join(HERE, ".."))
    with tempfile.TemporaryDirectory() as folder:
        agree = [check(options, case, folder) for case in CASES]
    raise SystemExit(0 if all(agree) else "They differ by more than is allowed.")


if __name__ == "__main__":
    main()
