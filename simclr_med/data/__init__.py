"""Data: prepared TFDS datasets in, batches of pixels out."""

from simclr_med.data.bags import NO_LABEL, Bags, open_split
from simclr_med.data.pipeline import DATA_ORDER, evaluation_batches, training_batches

__all__ = [
    "DATA_ORDER",
    "NO_LABEL",
    "Bags",
    "evaluation_batches",
    "open_split",
    "training_batches",
]
