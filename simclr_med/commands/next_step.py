"""The line that a command ends with: what people run next."""

from __future__ import annotations

import os
import shlex
import sys

from simclr_med.commands.invocation import Invocation

_FINETUNE = "laptop_finetune.flags"
_OF_PAPER = {"flags/derm_": "derm_finetune.flags", "flags/cxr_": "cxr_finetune.flags"}


def show(invocation: Invocation, model_dir: str = "", *, has_labels: bool = True) -> None:
    """Prints "Next: ..." with a command line that can be pasted; nothing where no one step follows.

    Args:
      invocation: of the command that succeeded.
      model_dir: of its run.
      has_labels: whether its data has labels.
    """
    flags = _flags(invocation, model_dir, has_labels)
    if flags:
        program = os.path.basename(sys.argv[0])
        start = ["python", "run.py"] if program == "run.py" else ["simclr-med"]
        print(f"Next: {shlex.join([*start, *flags])}")


def _flags(invocation: Invocation, model_dir: str, has_labels: bool) -> list[str]:
    data, mode = _data(invocation), invocation.mode
    if mode == "build":
        return ["--mode=verify", *data]
    if mode == "verify":
        return ["--flagfile=laptop.flags", *data]
    if mode == "train":
        return ["--mode=eval", f"--model_dir={model_dir}"]
    if mode not in ("train_then_eval", "eval") or not has_labels:
        return []
    if invocation.config.run.train_mode == "finetune":
        return ["--mode=predict", f"--model_dir={model_dir}", "--manual_dir=NEW_IMAGES"]
    return [f"--flagfile={_recipe(invocation)}", f"--checkpoint={model_dir}", *data]


def _data(invocation: Invocation) -> list[str]:
    """Returns the flags that name the data."""
    config, given = invocation.config.data, invocation.given
    named = {"dataset": config.dataset, "manual_dir": config.manual_dir}
    names = ("data_dir", "bag_regex", "image_root", "split_column", "label_columns")
    named |= {name: given.get(name) for name in names}
    if named["manual_dir"] and invocation.sources.get("dataset") == "found in --manual_dir":
        del named["dataset"]
    return [f"--{name}={value}" for name, value in named.items() if value]


def _recipe(invocation: Invocation) -> str:
    """Returns the recipe to fine-tune with: the paper's after a recipe of the paper."""
    used = set(invocation.sources.values())
    return next(
        (recipe for start, recipe in _OF_PAPER.items() if any(u.startswith(start) for u in used)),
        _FINETUNE,
    )
