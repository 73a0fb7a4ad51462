"""NT-Xent as the paper writes it, in loops: what the fast one is compared with."""

import math

import numpy as np


def slow_nt_xent(z1, z2, temperature, groups=None):
    """Eq. (1) of the paper, a loop; returns mean(loss_a + loss_b), twice the mean over 2N views."""
    z = np.concatenate([z1, z2]).astype(np.float64)
    z /= np.linalg.norm(z, axis=1, keepdims=True)
    n = len(z1)
    groups = np.arange(n) if groups is None else np.asarray(groups)
    total = 0.0
    for i in range(2 * n):
        j = (i + n) % (2 * n)
        denominator = 0.0
        for k in range(2 * n):
            same_patient = groups[i % n] == groups[k % n]
            if k == j or not same_patient:
                denominator += math.exp(z[i] @ z[k] / temperature)
        total -= math.log(math.exp(z[i] @ z[j] / temperature) / denominator)
    return total / n
