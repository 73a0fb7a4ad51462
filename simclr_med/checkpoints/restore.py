"""Restores a model from a checkpoint of its run."""

from __future__ import annotations

import tensorflow as tf

from simclr_med.checkpoints import files, reading
from simclr_med.errors import CheckpointGone, UserError


def restore(model, checkpoint: str) -> None:
    """Restores every variable of a model from a checkpoint of its run.

    Args:
      model: built.
      checkpoint: prefix of the checkpoint's files.

    Raises:
      CheckpointGone: its run has removed it.
      UserError: it is damaged, or variables of the model are missing in it.
    """
    damage = files.find_damage(checkpoint)
    unfit: Exception | None = None
    if not damage:
        try:
            status = reading.restore(tf.train.Checkpoint(model=model), checkpoint)
            status.assert_existing_objects_matched().expect_partial()
            return
        except (AssertionError, tf.errors.NotFoundError) as error:
            unfit = error
    if not files.exists(checkpoint):
        raise CheckpointGone(
            f"Checkpoint {checkpoint} was removed while it was looked at, as a run does that goes "
            "on and keeps the newest. Give the same command again: there are newer ones."
        )
    if damage:
        raise UserError(f"Checkpoint {checkpoint} is damaged: {damage}. Put back a copy of it.")
    raise UserError(
        f"{checkpoint} is not of this configuration: variables of the model are missing in it. "
        "Use the --model_dir as its run left it."
    ) from unfit


def step_of(checkpoint: str) -> int:
    """Returns the step in a checkpoint's prefix, which ends in -STEP."""
    return int(checkpoint.rsplit("-", 1)[1])
