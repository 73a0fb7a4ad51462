"""What --help prints: commands with examples and the usual flags; all flags; or those of one --mode."""

from __future__ import annotations

import dataclasses
import itertools
import os
import textwrap
from collections.abc import Collection

from simclr_med.commands.flags import RECIPES
from simclr_med.config import FIELDS, GROUPS, REACH, work_of

ASKS = frozenset({"--help", "-help", "-h", "--helpfull", "-helpfull", "-?"})
_WIDTH = 94
# {--mode: (what it does, an example)}, in the order in which people need them.
MODES = {
    "verify": (
        "prepares a folder, counts what is there, draws a contact sheet",
        "--mode=verify --manual_dir=DIR",
    ),
    "train_then_eval": (
        "trains (--train_mode=pretrain or finetune), then evaluates; so do the recipes",
        "--flagfile=laptop.flags --manual_dir=DIR --micle --model_dir=RUN",
    ),
    "eval": (
        "evaluates a run again, or on other data",
        "--mode=eval --model_dir=TUNED --manual_dir=DIR2 --eval_name=shift",
    ),
    "predict": (
        "scores new images",
        "--mode=predict --model_dir=TUNED --manual_dir=NEW_IMAGES",
    ),
    "compare": (
        "two models or recipes on the same patients, with p-values",
        "--mode=compare --runs=A,B",
    ),
    "study": (
        "pretraining against none, uses and numbers of labels, in one report",
        "--mode=study --flagfile=study_demo.flags --model_dir=STUDY",
    ),
    "sweep": (
        "a grid of learning rate and weight decay, chosen on --selection_split",
        "--mode=sweep --flagfile=derm_finetune.flags --manual_dir=DIR",
    ),
    "label_efficiency": (
        "a fine-tuned run at each share of the labels",
        "--mode=label_efficiency --flagfile=derm_finetune.flags --manual_dir=DIR",
    ),
    "embed": (
        "writes a run's features of a dataset",
        "--mode=embed --model_dir=RUN --eval_split=test",
    ),
    "export": (
        "writes a model for use elsewhere",
        "--mode=export --model_dir=TUNED --export_formats=saved_model,onnx",
    ),
    "train": ("trains only", "--mode=train --flagfile=laptop.flags --manual_dir=DIR"),
    "build": ("prepares a dataset only", "--mode=build --manual_dir=DIR"),
}
USUAL = (
    *("manual_dir", "dataset", "model_dir", "checkpoint", "train_mode", "micle", "seed"),
    *("train_split", "eval_split", "selection_split", "label_fraction", "eval_name", "data_dir"),
    *("image_size", "resnet_depth", "train_batch_size", "train_epochs", "train_steps"),
    *(
        "learning_rate",
        "optimizer",
        "temperature",
        "mixed_precision",
        "repeats",
        "folds",
        "dry_run",
    ),
)


def text(arguments: Collection[str]) -> str:
    """Returns the help that a command line asks for.

    Args:
      arguments: of the command line, without the program: --helpfull for all flags, --mode=MODE for
        those that have an effect there.
    """
    words = " ".join(arguments).replace("=", " ").split()
    modes = [value for name, value in zip(words, words[1:]) if name in ("--mode", "-mode")]
    if any(argument.endswith("helpfull") for argument in arguments):
        return "\n".join([_usage(), *_groups(FIELDS)])
    if modes and modes[-1] in MODES:
        return "\n".join([_of_mode(modes[-1]), *_groups(reaching(modes[-1]))])
    lines = [_usage(), "\nModes, what they do, and an example (after `python run.py`):"]
    for mode, (what, example) in MODES.items():
        lines += [f"  {mode:<17} {what}", f"  {'':<17}   {example}"]
    lines.append("\nThe usual flags (--helpfull lists all; --help --mode=MODE those of one mode):")
    return "\n".join([*lines, *map(_in_a_line, USUAL)])


def reaching(mode: str) -> list[str]:
    """Returns the names of the flags that have an effect with a --mode, in their order."""
    kinds = itertools.product(("pretrain", "finetune"), (True, False))
    work = {w for train_mode, of_run in kinds for w in work_of(mode, train_mode, of_run, True)}
    return [name for name, r in REACH.items() if work & {*r.work} and mode not in r.set_in]


def _usage() -> str:
    names = sorted(name for name in os.listdir(RECIPES) if name.endswith(".flags"))
    recipes = f"A flag file is yours, or one of these recipes, from any folder: {', '.join(names)}."
    about = (
        "Self-supervised pretraining for medical images: SimCLR and MICLe. Without --dataset, "
        "--manual_dir and --flagfile it runs the embedded demo (flags/demo.flags). A flag on the "
        "command line wins over the file. Booleans: --micle, --nomicle. --version says which version "
        "this is."
    )
    first = (
        "python run.py [--flagfile=NAME.flags] [--flag=value ...]      (installed: simclr-med ...)"
    )
    return f"{first}\n\n{textwrap.fill(about, _WIDTH)}\n\n{textwrap.fill(recipes, _WIDTH)}"


def _of_mode(mode: str) -> str:
    what, example = MODES[mode]
    return (
        f"--mode={mode}: {what}.\n\n  python run.py {example}\n\nFlags that have an effect there:"
    )


def _groups(names: Collection[str]) -> list[str]:
    """Returns the lines about some flags, by group."""
    lines = []
    for group in GROUPS.values():
        fields = [field for field in dataclasses.fields(group) if field.name in names]
        if fields:
            lines.append(f"\n{group.__doc__}:")
        for field in fields:
            about = textwrap.fill(field.metadata["help"], _WIDTH - 8)
            lines += [_line(field), textwrap.indent(about, " " * 8)]
    return lines


def _line(field: dataclasses.Field) -> str:
    return f"  --{field.name}={_values(field)}  (default: {_default(field)})"


def _in_a_line(name: str) -> str:
    """Returns a flag, its default and as much of its help as fits."""
    field = FIELDS[name]
    start = f"  --{name}={'' if field.default is None else _default(field)}"
    about = " ".join(field.metadata["help"].split())
    return f"{start:<30} {textwrap.shorten(about, _WIDTH - 31, placeholder=' ...')}"


def _values(field: dataclasses.Field) -> str:
    return "|".join(map(str, field.metadata["choices"])) or str(field.type).split(" | ")[0]


def _default(field: dataclasses.Field) -> str:
    if field.default is None:
        return "unset"
    return field.default if isinstance(field.default, str) else str(field.default).lower()
