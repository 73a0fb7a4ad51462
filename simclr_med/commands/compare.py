"""--mode=compare: evaluated runs against the first of them, paired by patient."""

from __future__ import annotations

from simclr_med.commands.invocation import Invocation
from simclr_med.evaluation.compare_runs import compare_runs


def run(invocation: Invocation) -> int:
    """Prints, and with --model_dir writes, the comparison; returns the exit code."""
    return compare_runs(invocation.config)
