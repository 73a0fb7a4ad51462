"""Which weights go out: those of a run, or only the encoder of --checkpoint."""

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
    """Returns the checkpoint that --selection_split chose among all that are whole; else the newest.

    Raises:
      UserError: there is none; or a choice is asked for, and was not made among these.
    """
    path = os.path.join(model_dir, "selection.json")
    said = run_folder.read_json(path) if gfile.exists(path) else None
    candidates = said and said.get("candidates")
    usable = checkpoint_files.usable(model_dir, at_most=None if candidates else 1)
    names = [os.path.basename(prefix) for prefix in usable]
    if not usable:
        raise UserError(f"--model_dir={model_dir}: no checkpoint yet; train it first.")
    latest = usable[-1]
    if said and not candidates:  # by an older version: among which, nobody knows
        return latest
    contents = {os.path.basename(p): checkpoint_files.identity(p) for p in usable}
    if said and candidates == names and said.get("checkpoints", contents) == contents:
        return os.path.join(model_dir, said["checkpoint"])
    if config.run.train_mode == "finetune" and config.data.selection_split:
        raise UserError(
            f"--model_dir={model_dir}: --selection_split={config.data.selection_split} has not yet "
            "chosen among the checkpoints that are there now. Run --mode=eval first; it chooses."
        )
    return latest


def class_names_of(config: Config, model_dir: str) -> tuple[str, ...]:
    """Returns the classes of a fine-tuned run's head; () of a pretrained one."""
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
      UserError: another layer than the encoder's output is asked for.
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
    """Prints a note where weights are not used at the size of images that they were trained at."""
    made_at, size = weights.image_size, config.augment.image_size
    if made_at not in (None, size):
        print(
            f"Note: --image_size={size}, and {config.run.checkpoint} was trained at {made_at} px; "
            f"--image_size={made_at} gives what its own evaluation saw."
        )
