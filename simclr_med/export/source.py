"""Which weights are exported: those of a run, or only the encoder of --checkpoint."""

from __future__ import annotations

import os

from simclr_med import run_folder
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.weights import input_range, open_weights
from simclr_med.checkpoints.weights.content import Weights
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.run_folder import gfile


def newest_or_chosen(config: Config, model_dir: str) -> str:
    """Returns the checkpoint that --selection_split chose among all complete ones; else the newest.

    Args:
      config: of the run.
      model_dir: of the run.

    Raises:
      UserError: there is none; or --selection_split is set and has not chosen among these yet.
    """
    path = os.path.join(model_dir, "selection.json")
    selection = run_folder.read_json(path) if gfile.exists(path) else None
    candidates = selection and selection.get("candidates")
    usable = checkpoint_files.usable(model_dir, at_most=None if candidates else 1)
    names = [os.path.basename(prefix) for prefix in usable]
    if not usable:
        raise UserError(f"--model_dir={model_dir}: no checkpoint yet; train it first.")
    latest = usable[-1]
    if selection and not candidates:  # an older version did not store them
        return latest
    contents = {os.path.basename(p): checkpoint_files.identity(p) for p in usable}
    if selection and candidates == names and selection.get("checkpoints", contents) == contents:
        return os.path.join(model_dir, selection["checkpoint"])
    if config.run.train_mode == "finetune" and config.data.selection_split:
        raise UserError(
            f"--model_dir={model_dir}: --selection_split={config.data.selection_split} has not yet "
            "chosen among the checkpoints that are there now. Run --mode=eval first; it chooses."
        )
    return latest


def class_names_of(config: Config, model_dir: str) -> tuple[str, ...]:
    """Returns the classes of a fine-tuned run's head; () of a pretrained one.

    Args:
      config: of the run.
      model_dir: of the run.

    Raises:
      UserError: config.json has no class names.
    """
    if config.run.train_mode != "finetune":
        return ()
    path = os.path.join(model_dir, "config.json")
    names = run_folder.read_json(path).get("class_names")
    if not names:
        raise UserError(f"{path} is damaged (class_names is missing in it); restore it.")
    return tuple(names)


def weights_only(config: Config) -> tuple[Config, Weights]:
    """Returns the configuration for a model that is the encoder of --checkpoint alone, and its weights.

    Raises:
      UserError: --ft_proj_selector names another layer than the encoder's output.
    """
    if config.model.ft_proj_selector:
        raise UserError(
            f"--ft_proj_selector={config.model.ft_proj_selector} with --checkpoint alone: only the "
            "encoder's own output is sure to be in the weights. Leave it at 0, or give the "
            "--model_dir of a run."
        )
    weights = open_weights(str(config.run.checkpoint))
    note_image_size(config, weights)
    config = input_range.resolve(config, None, weights)
    # Without a projection head.
    return config.replace(train_mode="finetune", micle=False), weights


def note_image_size(config: Config, weights: Weights) -> None:
    """Prints a note where weights are used at another image size than they were trained at.

    Args:
      config: with --image_size.
      weights: of --checkpoint.
    """
    trained_size, size = weights.image_size, config.augment.image_size
    if trained_size not in (None, size):
        print(
            f"Note: --image_size={size}, and {config.run.checkpoint} was trained at {trained_size} px; "
            f"--image_size={trained_size} gives what its own evaluation saw."
        )
