"""The configurations of a study's runs."""

from __future__ import annotations

import dataclasses

from simclr_med.commands import flags
from simclr_med.config import GROUPS, Config
from simclr_med.errors import UserError
from simclr_med.experiments import arms_file, study_plan

_OF_THE_STUDY = ("mode", "model_dir", "checkpoint")  # and of none of its runs


def of_study(given: dict) -> dict[str, Config]:
    """Returns the configurations of a study's runs, overridden by the flags of its own command.

    Args:
      given: the flags of the study, by file or by hand.

    Returns:
      {"simclr", "micle", "finetune"}, or with `--arms` the names of `arms_file.recipes`.

    Raises:
      UserError: a recipe that is missing, or that has a mistake.
    """
    of_all = {name: value for name, value in given.items() if name not in _OF_THE_STUDY}
    return {
        name: flags.config_from({**_given_in(path, values), **of_all})
        for name, (path, values) in files_of(given).items()
    }


def judge_of(given: dict) -> Config:
    """Returns the fine-tuning of --finetune_recipe with the encoder, data and machine of a sweep."""
    shared = {
        field.name for group in ("model", "device") for field in dataclasses.fields(GROUPS[group])
    }
    shared |= {"data_dir", "manual_dir", "seed", "bootstrap_resamples", "selection_metric"}
    of_sweep = {name: value for name, value in given.items() if name in shared}
    return flags.config_from({**_given_in(given["finetune_recipe"], {}), **of_sweep})


def files_of(given: dict) -> dict[str, tuple[str, dict]]:
    """Returns {name: (flag file, flags on top of it)} of a study; see `of_study`.

    Raises:
      UserError: a recipe that is missing.
    """
    if given.get("arms"):
        return arms_file.recipes(arms_file.read(given["arms"]), given)
    sources: dict[str, tuple[str, dict]] = {}
    for name in study_plan.RECIPES:
        path = given.get(f"{name}_recipe")
        if not path:
            raise UserError(
                f"--mode=study needs --{name}_recipe=FILE; flags/study_demo.flags names all three. Or "
                "--arms=FILE.toml, as flags/study_derm.flags has it."
            )
        sources[name] = (path, {})
    return sources


def _given_in(path: str, values: dict) -> dict:
    """Returns the flags of a recipe with others on top, as the command line gives them."""
    on_top = [f"--{name}={value}" for name, value in values.items()]
    given = flags.parse(["", f"--flagfile={path}", *on_top]).given
    return {k: v for k, v in given.items() if k not in ("model_dir", "checkpoint")}
