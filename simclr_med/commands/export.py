"""--mode=export: the model of a run, or of the weights of --checkpoint, as files for use elsewhere."""

from __future__ import annotations

from simclr_med.commands.invocation import Invocation
from simclr_med.commands.run_config import check_not_both, default_model_dir
from simclr_med.export.command import export


def run(invocation: Invocation) -> int:
    """Writes the files; returns the exit code."""
    check_not_both(invocation.given)
    config = invocation.config
    model_dir = invocation.given.get("model_dir") or default_model_dir(config, "weights")
    export(config, model_dir, of_run=invocation.of_run)
    return 0
