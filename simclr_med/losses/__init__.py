"""The losses: NT-Xent and supervised cross-entropy, with their accuracies."""

from simclr_med.losses.contrastive import (
    contrastive_accuracy,
    contrastive_entropy,
    negative_pairs,
    nt_xent,
    nt_xent_in_chunks,
)
from simclr_med.losses.cross_entropy import (
    masked_binary_cross_entropy,
    masked_cross_entropy,
    supervised,
)

__all__ = [
    "contrastive_accuracy",
    "contrastive_entropy",
    "masked_binary_cross_entropy",
    "masked_cross_entropy",
    "negative_pairs",
    "nt_xent",
    "nt_xent_in_chunks",
    "supervised",
]
