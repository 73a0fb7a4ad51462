"""Names of splits, and the split of a patient by a hash of the id: the same on every machine."""

import collections
import hashlib
from collections.abc import Iterable

# Shares of the patients: those of the paper's CheXpert split. (Its derm cases are 74/6/20.)
TRAIN_SHARE, VALIDATION_SHARE = 0.75, 0.10


def hash_split(patient_id: str) -> str:
    """Returns train, validation or test (75/10/15) from the id alone: the same on every machine."""
    share = patient_share(patient_id)
    if share < TRAIN_SHARE:
        return "train"
    return "validation" if share < TRAIN_SHARE + VALIDATION_SHARE else "test"


def patient_share(patient_id: str) -> float:
    """Returns a number in [0, 1) that spreads ids evenly: the first 64 bits of their SHA-256."""
    return int(hashlib.sha256(patient_id.encode()).hexdigest()[:16], 16) / 16**16


def hash_train_or_validation(patient_id: str) -> str:
    """Returns train or validation, where the test patients are given by an official list."""
    share = TRAIN_SHARE / (TRAIN_SHARE + VALIDATION_SHARE)
    return "train" if patient_share(patient_id) < share else "validation"


_SPELLINGS = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
_HOLDOUT = ("holdout", "hold-out", "hold_out", "held-out", "held_out")
USUAL = ("train", "validation", "test")


def canonical_split(name: str) -> str:
    """Returns train, validation or test for their usual spellings in any case; other names unchanged.

    Other names ("external", "fold0") are unchanged. "holdout" depends on whether there is a test split:
    see `canonical_splits`.

    >>> [canonical_split(name) for name in ("TRAIN", "val", "Testing", "holdout")]
    ['train', 'validation', 'test', 'holdout']
    """
    return _SPELLINGS.get(name.strip().casefold(), name)


def canonical_splits(names: Iterable[str]) -> tuple[list[str], dict[str, tuple[str, int]]]:
    """Returns the names of splits, row by row, in one spelling each, and what was renamed.

    Names that `canonical_split` does not know and that differ only in case become the first of them.
    "holdout" becomes test unless there is a test split: then it keeps its name, so that the two are not
    mixed.

    Returns:
      The names; and {name as written: (name in use, number of rows)} of those that changed.
    """
    names = list(names)
    has_test = any(canonical_split(name) == "test" for name in names)
    first: dict[str, str] = {} if has_test else dict.fromkeys(_HOLDOUT, "test")
    renamed: collections.Counter = collections.Counter()
    result = []
    for name in names:
        new = canonical_split(name)
        new = first.setdefault(new.strip().casefold(), new)
        if new != name:
            renamed[name, new] += 1
        result.append(new)
    return result, {name: (new, rows) for (name, new), rows in renamed.items()}


def renaming_note(renamed: dict[str, tuple[str, int]]) -> str:
    """Returns a note on the splits that were renamed; "" if none were."""
    if not renamed:
        return ""
    changes = [f"{old!r} is {new} ({rows:,} images)" for old, (new, rows) in renamed.items()]
    return f"Names of splits: {', '.join(changes)}."
