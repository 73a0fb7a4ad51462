"""Flags that have no effect on a command: refused where that would mislead, else noted.

Which flag reaches what: `REACH` in config.py. What it says for each flag given:

- on the command line, and it would shape results: refused, because its giver takes it for done;
- on the command line, and it shapes none (files, memory, machine), the command gives no results
  (build, verify), or sets the flag for each of its runs and prints to what: a note;
- in a flag file of the user's own, which may serve several commands: a note;
- in a recipe of `flags/`, or with the value that it has anyway: nothing.
"""

from __future__ import annotations

from typing import Any

from simclr_med import config as options
from simclr_med.commands.flags import CommandLine
from simclr_med.config import FIELDS, REACH, Config, Reach, work_of
from simclr_med.errors import UserError

_NO_RESULTS = ("build", "verify")
_WORDS = {
    options.PREPARE: "commands that prepare or open a dataset",
    options.PRETRAIN: "pretraining",
    options.FINETUNE: "fine-tuning",
    options.PROBE: "evaluating a pretrained run",
    options.SCORE: "evaluating a fine-tuned run",
    options.ADOPT: "evaluating weights of --checkpoint with --keep_head",
    options.EXPORT: "--mode=export",
    options.EMBED: "--mode=embed",
    options.COMPARE: "--mode=compare",
    options.FEATURES: "--mode=compare with --features",
    options.PREDICT: "--mode=predict",
    options.REPEAT: "--mode=train_then_eval, label_efficiency and study",
    options.FOLDS: "--mode=train_then_eval",
    options.SWEEP: "--mode=sweep",
    options.LABEL_EFFICIENCY: "--mode=label_efficiency",
    options.STUDY: "--mode=study",
}


def check(command_line: CommandLine, config: Config, of_run: dict | None) -> list[str]:
    """Returns notes about flags without an effect.

    Args:
      command_line: what was given.
      config: made from it and from the run in --model_dir, where the command works on one.
      of_run: what that run's config.json says; None: the command works on none.

    Raises:
      UserError: names every flag that must not be ignored, why it has no effect, and what to do.
    """
    refused, notes = [], []
    for name in sorted(command_line.by_hand | command_line.in_files):
        why = idle(name, config, of_run)
        if not why:
            continue
        mode = config.run.mode
        must_act = REACH[name].shapes_results and mode not in (*_NO_RESULTS, *REACH[name].set_in)
        message = f"{_flag(name, command_line.given[name])} has no effect {why}"
        if must_act and name in command_line.by_hand:
            refused.append(message)
        else:
            notes.append(f"Note: {message}")
    if refused:
        raise UserError(" ".join(refused))
    return notes


def idle(name: str, config: Config, of_run: dict | None) -> str:
    """Returns why a flag has no effect on a command; "" where it has one, or changes nothing.

    Args:
      name: of the flag.
      config: of the command, with the flag's value.
      of_run: as in `check`.
    """
    reach, values, mode = REACH[name], config.to_dict(), config.run.mode
    value, default = values[name], FIELDS[name].default
    features = bool(config.experiment.features)
    work = work_of(mode, config.run.train_mode, of_run is not None, features)
    if not set(reach.work) & set(work):
        usual = default if of_run is None else of_run.get(name, default)
        was_trained_with = of_run is not None and name != "dry_run"
        return "" if value == usual else _out_of_place(reach, config, was_trained_with, usual)
    if reach.unless and values[reach.unless] > 0:
        other = _flag(reach.unless, values[reach.unless])
        return f"beside {other}, which overrides it: add --{_off(reach.unless)}, or leave it out."
    if value == default:
        return ""
    if mode in reach.set_in:
        return f"with --mode={mode}, which sets it for each of its runs. Leave it out."
    for other, possible in reach.only_if.items():
        if not (values[other] if possible is None else values[other] in possible):
            needed = f"it needs --{other}"
            if possible is not None:
                needed += f"={' or '.join(map(str, possible))}"
            return f"with {_flag(other, values[other])}: {needed}. Leave it out, or give that."
    return ""


def _out_of_place(reach: Reach, config: Config, of_run: bool, usual: Any) -> str:
    """Returns where a flag has no effect, and where it would have one."""
    mode, train_mode = config.run.mode, config.run.train_mode
    other_mode = "pretrain" if train_mode == "finetune" else "finetune"
    by_train_mode = set(reach.work) & set(work_of(mode, other_mode))
    if of_run and set(reach.work) & {options.PRETRAIN, options.FINETUNE} and not by_train_mode:
        return (
            f"with --mode={mode}: the run in --model_dir was trained with {_text(usual)}. "
            "Leave it out."
        )
    where = f"with --mode={mode}"
    if by_train_mode and of_run:
        where = f"on a run of --train_mode={train_mode}"
    elif by_train_mode:
        where = f"with --train_mode={train_mode}"
    words = [word for work, word in _WORDS.items() if work in reach.work]
    joined = " and ".join([", ".join(words[:-1])] * (len(words) > 1) + words[-1:])
    return f"{where}: it is for {joined}. Leave it out."


def _off(name: str) -> str:
    return f"no{name}" if FIELDS[name].type == "bool" else f"{name}=0"


def _flag(name: str, value: Any) -> str:
    return f"--{name}={_text(value)}"


def _text(value: Any) -> str:
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)
