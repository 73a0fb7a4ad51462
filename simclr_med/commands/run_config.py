"""Which configuration a command works with: that of a run, and where a run without --model_dir goes."""

from __future__ import annotations

import hashlib
import os
import re

from simclr_med.commands import flags
from simclr_med.commands.invocation import EXPERIMENTS, OF_A_MODEL
from simclr_med.config import (
    FIELDS,
    OF_A_FOLDER,
    OF_OLDER_RUNS,
    RENAMED,
    Config,
    fields_that_shape_weights,
)
from simclr_med.errors import UserError

# Added after the first runs were trained: their defaults change no run's default folder.
_ADDED_LATER: tuple[str, ...] = ("encoder", "input_range", "micro_batch", "keep_head")
_ADDED_LATER += ("same_patient_negatives", "soft_labels", "antialias")
_ADDED_LATER += ("dicom_frame", "on_missing_image", "on_label_conflict", "missing_labels")
_ADDED_LATER += ("label_seed", "split_column", "init_head", "simclr_unit", "multi_image_repeats")
_ADDED_LATER += ("layer_decay", "crop_min_area", "label_columns")
# What a run started from --checkpoint has in common with the run that trained these weights.
_OF_WEIGHTS: tuple[str, ...] = (
    "encoder",
    "resnet_depth",
    "width_multiplier",
    "sk_ratio",
    "se_ratio",
)
_OF_WEIGHTS += ("image_size", "proj_head_mode", "num_proj_layers", "proj_out_dim")
_MEMBER = re.compile(r"(seed|fold)_(\d+)")  # the folder of a run of --repeats or --folds
_OF_ONE_DATASET: tuple[str, ...] = ("manual_dir", *OF_A_FOLDER, "keep_metadata")


def config_of_run(given: dict, mode: str) -> Config:
    """Returns the configuration of the run in --model_dir, overridden by the flags that were given.

    Args:
      given: {flag: value} of the command line and its flag files.
      mode: value of --mode.

    Raises:
      UserError: there is no such run, or a flag contradicts what it was trained with.
    """
    saved = values_of_run(given, mode)
    given = _without_contradiction(given, saved)
    moved = _is_other(given, saved, "manual_dir") and not _is_copy(given, saved)
    if moved or _is_other(given, saved, "dataset"):
        # Other data: how the run's own was built says nothing about it.
        saved = {name: value for name, value in saved.items() if name not in _OF_ONE_DATASET}
    return flags.config_from({**saved, **given})


def with_encoder_of_checkpoint(given: dict) -> tuple[dict, list[str]]:
    """Returns the flags, completed by what the run of --checkpoint says of its encoder; and notes.

    That is the encoder, its image size and the projection head, of weights of a run or an export made by
    this tool: other files do not name them.
    """
    path = (given.get("checkpoint") or "").rstrip("/")
    inside = (path, os.path.join(path, "saved_model"), os.path.dirname(path))
    names = [
        os.path.join(folder, name)
        for folder in inside
        for name in ("config.json", "simclr_med.json")
    ]
    existing = [name for name in names if path and _exists(name)]
    if not existing:
        return given, []
    from simclr_med.checkpoints.weights import simclr_med_weights

    saved = simclr_med_weights.json_of(existing[0])
    if not isinstance(saved, dict) or "resnet_depth" not in saved:  # somebody else's
        return given, []
    adopted = {name: saved[name] for name in _OF_WEIGHTS if name in saved and name not in given}
    changed = [f"--{name}={v}" for name, v in adopted.items() if v != FIELDS[name].default]
    note = f"Note: as the run in --checkpoint: {' '.join(changed)}."
    return {**adopted, **given}, [note] if changed else []


def models_of(given: dict) -> list[str]:
    """Returns the folders that --model_dir=A,B,C of --mode=predict names: runs or exports.

    The folder of --repeats or --folds stands for all of its runs.

    Raises:
      UserError: it names none, or one twice.
    """
    text = given.get("model_dir") or ""
    whole = text and _exists(text)
    named = [text] if whole else [part.strip() for part in text.split(",") if part.strip()]
    paths = [path for one in named for path in _runs_below(one) or [one]]
    if not paths:
        raise UserError(
            "--mode=predict needs the --model_dir of a fine-tuned run, or of an export."
        )
    if twice := [path for i, path in enumerate(paths) if path in paths[:i]]:
        raise UserError(f"--model_dir: {twice[0]} is given twice.")
    return paths


def _runs_below(folder: str) -> list[str]:
    """Returns the runs of --repeats or --folds in a folder, in order; [] of any other folder."""
    from simclr_med.run_folder import files, gfile

    if not gfile.isdir(folder) or _exists(os.path.join(folder, "config.json")):
        return []
    matches = [match for name in files.names(folder) if (match := _MEMBER.fullmatch(name))]
    return [os.path.join(folder, m[0]) for m in sorted(matches, key=lambda m: (m[1], int(m[2])))]


def config_of_model(given: dict, path: str) -> Config:
    """Returns the configuration that new images are scored with by the run or export in `path`.

    Of its data only how an image file becomes an image still counts, and which images of a study.

    Args:
      given: the flags of --mode=predict.
      path: one of `models_of(given)`.
    """
    given = {**given, "model_dir": path}
    saved = values_of_run(given, "predict")
    kept = {"build_long_side", "dicom_frame"}
    of_its_data = {"dataset", "data_dir", *_OF_ONE_DATASET} - kept
    saved = {name: value for name, value in saved.items() if name not in of_its_data}
    return flags.config_from({**saved, **_without_contradiction(given, saved)})


def works_on_run(given: dict, mode: str) -> bool:
    """Returns whether a command works on the run in --model_dir, and not on weights of --checkpoint.

    Args:
      given: {flag: value} of the command line and its flag files.
      mode: value of --mode.
    """
    if mode == "eval":
        return not (given.get("checkpoint") and given.get("keep_head"))
    return mode == "predict" or (mode in OF_A_MODEL and not given.get("checkpoint"))


def config_of_weights(given: dict) -> Config:
    """Returns the configuration to evaluate --checkpoint with its head: that of a fine-tuning.

    Raises:
      UserError: --train_mode is not finetune.
    """
    if given.get("train_mode", "finetune") != "finetune":
        raise UserError(
            f"--train_mode={given['train_mode']}: --mode=eval with --keep_head evaluates --checkpoint "
            "as a classifier. Leave that flag out."
        )
    return flags.config_from({**given, "train_mode": "finetune"})


def values_of_run(given: dict, mode: str) -> dict:
    """Returns {field: value} of the run in --model_dir; newer fields are as in `OF_OLDER_RUNS`.

    With several runs, as --mode=predict accepts, those of the first; of an export what its file says.

    Args:
      given: {flag: value} of the command line and its flag files.
      mode: value of --mode.

    Raises:
      UserError: --model_dir is missing, or holds no run.
    """
    model_dir = models_of(given)[0] if mode == "predict" else given.get("model_dir")
    if not model_dir:
        other = ", or --checkpoint"
        if mode not in OF_A_MODEL:
            other += " with --keep_head, for weights that classify"
        raise UserError(f"--mode={mode} needs the --model_dir of a run{other}.")
    path = os.path.join(model_dir, "config.json")
    if not _exists(path):
        if mode == "predict":
            return _values_of_export(model_dir)
        raise UserError(f"--model_dir={model_dir} holds no run: there is no config.json in it.")
    from simclr_med.run_folder import read_json

    saved = {name: value for name, value in read_json(path).items() if name in FIELDS}
    return {**OF_OLDER_RUNS, **saved}


def _values_of_export(folder: str) -> dict:
    """Returns {field: value} of what simclr_med.json of an export says: a classifier in float32."""
    if not _exists(folder):
        raise UserError(f"--model_dir={folder}: there is no such folder.")
    from simclr_med.evaluation.ensemble import saved_model_in
    from simclr_med.export.saved_model import FACTS
    from simclr_med.run_folder import read_json

    path = os.path.join(saved_model_in(folder), FACTS)
    if not _exists(path):
        raise UserError(
            f"--model_dir={folder}: {FACTS}, which describes the network, is missing next to the "
            "SavedModel. Copy the whole export folder."
        )
    values = {**OF_OLDER_RUNS, **read_json(path)}
    values["antialias"] = str(values["antialias"]).lower()  # true or false in an export
    known = {name: value for name, value in values.items() if name in FIELDS}
    return {**known, "train_mode": "finetune"}


def _exists(path: str) -> bool:
    """Returns whether a file is there, local or remote; of a local one without TensorFlow."""
    if "://" not in path:
        return os.path.exists(path)
    from simclr_med.run_folder import gfile

    return gfile.exists(path)


def _without_contradiction(given: dict, saved: dict) -> dict:
    """Returns the given flags; refuses an encoder, input range or rule of
    --antialias that fits a run and is not its own."""
    from simclr_med.models.input_range import USUAL

    encoder = saved.get("encoder", "resnet")  # a run older than the field
    input_range = saved.get("input_range", "auto")
    own = {
        "encoder": encoder,
        "input_range": USUAL.get(encoder) if input_range == "auto" else input_range,
        "antialias": "true" if saved["antialias"] == "auto" else saved["antialias"],
    }
    for name, value in own.items():
        if given.get(name, "auto") not in ("auto", value):
            raise UserError(
                f"--{name}={given[name]}: the run in --model_dir was trained with {value}, and on "
                "anything else its numbers would be wrong. Leave that flag out."
            )
    return {name: value for name, value in given.items() if name not in own}


def _is_other(given: dict, saved: dict, name: str) -> bool:
    """Returns whether a dataset, or its folder however spelled, was given that is not the run's."""
    one, other = given.get(name), saved.get(name)
    if name == "manual_dir" and one and other:
        one, other = os.path.realpath(one), os.path.realpath(other)
    return name in given and one != other


def _is_copy(given: dict, saved: dict) -> bool:
    """Returns whether --manual_dir is a copy of the folder that the run in --model_dir was trained on.

    It is if it makes the same prepared dataset when it is read as the run's folder was.
    """
    if "dataset" not in saved or _is_other(given, saved, "dataset"):
        return False
    from simclr_med.commands import dataset
    from simclr_med.run_folder import read_json

    trained_on = read_json(os.path.join(given["model_dir"], "config.json")).get("prepared_dataset")
    try:
        return dataset.name_of(flags.config_from({**saved, **given})) == trained_on
    except UserError:  # the error is raised when the data are read with the final configuration
        return False


def default_model_dir(config: Config, dataset: str) -> str:
    """Returns runs/<dataset>_<method>_<hash>, the same for the same configuration and data.

    Args:
      config: of the run.
      dataset: full name of the prepared dataset, with its version.
    """
    values = config.to_dict()
    names = [
        name
        for name in fields_that_shape_weights()
        if name not in _ADDED_LATER or values[name] != FIELDS[name].default
    ]
    first_names = {now: before for before, now in RENAMED.items()}  # or old runs would not be found
    identity = [dataset, *((first_names.get(name, name), values[name]) for name in names)]
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
    mode = config.run.mode
    what = mode if mode in (*EXPERIMENTS, *OF_A_MODEL, "eval") else config.method
    if config.experiment.repeats > 1 and mode == "train_then_eval":
        what += "_repeats"
    if config.experiment.folds and mode == "train_then_eval":
        what += "_folds"
    first = str(config.data.dataset or dataset).replace("/", "-")
    return os.path.join("runs", f"{first}_{what}_{digest}")


def check_not_both(given: dict) -> None:
    """Refuses --checkpoint together with a --model_dir that holds a run with weights of its own.

    Raises:
      UserError: both are given.
    """
    model_dir = given.get("model_dir")
    holds_run = model_dir and _exists(os.path.join(model_dir, "config.json"))
    if given.get("checkpoint") and holds_run:
        raise UserError(
            f"--model_dir={model_dir} holds a run, and --checkpoint names other weights: give one "
            "of the two. (With --checkpoint, --model_dir is just where files are written.)"
        )
