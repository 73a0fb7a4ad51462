"""--mode=export: the model of a run, or of other people's weights, in files for use elsewhere."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from typing import Any

from simclr_med import checkpoints, run_folder
from simclr_med.checkpoints import reading
from simclr_med.checkpoints.restore import restore, step_of
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.export import (
    keras3_file,
    keras_files,
    model_card,
    network,
    onnx_file,
    saved_model,
    source,
    torch_file,
    writable,
)
from simclr_med.models import Model
from simclr_med.run_folder import data_json, files, gfile, leftovers, terminal

FOLDER = "export"
CARD = "README.md"


def export(config: Config, model_dir: str, *, of_run: bool) -> str:
    """Writes model_dir/export/, prints what is in it, and returns the folder.

    Args:
      config: of the run, or for --checkpoint.
      model_dir: of the run; or just where to write.
      of_run: whether a run in `model_dir` is exported; else the encoder of --checkpoint.

    Raises:
      UserError: no such weights, an unknown format, a package that is missing, or a folder that
        cannot be written.
    """
    chosen = formats(config.eval.export_formats)
    folder = os.path.join(model_dir, FOLDER)
    writable.check(folder, model_dir, of_run=of_run)
    model, facts = _of_run(config, model_dir) if of_run else _of_weights(config)
    gfile.makedirs(folder)
    with run_folder.results_locked(model_dir):
        leftovers.remove(folder)
        _write(config, model, facts, chosen, folder, model_dir if of_run else None)
    if reading.is_pattern(os.path.abspath(folder)) and "saved_model" in chosen:
        print(
            "Note: TensorFlow loads no SavedModel from a path with [ ] or \\ in it: move the folder to "
            "another place first."
        )
    return folder


def _write(
    config: Config,
    model: Model,
    facts: dict[str, Any],
    chosen: list[str],
    folder: str,
    model_dir: str | None,
) -> None:
    """Writes the files and the card, and lists them; `model_dir` is None for weights of no run."""
    for name in chosen:
        _FORMATS[name].write(model, facts, folder)
    written = [file for name in chosen for file in _FORMATS[name].files]
    for file in (
        file
        for output_format in _FORMATS.values()
        for file in output_format.files
        if file not in written
    ):
        _remove(os.path.join(folder, file))  # left by another export, perhaps of another step
    listed = [(file, *_size_and_digest(os.path.join(folder, file))) for file in written]
    card = model_card.model_card(config, facts, model_dir, listed)
    run_folder.write_atomically(os.path.join(folder, CARD), card)
    rows = [[file, terminal.file_size(size), model_card.FILES[file]] for file, size, _ in listed]
    size = terminal.file_size(gfile.stat(os.path.join(folder, CARD)).length)
    rows.append([CARD, size, "model card: what it is, and how to load it"])
    terminal.show([(f"In {folder}", ["file", "size", "what"], rows)])


def formats(text: str) -> list[str]:
    """Returns the formats of --export_formats.

    Raises:
      UserError: none, or an unknown one.
    """
    named = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in named if name not in _FORMATS]
    if unknown or not named:
        what = f"{unknown[0]!r}" if unknown else "nothing"
        raise UserError(f"--export_formats={text}: {what} is none of {', '.join(_FORMATS)}.")
    chosen = [name for name in _FORMATS if name in named]
    for name in chosen:
        _FORMATS[name].check_installed()
    return chosen


def _of_run(config: Config, model_dir: str) -> tuple[Model, dict[str, Any]]:
    class_names = source.class_names_of(config, model_dir)
    checkpoint = source.newest_or_chosen(config, model_dir)
    model = network.portable(config, len(class_names))
    restore(model, checkpoint)
    print(f"The model of {checkpoint}.")
    step = step_of(checkpoint)
    return model, network.facts(config, model, class_names, step, data_json.read(model_dir))


def _of_weights(config: Config) -> tuple[Model, dict[str, Any]]:
    config, weights = source.weights_only(config)
    model = network.portable(config, 0)
    print(checkpoints.load(model, weights))
    return model, network.facts(config, model, (), 0, {})


@dataclasses.dataclass(frozen=True)
class _Format:
    files: tuple[str, ...]
    write: Callable[[Model, dict[str, Any], str], None]
    check_installed: Callable[[], None] = lambda: None


def _write_saved_model(model: Model, facts: dict[str, Any], folder: str) -> None:
    saved_model.write(model, facts, os.path.join(folder, "saved_model"))


_FORMATS = {
    "saved_model": _Format(("saved_model",), _write_saved_model),
    "keras": _Format(keras_files.FILES, keras_files.write),
    "keras3": _Format(keras3_file.FILES, keras3_file.write),
    "onnx": _Format(onnx_file.FILES, onnx_file.write, onnx_file.check_installed),
    "torch": _Format(torch_file.FILES, torch_file.write, torch_file.check_installed),
}


def _size_and_digest(path: str) -> tuple[int, str]:
    """Returns bytes and SHA-256 of a file, or of a folder's files in the order of their names."""
    paths = [path]
    if gfile.isdir(path):
        paths = sorted(
            os.path.join(parent, name) for parent, _, names in gfile.walk(path) for name in names
        )
    digest = hashlib.sha256()
    for name in paths:
        files.update_digest(digest, name)
    return sum(gfile.stat(name).length for name in paths), digest.hexdigest()


def _remove(path: str) -> None:
    if gfile.isdir(path):
        gfile.rmtree(path)
    elif gfile.exists(path):
        gfile.remove(path)
