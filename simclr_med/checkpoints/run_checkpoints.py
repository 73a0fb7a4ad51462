"""Saving and resuming a run, and starting one from other weights."""

from __future__ import annotations

import concurrent.futures
import os
from typing import Any

import tensorflow as tf

from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints import reading
from simclr_med.checkpoints.variable_tree import copy_tree
from simclr_med.errors import Diverged, StorageUnavailable, UserError
from simclr_med.signals import Interrupted
from simclr_med.transient import first_line, is_transient, retried


class RunCheckpoints:
    """The checkpoints of one run: model, optimisers (with the step) in `model_dir/ckpt-STEP`.

    `save` copies all variables to the host's memory, and a thread writes that copy while training
    goes on; one write at a time. What reads or changes the training's own variables happens in the
    thread that calls, so replicas and workers never wait for a disk or for each other here. Of several
    workers all have to call it, because what BatchNorm has seen is collected from all; those that
    keep none (`max_to_keep` 0) write nothing.

    Used as a context manager it waits, in the end, for what is still being written.
    """

    def __init__(
        self, model_dir: str, model, optimizer, max_to_keep: int, head_optimizer: Any = None
    ):
        self.model_dir = model_dir
        self._model, self._optimizer, self._max_to_keep = model, optimizer, max_to_keep
        parts = dict(model=model, optimizer=optimizer, global_step=optimizer.iterations)
        # Without the head's optimiser, as older runs saved it.
        self._older = tf.train.Checkpoint(**parts)
        extra = {} if head_optimizer is None else {"head_optimizer": head_optimizer}
        self._checkpoint = tf.train.Checkpoint(**parts, **extra)
        self._has_head_optimizer = bool(extra)
        self._copy: _HostCopy | None = None
        self._latest: str | None = None
        self._writer = concurrent.futures.ThreadPoolExecutor(1, "checkpoints")
        self._writing: concurrent.futures.Future | None = None

    def __enter__(self) -> RunCheckpoints:
        return self

    def __exit__(self, kind, error, trace) -> None:
        try:
            self.finish()
        except (UserError, StorageUnavailable) as failed:
            if error is None or isinstance(error, Interrupted):  # which says that all is saved
                raise
            print(f"Warning: {failed}")  # the error that ended the training follows
        finally:
            self._writer.shutdown()

    @property
    def step(self) -> int:
        """Number of updates so far."""
        return int(self._optimizer.iterations.numpy())

    @property
    def latest(self) -> str | None:
        """Prefix of the newest checkpoint; waits for one that is being written.

        Raises:
          UserError: it could not be written.
        """
        self.finish()
        return self._latest

    def restore_latest(self, *, tidy: bool = True) -> int:
        """Restores every variable of the newest whole checkpoint, if there is one; returns the step.

        Damaged ones that are newer are passed over with a warning; with `tidy` they are removed, and
        so are the remains of a process that died: of several workers one may do that.

        Raises:
          UserError: there are checkpoints, and none is whole.
        """
        self._latest = checkpoint_files.newest_usable(self.model_dir)
        if self._latest:
            checkpoint = self._checkpoint
            if self._has_head_optimizer and not _names_below(self._latest, "head_optimizer"):
                checkpoint = self._older
                print(
                    "Note: until now --learning_rate was the supervised head's too (it is trained "
                    "beside and reaches no other weight). From here on it has an optimiser of its "
                    "own, which starts from scratch."
                )
            reading.restore(checkpoint, self._latest).assert_existing_objects_matched()
        if tidy:
            self._tidy()
        return self.step

    def _tidy(self) -> None:
        if self._latest:
            prefixes = checkpoint_files.list_prefixes(self.model_dir)
            usable = prefixes[: prefixes.index(self._latest) + 1]
            checkpoint_files.write_list(self.model_dir, usable)
            for damaged in prefixes[len(usable) :]:
                checkpoint_files.remove(damaged)
        checkpoint_files.remove_leftovers(self.model_dir)

    def save(self) -> str:
        """Starts writing a checkpoint of the current weights, and returns its prefix.

        Raises:
          UserError: a weight is no longer finite, and nothing is written; or the checkpoint before
            could not be written.
        """
        self.finish()
        finite = [tf.reduce_all(tf.math.is_finite(v)) for v in self._model.trainable_variables]
        if not bool(tf.reduce_all(finite)):
            raise diverged(self.step, self.latest)
        if self._copy is None:
            self._copy = _HostCopy(self._checkpoint)
        self._copy.update()
        prefix = os.path.join(self.model_dir, f"ckpt-{self.step}")
        if not self._max_to_keep:
            return prefix
        self._writing = self._writer.submit(self._write, self._copy.checkpoint, prefix)
        return prefix

    def finish(self) -> None:
        """Waits until the checkpoint of the last `save` is written.

        Raises:
          UserError: it could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is None:
            return
        try:
            writing.result()
        except (tf.errors.OpError, OSError) as error:
            if is_transient(error):
                raise
            raise UserError(
                f"A checkpoint could not be written to {self.model_dir} "
                f"({first_line(error)}); {_last_good(self._latest)}. Check that there "
                "is space and that you may write there, then give the same command again."
            ) from error

    def _write(self, copy: tf.train.Checkpoint, prefix: str) -> None:
        """Writes the copy, in the thread; then lists it, and only then removes an old one."""
        temporary = checkpoint_files.temp_prefix(prefix)
        try:
            retried(lambda: copy.write(temporary), f"Writing checkpoint {prefix}")
        except Exception:
            checkpoint_files.remove(temporary)  # room for who frees some
            raise
        checkpoint_files.commit(temporary, prefix)
        prefixes = checkpoint_files.list_prefixes(self.model_dir)
        old, new = prefixes[: -self._max_to_keep], prefixes[-self._max_to_keep :]
        checkpoint_files.write_list(self.model_dir, new)
        self._latest = prefix
        for removed in old:
            checkpoint_files.remove(removed)


class _HostCopy:
    """A copy of all variables in the host's memory, and a checkpoint of it, with the same names.

    Args:
      checkpoint: of the variables to copy.
    """

    def __init__(self, checkpoint: tf.train.Checkpoint):
        self._pairs: list[tuple[tf.Variable, tf.Variable]] = []
        self.checkpoint = tf.train.Checkpoint(root=copy_tree(checkpoint, self._copy))

    def _copy(self, variable: tf.Variable) -> tf.Variable:
        with tf.device("CPU:0"):
            copy = tf.Variable(tf.zeros(variable.shape, variable.dtype), trainable=False)
        self._pairs.append((variable, copy))
        return copy

    def update(self) -> None:
        """Copies the values that the variables have now."""
        for variable, copy in self._pairs:
            copy.assign(variable)
        self.checkpoint.save_counter.assign_add(1)  # as Checkpoint.save does; restoring expects it


def _names_below(prefix: str, part: str) -> list[str]:
    """Returns the names under which a checkpoint holds variables of `part`."""
    names = reading.open_reader(prefix).get_variable_to_shape_map()
    return [name for name in names if name.startswith(f"{part}/")]


def diverged(step: int, latest: str | None) -> Diverged:
    """Returns the error for a run whose loss or weights are no longer finite.

    Args:
      step: global step at which that was noticed.
      latest: prefix of the last good checkpoint; None: none was written.
    """
    return Diverged(
        f"The loss or a weight became NaN or infinite at step {step}; training stopped and "
        f"{_last_good(latest)}. "
        "Lower --learning_rate, or lengthen --warmup_epochs, in a new --model_dir."
    )


def _last_good(latest: str | None) -> str:
    return f"the last good checkpoint is {latest}" if latest else "no checkpoint was written yet"
