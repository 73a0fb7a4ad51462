"""What is chosen must not be chosen on what is reported."""

from __future__ import annotations

from simclr_med.build import open_bags
from simclr_med.config import Config
from simclr_med.data.cases import read_cases
from simclr_med.errors import UserError


def check_selection(config: Config, builder) -> None:
    """Refuses a `--selection_split` that is missing or shares a patient with the other two splits.

    Splits can overlap by name or as slices ("train[:20%]" and "train"), so patients are compared.

    Raises:
      UserError: says which.
    """
    selection = config.data.selection_split
    if not selection:
        raise UserError(
            "--selection_split is missing: the split on which the best is chosen, such as "
            "validation. --eval_split is only for the final report."
        )
    patients = {
        split: set(read_cases(open_bags(config, builder, split), 0).patients)
        for split in {selection, config.data.eval_split, config.data.train_split}
    }
    for flag in ("eval_split", "train_split"):
        other = getattr(config.data, flag)
        if shared := len(patients[selection] & patients[other]):
            raise UserError(
                f"--selection_split={selection} and --{flag}={other} share {shared:,} patients."
                " Choose on patients that are neither trained on nor reported: 'validation', or a "
                "split column of your manifest."
            )
