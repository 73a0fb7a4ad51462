"""Saving and resuming a run, and starting one from other weights."""

from __future__ import annotations

import os

import tensorflow as tf

from simclr_med.errors import UserError
from simclr_med.models import simclr_tf2


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


def diverged(step: int, latest: str | None) -> UserError:
    """Returns the error for a run whose loss or weights are no longer finite at `step`."""
    kept = f"the last good checkpoint is {latest}" if latest else "no checkpoint was written yet"
    return UserError(
        f"The loss or a weight became NaN or infinite at step {step}; training stopped and {kept}. "
        "Lower --learning_rate, or lengthen --warmup_epochs, in a new --model_dir."
    )


def load(model, path: str) -> str:
    """Loads encoder and, where it fits, projection head; returns a line on what matched.

    Args:
      model: a built `Model`.
      path: a model_dir, or the prefix of a checkpoint: ours, or one of SimCLR's TF 2 code.

    Raises:
      UserError: nothing there, or the encoder does not match in every variable.
    """
    prefix = tf.train.latest_checkpoint(path) if os.path.isdir(path) else path
    if not prefix or not tf.io.gfile.exists(f"{prefix}.index"):
        raise UserError(f"--checkpoint={path}: no checkpoint there. Give a model_dir or a prefix.")
    shapes = tf.train.load_checkpoint(prefix).get_variable_to_shape_map()
    if any(key.startswith("model/resnet_model/") for key in shapes):
        return _load_simclr_tf2(model, prefix, shapes)
    parts = []
    for part in ("encoder", "projection_head"):
        target = tf.train.Checkpoint(model=tf.train.Checkpoint(**{part: getattr(model, part)}))
        variables = getattr(model, part).variables
        try:
            target.restore(prefix).assert_existing_objects_matched().expect_partial()
        except (AssertionError, ValueError) as error:
            if part == "encoder":
                lacks = "it lacks variables that the encoder needs"  # TensorFlow's text has arrays
                detail = lacks if isinstance(error, AssertionError) else str(error)
                raise _mismatch(path, detail) from error
            parts.append("projection head left new (it does not fit)")
            continue
        parts.append(f"{part.replace('_', ' ')} {len(variables)}/{len(variables)} variables")
    return f"Loaded {prefix}: {', '.join(parts)}."


def _load_simclr_tf2(model, prefix: str, shapes: dict[str, list[int]]) -> str:
    reader = tf.train.load_checkpoint(prefix)
    matched: list[str] = []
    missing: list[str] = []
    for key, variable in simclr_tf2.checkpoint_keys(model).items():
        fits = key in shapes and tuple(shapes[key]) == tuple(variable.shape)
        (matched if fits else missing).append(key)
        if fits:
            variable.assign(reader.get_tensor(key))
    encoder_missing = [key for key in missing if key.startswith("model/resnet_model/")]
    if encoder_missing:
        raise _mismatch(
            prefix,
            f"{len(encoder_missing)} variables missing or of another shape, the first "
            f"{encoder_missing[0]}",
        )
    total = len(matched) + len(missing)
    return f"Loaded {prefix} (SimCLR TF 2): {len(matched)}/{total} variables, encoder complete."


def _mismatch(path: str, detail: str) -> UserError:
    return UserError(
        f"--checkpoint={path}: its encoder is not the one of this configuration "
        f"({' '.join(detail.split())[:300]}). Check --resnet_depth, --width_multiplier, --sk_ratio, "
        "--se_ratio and --image_size (a small-image stem up to 32 px)."
    )
