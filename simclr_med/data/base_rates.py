"""The chance level of a classifier: what a model reaches that never looks at an image."""

from __future__ import annotations

import numpy as np


def constant_guess(
    labels: np.ndarray,
    num_classes: int,
    weights: np.ndarray | None = None,
    shares: np.ndarray | None = None,
) -> dict[str, float]:
    """Returns {"loss", "accuracy"} of the best answer that is the same for every case; {} of no case.

    The loss is that of the classes' shares as probabilities, their entropy in nats: ln C of C classes
    that are equally common, or made so by weights ("balanced"), and less of others. The accuracy,
    which has no weights, is the share of the commonest class. Of several labels a case each known one
    is a term, as in `losses.supervised`.

    Args:
      labels: of the cases that train, int [n], below 0 none; or float [n, L], NaN unknown.
      num_classes: classes or labels.
      weights: of each class in the loss, [classes], or of absence and presence, [L, 2]; None: all 1.
      shares: of each case's differential, float [n, classes], where those are what is learnt.
    """
    if labels.ndim == 2:
        counts = np.stack([(labels == 0).sum(0), (labels == 1).sum(0)], axis=1).astype(float)
        most = counts.max(axis=1).sum()
    else:
        known = labels >= 0
        of_class = np.bincount(labels[known], minlength=num_classes).astype(float)
        most = of_class.max(initial=0.0)
        counts = of_class[np.newaxis] if shares is None else shares[known].sum(0)[np.newaxis]
    if not counts.sum():
        return {}
    accuracy = most / counts.sum()
    weighed = counts if weights is None else counts * np.reshape(weights, counts.shape)
    probability = weighed / np.maximum(weighed.sum(axis=1, keepdims=True), 1e-12)
    terms = -weighed * np.log(np.where(probability > 0, probability, 1.0))
    return {"loss": float(terms.sum() / weighed.sum()), "accuracy": float(accuracy)}
