"""Command lines of configurations, and the command in this process, as a user's shell would see it."""

import contextlib
import io
import sys

from simclr_med.commands.main import main
from simclr_med.config import Config


def flags_of(config):
    """Returns the flags of a configuration whose values are not the defaults."""
    default = Config().to_dict()
    return [f"--{name}={v}" for name, v in config.to_dict().items() if v != default[name]]


def run(*arguments):
    """Returns exit code, stdout and stderr of the command, run in this process."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = main(["run.py", *map(str, arguments)])
    return code, out.getvalue(), errors.getvalue()


def undo():
    """Takes back what the command sets for the whole process."""
    if "tensorflow" in sys.modules:
        from tensorflow.python.framework import config

        config.disable_op_determinism()  # elsewhere unseeded random numbers would be refused
