"""Exceptions that mean "the user can fix this": shown as a one-line error, without a traceback."""


class UserError(ValueError):
    """A mistake in flags, data or `model_dir`: says what, where, what was received, what to do."""

    exit_code = 2


class Diverged(UserError):
    """A loss or a weight is no longer finite: one point of a sweep may fail so, and the sweep go on."""


class CheckpointGone(UserError):
    """A checkpoint was removed while it was looked at: the run goes on, and there are newer ones."""


class WorkerLost(UserError):
    """Another worker of the run, or the TPU, is gone: nothing to mend, start all again."""

    exit_code = 75  # sysexits.h: a failure that passes; try again


class StorageUnavailable(Exception):
    """Storage or network did not answer, however often it was tried (`transient.retried`).

    No UserError: whoever goes on without what is missing, or takes it for the user's mistake, must not
    do so where it merely could not be read just now.
    """

    exit_code = WorkerLost.exit_code
