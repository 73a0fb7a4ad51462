"""Weights from elsewhere: what a path holds, in simclr_med's own names. See `checkpoints.load`."""

from simclr_med.checkpoints.weights.head import Classes
from simclr_med.checkpoints.weights.open import open_weights

__all__ = ["Classes", "open_weights"]
