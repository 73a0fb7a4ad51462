"""Temperature scaling: one number that makes probabilities as confident as they are accurate.

p_c(T) = p_c ** (1 / T) / sum_k p_k ** (1 / T), T with the least negative log likelihood on held-out cases
(Guo et al. 2017, "On Calibration of Modern Neural Networks", section 4.2; their logits are log p up to a
constant, which the softmax removes). Of several labels a case, each has a sigmoid: logit(p) / T. No case
gets another best class, so top-1 stays; areas of a class over cases may move a little.
"""

from __future__ import annotations

import numpy as np
import scipy.optimize
import scipy.special

_RANGE = (0.05, 20.0)  # of T
_LEAST = 1e-12  # of a probability, whose logarithm is taken
FEWEST = 20  # labelled cases


def fit(truth: np.ndarray, scores: np.ndarray) -> float | None:
    """Returns the temperature that fits held-out cases best; None of too few.

    Args:
      truth: labels, int [n], or of several labels a case float [n, L], each 1, 0 or NaN (unknown).
      scores: probabilities, float [n, classes].
    """
    if len(truth) < FEWEST:
        return None
    optimum = scipy.optimize.minimize_scalar(
        lambda log_t: negative_log_likelihood(
            truth, scaled(scores, np.exp(log_t), truth.ndim == 2)
        ),
        bounds=np.log(_RANGE),
        method="bounded",
    )
    return float(np.exp(optimum.x))


def scaled(scores: np.ndarray, temperature: float, multilabel: bool) -> np.ndarray:
    """Returns probabilities at a temperature, float [n, classes]; above 1 they are less sure.

    Args:
      scores: probabilities, float [n, classes].
      temperature: T.
      multilabel: whether a case can have several labels.
    """
    p = np.clip(scores, _LEAST, 1.0)
    if multilabel:
        return scipy.special.expit(scipy.special.logit(np.minimum(p, 1 - _LEAST)) / temperature)
    return scipy.special.softmax(np.log(p) / temperature, axis=1)


def negative_log_likelihood(truth: np.ndarray, scores: np.ndarray) -> float:
    """Returns the mean of -log of the probability of the truth, over cases or known labels.

    Args:
      truth, scores: as in `fit`.
    """
    p = np.clip(scores, _LEAST, 1 - _LEAST)
    if truth.ndim == 1:
        return float(-np.log(p[np.arange(len(p)), truth]).mean())
    known = ~np.isnan(truth)
    return float(-np.log(np.where(truth == 1, p, 1 - p))[known].mean())
