"""Folds of a split, by patient: parts of it under names of their own, that any `--..._split` takes.

"train:fold_2_of_5" is the second fifth of the patients of train, "train:without_fold_2_of_5" are all
the others. Before the colon stands any split: a name, a slice, all, or a part by folds again. Who is
in which fold depends on the prepared data and the number of folds alone, so every run and every
reading of the labels finds the same patients there.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import warnings

import numpy as np
from sklearn.model_selection import StratifiedKFold

from simclr_med.data.bags import Bags, open_split
from simclr_med.data.cases import Cases, read_cases
from simclr_med.data.label_fraction import keep_cases, strata
from simclr_med.data.labels import AS_STORED, LabelReading
from simclr_med.data.prepared import Prepared
from simclr_med.errors import UserError

_NAME = re.compile(r"(.+):(without_)?fold_(\d+)_of_(\d+)")
_SHUFFLED_BY = 0  # the seed of the partition; not --seed, or no two runs could be compared


@dataclasses.dataclass(frozen=True)
class Part:
    """A fold of a split, or all of the split but a fold.

    Attributes:
      split: that is divided.
      fold: its number, from 1.
      of: how many folds there are.
      without: everything but the fold.
    """

    split: str
    fold: int
    of: int
    without: bool = False

    @property
    def name(self) -> str:
        """The split's name."""
        return f"{self.split}:{'without_' * self.without}fold_{self.fold}_of_{self.of}"

    def holds(self, fold: int) -> bool:
        """Returns whether the patients of a fold are in the part."""
        return (fold == self.fold) != self.without


def parse(split: str) -> Part | None:
    """Returns the part that a split's name denotes; None if it is not one of folds.

    Raises:
      UserError: there can be no such fold.
    """
    match = _NAME.fullmatch(split)
    if not match:
        return None
    part = Part(match[1], int(match[3]), int(match[4]), bool(match[2]))
    if part.of < 2 or not 1 <= part.fold <= part.of:
        raise UserError(
            f"There is no split '{split}': folds are numbered from 1, as {part.split}:fold_1_of_5."
        )
    return part


def fold_of_patients(builder, part: Part) -> dict[str, int]:
    """Returns {patient: number of their fold, from 1} of the split that a part is of.

    The folds hold equally many patients of each stratum, give or take one (scikit-learn's
    StratifiedKFold): the rarest class, or rarest positive label, of a patient's cases, as
    --label_fraction has it. Patients without a label are a stratum too.

    Args:
      builder: of a prepared dataset.
      part: names the split and the number of folds.

    Raises:
      UserError: fewer patients than folds.
    """
    return _folds(Prepared(builder), part.split, part.of)


@functools.lru_cache(maxsize=16)
def _folds(prepared: Prepared, split: str, num_folds: int) -> dict[str, int]:
    cases = _cases(prepared, split, AS_STORED)
    patients, first, number = np.unique(cases.patients, return_index=True, return_inverse=True)
    if len(patients) < num_folds:
        raise UserError(
            f"{num_folds} folds of split '{split}' of {prepared.builder.info.full_name}: it has "
            f"{len(patients):,} patients. Choose at most {len(patients)} folds."
        )
    of_patient = strata(cases, number, len(patients))
    order = np.argsort(first)  # as they are stored, whatever their ids are
    fold = np.zeros(len(patients), int)
    for i, members in enumerate(_held_out(of_patient[order], num_folds)):
        fold[order[members]] = i + 1
    return dict(zip(patients.tolist(), fold.tolist(), strict=True))


def _held_out(stratum: np.ndarray, num_folds: int) -> list[np.ndarray]:
    """Returns the numbers of the patients of each fold."""
    if np.bincount(stratum).max() < num_folds:
        stratum = np.zeros_like(stratum)  # each is too small to be shared out
    splitter = StratifiedKFold(num_folds, shuffle=True, random_state=_SHUFFLED_BY)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a rare class is in some folds only
        return [test for _, test in splitter.split(stratum, stratum)]


def open_part(builder, split: str, reading: LabelReading, **also: bool) -> Bags:
    """Returns the bags of a split, as `open_split` does, or of a fold of one.

    Args:
      builder: of a prepared dataset.
      split: as in `open_split`, or the `name` of a `Part`.
      reading: which images and labels.
      also: `open_split`'s with_metadata, with_image_ids and with_differential.

    Raises:
      UserError: as `open_split`; fewer patients than folds; or nothing is left in the part.
    """
    part = parse(split)
    if part is None:
        return open_split(builder, split, reading, **also)
    fold = fold_of_patients(builder, part)
    cases = _cases(Prepared(builder), part.split, reading)
    kept = np.array([part.holds(fold[patient]) for patient in cases.patients])
    if not kept.any():
        raise UserError(f"Split '{split}' of {builder.info.full_name} is empty.")
    return keep_cases(open_part(builder, part.split, reading, **also), cases, kept)


@functools.lru_cache(maxsize=8)
def _cases(prepared: Prepared, split: str, reading: LabelReading) -> Cases:
    """Returns the cases of a split that is divided; every fold asks for them."""
    return read_cases(open_part(prepared.builder, split, reading), 0)
