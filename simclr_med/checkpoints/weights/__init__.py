"""Weights from elsewhere: what lies at a path, in the names of our models. See `checkpoints.load`."""

from simclr_med.checkpoints.weights.head import Classes
from simclr_med.checkpoints.weights.open import open_weights

__all__ = ["Classes", "open_weights"]
