"""One run among many: trained and evaluated, unless that is already done.

A run's folder says in `experiment.json` which weights it began with, whether training came to its
end, and what each stored result was made of. A result is taken from there only if all of that is
still so; it is written after the files it vouches for, so a process killed at any moment leaves a
run that is finished or that goes on. Weights are known by their content, so the folder of an
experiment may be moved, with all that is in it.
"""

from __future__ import annotations

import dataclasses
import datetime
import gc
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf
from tensorflow.python.framework import ops

from simclr_med import run_folder
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.weights import input_range
from simclr_med.config import FIELDS, GROUPS, OF_A_FOLDER, Config, renamed
from simclr_med.errors import Diverged, UserError
from simclr_med.evaluation import evaluate, probe_head
from simclr_med.experiments import turns
from simclr_med.keras_api import keras
from simclr_med.run_folder import data_json, files, gfile
from simclr_med.training import train

_RECORD = "experiment.json"
# Fields of the data and the evaluation that change no number of a result, or only by way of the
# prepared dataset, whose name tells.
_NO_NUMBER = {"manual_dir", "data_dir", "cache_dataset", "beam_runner", "beam_options", "eval_name"}
_NO_NUMBER |= {
    "allow_patient_overlap",
    "export_formats",
    "embed_unit",
    "features_dir",
    "shuffle_buffer",
    *OF_A_FOLDER,
}


def train_and_evaluate(
    config: Config,
    builder,
    model_dir: str,
    strategy: tf.distribute.Strategy,
    invocation: dict,
    *,
    pictures: bool = False,
    to_choose: bool = False,
) -> dict:
    """Returns the result of a run: the stored one, or after training from its newest checkpoint on.

    Args:
      config: of the run.
      builder: a prepared TFDS builder.
      model_dir: the run's own folder; made if it is missing.
      strategy: from `build.set_up`.
      invocation: what the command line said, for flags.json.
      pictures: also draw the run's own report.html, which takes longer.
      to_choose: see `evaluate.evaluate`.

    Raises:
      UserError: a mistake of the user, such as a folder that holds another run.
      Diverged: the loss is no longer finite, now or when this run was last tried.
      Interrupted: after SIGINT or SIGTERM, with everything saved.
    """
    if (result := stored_result(config, builder, model_dir)) is not None:
        return result
    _train(config, builder, model_dir, strategy, invocation)
    return evaluate_once(
        config, builder, model_dir, strategy, pictures=pictures, to_choose=to_choose
    )


def evaluate_once(
    config: Config,
    builder,
    model_dir: str,
    strategy: tf.distribute.Strategy,
    *,
    pictures: bool = False,
    to_choose: bool = False,
) -> dict:
    """Returns the result of evaluating a trained run: the stored one, or after evaluating it now.

    The data may be other than the run's own (`--eval_name` keeps the results apart).

    Args:
      config: of the evaluation.
      builder: of the dataset evaluated.
      model_dir: the run's own folder.
      strategy: from `build.set_up`.
      pictures: also draw report.html.
      to_choose: see `evaluate.evaluate`.
    """
    if (result := _stored_evaluation(config, builder, model_dir)) is not None:
        return result
    record = _read(model_dir)
    evaluations = record.setdefault("evaluations", {})
    if evaluations.pop(config.eval.eval_name or "", None):
        _write(model_dir, record)  # its files are about to change
    try:
        result = evaluate.evaluate(
            config, builder, model_dir, strategy, pictures=pictures, to_choose=to_choose
        )
    finally:
        forget_models()
    evaluations[config.eval.eval_name or ""] = dependencies(config, builder, model_dir)
    _write(model_dir, record)
    return run_folder.read_json(_result_path(config, model_dir))  # as a stored one: NaN is None


def stored_result(
    config: Config, builder, model_dir: str, *, read_only: bool = False
) -> dict | None:
    """Returns the result of a finished run; None where there is something left to do.

    Args:
      config: of the run.
      builder: a prepared TFDS builder.
      model_dir: the run's own folder.
      read_only: of a run that was moved with its initial weights, do not write down where they are.

    Raises:
      UserError: the folder holds a run of another configuration, or from other initial weights.
      Diverged: the run failed.
    """
    config_path = os.path.join(model_dir, "config.json")
    if not gfile.exists(config_path):
        return None
    config = input_range.resolve(config, model_dir)
    saved, record = run_folder.read_json(config_path), _read(model_dir)
    initial, now = record.get("initial_weights"), _weights(config.run.checkpoint)
    if initial and initial == now and saved.get("checkpoint") != config.run.checkpoint:
        # The same weights elsewhere: an experiment was moved.
        here = {"checkpoint": config.run.checkpoint, "model_dir": model_dir}
        if read_only:
            config = config.replace(checkpoint=saved.get("checkpoint"))
        else:
            run_folder.write_json(config_path, {**saved, **here})
    class_names = tuple(saved.get("class_names", ()))
    run_folder.check_same_run(model_dir, config, data_json.name_of(builder), class_names)
    if initial and now and initial != now:
        raise UserError(
            f"{model_dir} holds a run that began with other weights than "
            f"--checkpoint={config.run.checkpoint} has now. Use another --model_dir, or remove that "
            "folder to train it from scratch."
        )
    if record.get("failed"):
        raise Diverged(f"{record['failed']} (Tried before; remove {model_dir} to try again.)")
    return _stored_evaluation(config, builder, model_dir) if record.get("trained") else None


@dataclasses.dataclass(frozen=True)
class Outcome:
    """The result of a run ({} if it failed), and the error message with which it failed."""

    result: dict
    failure: str = ""


def run_all(
    configs: dict[str, Config],
    builder,
    model_dir: str,
    strategy: tf.distribute.Strategy,
    invocation: dict,
    *,
    may_diverge: bool = False,
    pictures: bool = False,
    to_choose: bool = False,
    keep_weights: bool = True,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[tuple[str, Outcome]]:
    """Yields (name, outcome) of each run; prints which one it works on, and the time left.

    In order, except that runs which another process makes meanwhile come last (`turns.take`).

    Args:
      configs: {folder below `model_dir`: configuration}.
      builder: a prepared TFDS builder.
      model_dir: of the experiment.
      strategy: from `build.set_up`.
      invocation: what the command line said, for flags.json.
      pictures: also draw each run's own report.html.
      to_choose: see `evaluate.evaluate`.
      may_diverge: a diverged run is an outcome; else it raises.
      keep_weights: False removes a run's checkpoints when the next outcome is requested.
      clock: seconds.
    """
    sizes = _sizes(configs)
    seconds = done = 0.0  # of the runs that were not finished before
    folders = {name: os.path.join(model_dir, name) for name in configs}
    of_folder = {folder: name for name, folder in folders.items()}
    starts = {name: of_folder.get(config.run.checkpoint or "") for name, config in configs.items()}
    for name, left in turns.take(folders, {name: s for name, s in starts.items() if s}):
        config, folder = configs[name], folders[name]
        start, was_there = clock(), True
        try:
            result = stored_result(config, builder, folder)
            was_there = result is not None
            eta = seconds / done * sum(sizes.values()) if done else None
            position = progress(len(configs) - left + 1, len(configs), eta)
            print(f"{position}: {name}{' is done' * was_there}", flush=True)
            if result is None:
                result = train_and_evaluate(
                    config,
                    builder,
                    folder,
                    strategy,
                    invocation,
                    pictures=pictures,
                    to_choose=to_choose,
                )
            outcome = Outcome(result)
        except Diverged as error:
            if not may_diverge:
                raise
            print(f"{name} failed: {error}")
            outcome = Outcome({}, str(error))
        yield name, outcome
        if not keep_weights:
            remove_weights(folder)
        size = sizes.pop(name)
        if not was_there:
            seconds, done = seconds + clock() - start, done + size


def progress(number: int, total: int, left: float | None) -> str:
    """Returns "run 3 of 27, ETA 0:21:10".

    Args:
      number: of the run, from 1.
      total: number of runs.
      left: seconds; None: not known.
    """
    eta = "" if left is None else f", ETA {datetime.timedelta(seconds=round(left))}"
    return f"run {number} of {total}{eta}"


def _sizes(configs: dict[str, Config]) -> dict[str, int]:
    """Returns what the time of a run is proportional to: examples seen, where all have --train_steps."""
    sizes = {
        name: config.train.train_steps * config.train.train_batch_size
        for name, config in configs.items()
    }
    return sizes if all(sizes.values()) else dict.fromkeys(sizes, 1)


def _train(config: Config, builder, model_dir: str, strategy, invocation: dict) -> None:
    record = _read(model_dir)
    if record.get("trained"):
        if checkpoint_files.list_prefixes(model_dir):
            return
        print(
            f"Note: {model_dir} is to be evaluated in another way than before, and its weights were "
            "removed: it is trained again."
        )
    if "initial_weights" not in record:
        record["initial_weights"] = _weights(config.run.checkpoint)
        _write(model_dir, record)
    try:
        train.train(config, builder, model_dir, strategy, invocation, probe_head.start)
    except Diverged as error:
        _write(model_dir, {**record, "failed": str(error)})
        raise
    finally:
        forget_models()
    _write(model_dir, {**record, "trained": True})


def _stored_evaluation(config: Config, builder, model_dir: str) -> dict | None:
    """Returns a stored result that was made of the same weights, data and questions, with files."""
    made_of = _read(model_dir).get("evaluations", {}).get(config.eval.eval_name or "")
    path = _result_path(config, model_dir)
    if made_of is None or not gfile.exists(path):
        return None
    if not is_up_to_date(made_of, dependencies(config, builder, model_dir)):
        return None
    result = run_folder.read_json(path)
    predictions = result["files"].get("predictions")
    if predictions is None:
        return result
    # By its name: the folder may have been moved.
    has_predictions = gfile.exists(os.path.join(model_dir, os.path.basename(predictions)))
    return result if has_predictions else None


def is_up_to_date(made_of: dict[str, Any], now: dict[str, Any]) -> bool:
    """Returns whether a stored result is what an evaluation would give now.

    Args:
      made_of: what it depended on, as `dependencies` returned it.
      now: what it would depend on now.
    """
    # A result older than a field was made with the field's default.
    made_of = {name: FIELDS[name].default for name in now if name in FIELDS} | renamed(made_of)
    if now["weights"] is None:  # removed to save space: the result still stands
        now = {**now, "weights": made_of["weights"]}
    return all(name in made_of and made_of[name] == value for name, value in now.items())


def cannot_evaluate(config: Config, builder, model_dir: str) -> bool:
    """Returns whether a trained run lacks an evaluation that, without its weights, cannot be made.

    Args:
      config: of the evaluation.
      builder: of the dataset evaluated.
      model_dir: the run's own folder.
    """
    if not _read(model_dir).get("trained") or checkpoint_files.list_prefixes(model_dir):
        return False
    return _stored_evaluation(config, builder, model_dir) is None


def remove_weights(model_dir: str, *, keep_last: bool = False) -> None:
    """Removes the checkpoints of a finished run.

    The oldest are removed first, so that a process killed in between leaves the last one.

    Args:
      model_dir: of the run.
      keep_last: keep the newest checkpoint that is not damaged.
    """
    prefixes = checkpoint_files.list_prefixes(model_dir)
    last = None
    if keep_last and len(prefixes) > 1:
        last = checkpoint_files.newest_usable(model_dir)
        checkpoint_files.write_list(model_dir, [str(last)])
    elif keep_last:
        return
    for prefix in prefixes:
        if prefix != last:
            checkpoint_files.remove(prefix)
    listed = os.path.join(model_dir, "checkpoint")
    if last is None and gfile.exists(listed):
        gfile.remove(listed)


def dependencies(config: Config, builder, weights: str | None) -> dict[str, Any]:
    """Returns what a result depends on beside the run's own configuration, as JSON has it.

    Args:
      config: of the evaluation.
      builder: of the dataset evaluated.
      weights: path of the weights evaluated: the run's folder; None: random ones.
    """
    names = [
        field.name for group in ("data", "eval") for field in dataclasses.fields(GROUPS[group])
    ]
    values = config.to_dict()
    fields = {name: values[name] for name in names if name not in _NO_NUMBER}
    if not config.eval.eval_steps:
        del fields["eval_batch_size"]
    if not config.data.selection_split:
        del fields["selection_metric"]
    return {
        "weights": _weights(weights),
        "prepared_dataset": data_json.name_of(builder),
        "fingerprint": (builder.info.metadata or {}).get("fingerprint"),
        **fields,
    }


def _weights(path: str | None) -> str | None:
    """Returns a hash of weights (of a folder's newest checkpoint), None if there are none.

    The index of a checkpoint or SavedModel holds a checksum of every tensor; only it is read.
    """
    if not path:
        return None
    prefix: str | None = path
    if gfile.isdir(path):
        saved_model = os.path.join(path, "variables", "variables")
        is_saved_model = gfile.exists(f"{saved_model}.index")
        prefix = saved_model if is_saved_model else checkpoint_files.listed(path)
    for file_name in (f"{prefix}.index", path):
        if gfile.exists(file_name) and not gfile.isdir(file_name):
            digest = hashlib.sha256()
            files.update_digest(digest, file_name)
            return digest.hexdigest()
    return None


def _result_path(config: Config, model_dir: str) -> str:
    return os.path.join(model_dir, f"result{config.eval.suffix}.json")


def forget_models() -> None:
    """Frees graphs and weights: without it memory grows from run to run.

    TensorFlow registers a gradient for each call of a custom gradient (synchronised BatchNorm has
    them) and keeps it, and with it the graph, for ever: TensorFlow 2.15 and 2.21.
    """
    registered = getattr(ops.gradient_registry, "_registry", {})
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]
    keras.backend.clear_session()
    gc.collect()


def _read(model_dir: str) -> dict[str, Any]:
    path = os.path.join(model_dir, _RECORD)
    return run_folder.read_json(path) if gfile.exists(path) else {}


def _write(model_dir: str, record: dict[str, Any]) -> None:
    gfile.makedirs(model_dir)
    run_folder.write_json(os.path.join(model_dir, _RECORD), record)
