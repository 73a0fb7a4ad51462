"""The input of a command: the command line, and the configuration made from it."""

from __future__ import annotations

import dataclasses

from simclr_med.cluster import Cluster
from simclr_med.config import Config

TRAINING = ("train", "train_then_eval")  # modes in which several workers work together
EXPERIMENTS = ("sweep", "label_efficiency", "study")  # many runs from one command
OF_A_MODEL = ("export", "embed")  # of a run, or of the weights of --checkpoint


@dataclasses.dataclass(frozen=True)
class Invocation:
    """One command line.

    Attributes:
      argv: its arguments, without the program's name.
      given: the flags that were given, by file or by hand.
      config: of these flags, and of the run in --model_dir where the command works on one.
      of_run: whether `config` is that of the run in --model_dir.
      workers: the processes that train together; None: this one works alone.
      sources: {name of a given flag: where its value was set}, see `flags.CommandLine`.
    """

    argv: list[str]
    given: dict
    config: Config
    of_run: bool = False
    workers: Cluster | None = None
    sources: dict[str, str] = dataclasses.field(default_factory=dict)

    @property
    def mode(self) -> str:
        """The --mode."""
        return self.config.run.mode

    @property
    def record(self) -> dict:
        """The content of flags.json."""
        return {"argv": self.argv, "flags": self.given}

    @property
    def repeats(self) -> bool:
        """Whether train_then_eval is to do a run for each seed."""
        return self.mode == "train_then_eval" and self.config.experiment.repeats > 1

    @property
    def folds(self) -> bool:
        """Whether train_then_eval is to do a run for each fold."""
        return self.mode == "train_then_eval" and self.config.experiment.folds > 0
