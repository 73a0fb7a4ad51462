"""Checkpoints of a run: saved, sealed, verified, restored; `weights/` reads weights of other tools."""

from simclr_med.checkpoints.run_checkpoints import RunCheckpoints, diverged
from simclr_med.checkpoints.weights.load import load

__all__ = ["RunCheckpoints", "diverged", "load"]
