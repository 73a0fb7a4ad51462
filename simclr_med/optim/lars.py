"""LARS: each layer's step is scaled to its weights (You et al. 2017, arXiv:1708.03888)."""

from __future__ import annotations

from collections.abc import Iterable

import tensorflow as tf

from simclr_med.keras_api import keras


class LARS(keras.optimizers.Optimizer):
    """Momentum with a trust ratio c * |w| / |g| per variable; the learning rate is in the buffer.

        g <- g + weight_decay * w
        v <- momentum * v + learning_rate * trust * g
        w <- w - v

    Args:
      learning_rate: float or Keras schedule.
      momentum: in [0, 1].
      weight_decay: L2 coefficient, added to the gradient before its norm is taken.
      trust_coefficient: c above. SimCLR's code calls it `eeta`, which is accepted too.
      excluded: variables with neither decay nor trust ratio (BatchNorm's, biases, the supervised
        head). The variables themselves, not their names: names differ between Keras versions.

    Source: google-research/simclr tf2/lars_optimizer.py with its defaults (classic momentum).

    Examples:
        >>> weight = tf.Variable([3.0, 4.0])
        >>> optimizer = LARS(learning_rate=1.0, momentum=0.0, trust_coefficient=0.1)
        >>> optimizer.build([weight])
        >>> _ = optimizer.apply_gradients([(tf.constant([0.0, 2.0]), weight)])  # 0.1 * 5 / 2 times it
        >>> weight.numpy().tolist()
        [3.0, 3.5]
    """

    def __init__(
        self,
        learning_rate: float | keras.optimizers.schedules.LearningRateSchedule,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
        excluded: Iterable[tf.Variable] = (),
        name: str = "LARS",
        *,
        eeta: float | None = None,
    ):
        super().__init__(name=name, jit_compile=False)
        self._learning_rate = self._build_learning_rate(learning_rate)
        self.momentum = momentum
        self.l2 = weight_decay  # Keras would take `weight_decay` for its own, decoupled, decay
        self.trust_coefficient = trust_coefficient if eeta is None else eeta
        self._excluded_keys = {self._var_key(variable) for variable in excluded}

    def build(self, var_list):
        super().build(var_list)
        if not getattr(self, "momentums", None):
            self.momentums = [self.add_variable_from_reference(v, "momentum") for v in var_list]

    def update_step(self, gradient, variable):
        """Applies one update of one variable."""
        # Without it the terms that need no gradient, momentum * velocity and l2 * variable, are computed
        # as the step begins and kept to its end: twice the model's weights (benchmarks/remat.py).
        with tf.control_dependencies([gradient]):
            rate = tf.cast(self.learning_rate, variable.dtype)
            key = self._var_key(variable)
            velocity = self.momentums[self._index_dict[key]]
            if key not in self._excluded_keys:
                gradient += self.l2 * variable
                weight_norm, gradient_norm = _norm(variable), _norm(gradient)
                rate = rate * tf.where(
                    (weight_norm > 0) & (gradient_norm > 0),
                    tf.math.divide_no_nan(self.trust_coefficient * weight_norm, gradient_norm),
                    1.0,
                )
            tf.raw_ops.ResourceApplyMomentum(  # both assignments in one pass over the weights
                var=variable.handle,
                accum=velocity.handle,
                lr=tf.ones([], variable.dtype),  # the rate is in the gradient, hence in the buffer
                grad=rate * gradient,
                momentum=tf.cast(self.momentum, variable.dtype),
            )

    def get_config(self):
        config = super().get_config()
        config.update(
            learning_rate=self._serialize_hyperparameter(self._learning_rate),
            momentum=self.momentum,
            weight_decay=self.l2,
            trust_coefficient=self.trust_coefficient,
        )
        return config


def _norm(x: tf.Tensor) -> tf.Tensor:
    """Returns the Euclidean norm; `tf.norm` would write the squares down first."""
    return tf.sqrt(2.0 * tf.nn.l2_loss(x))
