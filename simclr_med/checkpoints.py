"""Saving and resuming a run, and starting one from other weights."""

from __future__ import annotations

import os

import tensorflow as tf

from simclr_med.errors import Diverged, UserError
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


def diverged(step: int, latest: str | None) -> Diverged:
    """Returns the error for a run whose loss or weights are no longer finite at `step`."""
    kept = f"the last good checkpoint is {latest}" if latest else "no checkpoint was written yet"
    return Diverged(
        f"The loss or a weight became NaN or infinite at step {step}; training stopped and {kept}. "
        "Lower --learning_rate, or lengthen --warmup_epochs, in a new --model_dir."
    )


def load(model, path: str) -> str:
    """Loads encoder and, where it fits, projection head; returns what was loaded.

    Never the supervised head: one trained beside pretraining has seen every label, which would
    reach a fine-tuning that is to see a share of them.

    Args:
      model: a built `Model`.
      path: a model_dir, or the prefix of a checkpoint: ours, or one of SimCLR's TF 2 code.

    Raises:
      UserError: nothing there, or the encoder does not match in every variable; it names those.
    """
    prefix = tf.train.latest_checkpoint(path) if os.path.isdir(path) else path
    if not prefix or not tf.io.gfile.exists(f"{prefix}.index"):
        raise UserError(f"--checkpoint={path}: no checkpoint there. Give a model_dir or a prefix.")
    reader = tf.train.load_checkpoint(prefix)
    shapes = reader.get_variable_to_shape_map()
    is_simclr = any(key.startswith("model/resnet_model/") for key in shapes)
    wanted = simclr_tf2.checkpoint_keys(model) if is_simclr else _own_keys(model)
    loaded = []
    for part, prefixes in _PARTS.items():
        keys = {key: v for key, v in wanted.items() if key.startswith(prefixes)}
        differing = _differing(keys, shapes, prefixes)
        if differing and part == "encoder":
            raise UserError(
                f"--checkpoint={path}: its encoder is not the one of this configuration: "
                f"{'; '.join(differing)}. Check --resnet_depth, --width_multiplier, --sk_ratio, "
                "--se_ratio and --image_size (a small-image stem up to 32 px)."
            )
        if differing:
            loaded.append(f"{part} new ({differing[0]})")
            continue
        for key, variable in keys.items():
            variable.assign(reader.get_tensor(key))
        if keys:
            loaded.append(f"{part} {len(keys)}/{len(keys)}")
    kind = " (SimCLR TF 2)" if is_simclr else ""
    return f"Loaded variables of {prefix}{kind}: {', '.join(loaded)}."


_PARTS = {
    "encoder": ("model/encoder/", "model/resnet_model/"),
    "projection head": ("model/projection_head/", "model/_projection_head/"),
}


def _own_keys(model) -> dict[str, tf.Variable]:
    """Returns {key in a checkpoint of ours: variable}: the shortest way from the root, as saved."""
    root = tf.train.Checkpoint(model=model)
    view = tf.train.TrackableView(root)
    found, seen, queue = {}, {id(root)}, [("", root)]
    for path, node in queue:  # breadth first; the loop appends to what it runs over
        for name, child in view.children(node).items():
            if id(child) in seen:
                continue
            seen.add(id(child))
            own_path = f"{path}/{name}" if path else name
            queue.append((own_path, child))
            if isinstance(child, tf.Variable):
                found[own_path + simclr_tf2.SUFFIX] = child
    return found


def _differing(wanted: dict[str, tf.Variable], shapes: dict, prefixes: tuple) -> list[str]:
    """Returns in words how a part of a checkpoint differs from the model's; [] where it fits."""
    there = {key for key in shapes if key.startswith(prefixes)}
    missing = [key for key in wanted if key not in shapes]
    surplus = sorted(there - set(wanted)) if prefixes == _PARTS["encoder"] else []
    other = [
        f"{_short(key)} is {list(shapes[key])}, not {variable.shape.as_list()}"
        for key, variable in wanted.items()
        if key in shapes and list(shapes[key]) != variable.shape.as_list()
    ]
    words = []
    if missing:
        words.append(f"{len(missing)} of {len(wanted)} variables missing, as {_short(missing[0])}")
    if surplus:
        words.append(f"{len(surplus)} variables more, as {_short(surplus[0])}")
    if other:
        words.append(f"{len(other)} of another shape: {', '.join(other[:3])}")
    return words


def _short(key: str) -> str:
    return key.removesuffix(simclr_tf2.SUFFIX).removeprefix("model/")
