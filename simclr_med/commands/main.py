"""Runs the command of a command line, and turns failures into an error message and exit code."""

from __future__ import annotations

import errno
import importlib
import os
import signal
import sys

from simclr_med import __version__, cluster, printing, signals, transient
from simclr_med.commands import COMMANDS, flags, help, idle_flags, quiet
from simclr_med.commands.invocation import EXPERIMENTS, TRAINING, Invocation
from simclr_med.commands.run_config import (
    config_of_model,
    config_of_run,
    config_of_weights,
    models_of,
    values_of_run,
    with_encoder_of_checkpoint,
    works_on_run,
)
from simclr_med.config import Config, RunConfig
from simclr_med.errors import StorageUnavailable, UserError

_FULL = (
    "{}; what was already saved is kept. Free some space, or choose another --model_dir or --data_dir, "
    "and run the same command again."
)
_OF_MACHINE = {  # errno: what to do
    errno.ENOSPC: _FULL.format("The disk is full"),
    errno.EDQUOT: _FULL.format("Your quota on this disk is used up"),
    errno.EROFS: "It can only be read: give another --model_dir or --data_dir, which can be written.",
    errno.EMFILE: "Raise the limit of open files (ulimit -n).",
    errno.ENAMETOOLONG: "Give a shorter path or --eval_name.",
    errno.ENOTDIR: "A part of that path is a file: give another folder.",
    errno.EISDIR: "That is a folder: give a file, or move the folder away.",
    errno.EIO: "The disk, or the network to it, fails: see to that, then run the same command again.",
}
_CLOSED_PIPE = 128 + 13  # as a shell reports a process that SIGPIPE ended


def main(argv: list[str] | None = None) -> int:
    """Runs a command line and returns its exit code.

    0: done; 1: `verify` found problems; 2: a mistake of the user's; 75: another worker of the run,
    or the TPU, was lost, or storage did not answer, and the same commands go on; 128 + n: stopped by
    signal n.

    Args:
      argv: the program's name and its flags; None: those of this process.
    """
    argv = sys.argv if argv is None else argv
    try:
        exit_code = _main(argv)
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has seen enough
        # What is still buffered would fail once more when Python exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _CLOSED_PIPE
    return exit_code


def _main(argv: list[str]) -> int:
    if help.ASKS & set(argv[1:]):
        print(help.text(argv[1:]))
        return 0
    if argv[1:] in (["--version"], ["-version"]):
        print(f"simclr_med {__version__}")
        return 0
    program = os.path.basename(argv[0])
    signals.watch()
    try:
        return run(argv)
    except (UserError, StorageUnavailable) as error:
        return _fail(program, str(error), error.exit_code)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except BrokenPipeError:
        raise
    except Exception as error:
        if transient.is_transient(error):
            text = f"{transient.described(error)}. {transient.ADVICE}"
            return _fail(program, text, StorageUnavailable.exit_code)
        message = _user_message(error)
        if message is None:
            raise
        return _fail(program, message)


def run(argv: list[str]) -> int:
    """Runs a command line and returns its exit code, as `main` does, but raises errors.

    Raises:
      UserError: a mistake of the user's.
      StorageUnavailable: storage did not answer.
    """
    command_line = flags.parse(argv)
    given = dict(command_line.given)
    # What is printed is decided here: no configuration and no run remembers it.
    output = RunConfig(**{name: given.pop(name) for name in ("quiet", "verbose") if name in given})
    if output.quiet and output.verbose:
        raise UserError("--quiet and --verbose ask for less and for more: give one of them.")
    with printing.only_results(output.quiet):
        return _run(argv, command_line, given, output.verbose)


def _run(argv: list[str], command_line: flags.CommandLine, given: dict, verbose: bool) -> int:
    mode = given.get("mode", "train")
    of_run = works_on_run(given, mode)
    if of_run or given.get("manual_dir") or given.get("checkpoint"):
        quiet.import_tensorflow(verbose)  # the functions below import it too
    saved = values_of_run(given, mode) if of_run else None
    given, detected = _with_dataset(given, mode, saved)
    if not of_run and mode not in ("study", "compare"):
        given, from_weights = with_encoder_of_checkpoint(given)
        detected += from_weights
    if mode == "predict":
        config = config_of_model(given, models_of(given)[0])
    elif mode == "eval" and not of_run:
        config = config_of_weights(given)
    else:
        config = config_of_run(given, mode) if of_run else flags.config_from(given)
    notes = idle_flags.check(command_line, config, saved)
    config, workers = _with_workers(config, given, mode)
    if workers and not workers.is_chief and mode not in TRAINING:
        print(f"Worker {workers.index}: --mode={mode} is work for worker 0 alone.")
        return 0
    for note in (*detected, *notes):
        print(note)
    if command_line.is_demo:
        print(
            "No --dataset given: this is the embedded demo, drawn by our own code "
            "(derm_bags/demo, recipe flags/demo.flags). Your images: --dataset=derm_bags "
            "--manual_dir=DIR."
        )
    quiet.set_level_of_logs(verbose)
    sources = dict(command_line.sources)
    if "dataset" in given:
        sources.setdefault("dataset", "found in --manual_dir")
    is_dry = config.run.dry_run and mode in (*TRAINING, *EXPERIMENTS)
    quiet.import_tensorflow(verbose)
    command = importlib.import_module(
        f"simclr_med.commands.{'dry_run' if is_dry else COMMANDS[mode]}"
    )
    return command.run(Invocation(argv[1:], given, config, of_run, workers, sources))


def _with_dataset(given: dict, mode: str, saved: dict | None) -> tuple[dict, list[str]]:
    """Returns the flags with the dataset of --manual_dir, where that is given alone; and a note.

    Args:
      given: the flags that were given.
      mode: the --mode.
      saved: configuration of the run that the command works on; None: it works on none.
    """
    folder, of_run = given.get("manual_dir"), (saved or {}).get("dataset")
    draws_itself = (of_run or "").startswith("derm_bags/")  # no folder was its data
    reads = mode not in ("compare", "export", "study", "predict") or given.get("features")
    if not (folder and reads) or given.get("dataset") or (of_run and not draws_itself):
        return given, []
    from simclr_med.commands import dataset

    name, why = dataset.detect(folder)
    note = f"Note: no --dataset given: --manual_dir={folder} is read as --dataset={name} ({why})."
    return {**given, "dataset": name}, [note]


def _with_workers(config: Config, given: dict, mode: str) -> tuple[Config, cluster.Cluster | None]:
    """Returns the configuration and the workers of this run, if there are several.

    Only training takes them together: in all other modes worker 0 works alone.
    """
    # Of a run in --model_dir --num_workers says how it was trained, and nothing of this process.
    workers = cluster.find(given.get("num_workers", 1))
    if workers and config.run.dry_run:
        raise UserError("--dry_run measures in one process, without others: unset TF_CONFIG.")
    if workers and mode in TRAINING:
        for name, single in (("repeats", 1), ("folds", 0)):
            if getattr(config.experiment, name) > single and mode == "train_then_eval":
                raise UserError(f"--{name} trains run after run on one machine: unset TF_CONFIG.")
        return config, workers
    if workers and mode in EXPERIMENTS:
        raise UserError(f"--mode={mode} trains run after run on one machine: unset TF_CONFIG.")
    cluster.clear_tf_config()
    return config.replace(num_workers=1), workers


def _user_message(error: Exception) -> str | None:
    """Returns what to tell a user about a failure of the machine; None for a bug in this code."""
    cause = error.__cause__
    if isinstance(cause, Exception) and (message := _user_message(cause)):
        return message  # TFDS wraps what writing a dataset raises
    text = transient.first_line(error)
    for number, advice in _OF_MACHINE.items():
        is_full = number in (errno.ENOSPC, errno.EDQUOT)
        # TensorFlow's errors, and of a full disk HDF5's and Arrow's, have the system's words for it.
        may_say = is_full or type(error).__module__.startswith("tensorflow")
        if getattr(error, "errno", None) == number or may_say and os.strerror(number) in str(error):
            return advice if is_full else f"{text}. {advice}"
    if isinstance(error, PermissionError) or type(error).__name__ == "PermissionDeniedError":
        return f"No permission: {text}. Choose another path, or ask for the right to use this one."
    return None


def _fail(program: str, message: str, exit_code: int = UserError.exit_code) -> int:
    print(f"{program}: {message}", file=sys.stderr)
    return exit_code
