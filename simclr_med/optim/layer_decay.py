"""Learning rates that fall from the head down to the stem (--layer_decay).

Clark et al. 2020 (ELECTRA), arXiv:2003.10555, appendix B; Bao et al. 2022 (BEiT), arXiv:2106.08254:
the layers next to the input are the most general, and need the least change.
"""

from __future__ import annotations

import types

import tensorflow as tf

from simclr_med.keras_api import keras


def rate_factors(model, decay: float) -> list[tuple[tf.Variable, float]]:
    """Returns (variable, factor of its learning rate) of the encoder's variables that train.

    The factor is decay**k: k is 1 for the last group of blocks and what follows it (BiT's last norm),
    one more for each group before it, and one more again for the stem. Projection head and supervised
    head, which are not listed, have the rate as it is.

    Args:
      model: built.
      decay: in (0, 1].
    """
    encoder = model.encoder
    depth = {v.ref(): 1 for v in encoder.trainable_variables}
    for k, group in enumerate(reversed(encoder.groups), start=1):
        depth |= {v.ref(): k for block in group for v in block.trainable_variables}
    depth |= {v.ref(): len(encoder.groups) + 1 for v in encoder.stem.trainable_variables}
    return [(v, decay ** depth[v.ref()]) for v in encoder.trainable_variables]


class _ByVariable(keras.optimizers.Optimizer):
    """Mixin for Keras's optimisers: each variable is updated at its own learning rate.

    The rate is scaled, not the gradient, of whose scale Adam's updates do not depend.
    """

    _factor = 1.0  # of the variable that is being updated; Python's, as each has its own ops

    def set_factors(self, factors: list[tuple[tf.Variable, float]]) -> None:
        """Sets the factor of variables; others keep 1."""
        by_key = {self._var_key(variable): factor for variable, factor in factors}
        self._factors = types.MappingProxyType(by_key)  # a dict would be a part of checkpoints

    @property
    def learning_rate(self):
        """The rate of the step; within `update_step` that of its variable."""
        rate = super().learning_rate
        return rate if self._factor == 1.0 else rate * self._factor

    def update_step(self, gradient, variable):
        """Applies one update of one variable."""
        self._factor = self._factors.get(self._var_key(variable), 1.0)
        try:
            super().update_step(gradient, variable)
        finally:
            self._factor = 1.0


class MomentumByLayer(_ByVariable, keras.optimizers.SGD):
    """SGD with a rate for each variable."""


class AdamByLayer(_ByVariable, keras.optimizers.Adam):
    """Adam with a rate for each variable."""
