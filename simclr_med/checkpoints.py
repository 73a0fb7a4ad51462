"""Saving and resuming a run, and starting one from other weights."""

from __future__ import annotations

import tensorflow as tf

from simclr_med.errors import Diverged
from simclr_med.weights.load import load as load


class RunCheckpoints:
    """The checkpoints of one run: model, optimiser (with its step) in `model_dir/ckpt-STEP`.

    TensorFlow renames a checkpoint into place and only then names it in the file `checkpoint`, so
    a process that dies while saving leaves the previous one as the latest.
    """

    def __init__(self, model_dir: str, model, optimizer, max_to_keep: int):
        self.model_dir = model_dir
        self._model, self._optimizer = model, optimizer
        checkpoint = tf.train.Checkpoint(
            model=model, optimizer=optimizer, global_step=optimizer.iterations
        )
        self._manager = tf.train.CheckpointManager(checkpoint, model_dir, max_to_keep)

    @property
    def step(self) -> int:
        """Updates done so far."""
        return int(self._optimizer.iterations.numpy())

    @property
    def latest(self) -> str | None:
        """Path of the newest checkpoint."""
        return self._manager.latest_checkpoint

    def restore_latest(self) -> int:
        """Restores every variable of the newest checkpoint, if there is one; returns the step."""
        if self.latest:
            status = self._manager.checkpoint.restore(self.latest)
            status.assert_existing_objects_matched()
        return self.step

    def save(self) -> str:
        """Writes a checkpoint and returns its path.

        Raises:
          UserError: a weight is no longer finite; nothing is written.
        """
        finite = [tf.reduce_all(tf.math.is_finite(v)) for v in self._model.trainable_variables]
        if not bool(tf.reduce_all(finite)):
            raise diverged(self.step, self.latest)
        return self._manager.save(checkpoint_number=self.step)


def diverged(step: int, latest: str | None) -> Diverged:
    """Returns the error for a run whose loss or weights are no longer finite at `step`."""
    kept = f"the last good checkpoint is {latest}" if latest else "no checkpoint was written yet"
    return Diverged(
        f"The loss or a weight became NaN or infinite at step {step}; training stopped and {kept}. "
        "Lower --learning_rate, or lengthen --warmup_epochs, in a new --model_dir."
    )
