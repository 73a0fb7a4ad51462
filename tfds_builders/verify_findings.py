"""Problems and notes of `verify` about labels, splits and published numbers.

Each function takes a `Verification` and returns lines of text.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tfds_builders.splits import USUAL

if TYPE_CHECKING:
    from tfds_builders.verify import Verification

OFFICIAL = "official_"  # prefix of splits defined by a publisher
_SHOWN = 10  # names in one message


def lost_labels(result: Verification) -> list[str]:
    """Returns a problem if all images of a class, or all positive ones of a label, were left out."""
    if not result.lost_labels:
        return []
    names = [f"{name} ({images:,} images)" for name, images in result.lost_labels.items()]
    return [
        f"Classes or labels all of whose images are missing or unreadable: {some(names)}. Replace the "
        "files, or remove their rows."
    ]


def untrained_labels(result: Verification) -> list[str]:
    """Returns a problem if a class has no case in train, or a label no positive image there.

    A class that a differential of a training case gives some weight is learnt from it.
    """
    train = result.splits.get("train")
    if train is None:
        return []
    learnt = {*train.classes} | train.weighted
    classes = [name for name in result.classes if name not in learnt]
    labels = [name for name, counts in train.labels.items() if not counts.positive]
    names = [name for name in (*classes, *labels) if name not in result.lost_labels]
    if not names:
        return []
    what = (
        "Classes without a case in 'train'"
        if classes
        else "Labels without a positive image in 'train'"
    )
    return [
        f"{what}: {some(names)}. They cannot be learnt: give some of their patients to 'train', or leave "
        "them out."
    ]


def unused_splits(result: Verification) -> list[str]:
    """Returns a problem for each split that no command reads unless it is named."""
    return [
        f"Split {name!r} ({counts.bags:,} bags) is used by no command unless it is named: rename it to "
        f"train, validation or test, or name it, as in --eval_split={name}."
        for name, counts in result.splits.items()
        if name not in USUAL and not name.startswith(OFFICIAL)
    ]


def ties(result: Verification) -> list[str]:
    """Returns a note if cases have several heaviest labels."""
    numbers = {split: counts.ties for split, counts in result.splits.items() if counts.ties}
    if not numbers:
        return []
    labelled = sum(
        bags
        for counts in result.splits.values()
        for name, bags in counts.classes.items()
        if name in result.classes
    )
    by_split = ", ".join(f"{split} {number:,}" for split, number in numbers.items())
    total = sum(numbers.values())
    return [
        f"Cases with several heaviest labels: {total:,} of {labelled:,} with a label ({by_split}). "
        "`label` is one of them; `label_weights` has all, and fine-tuning trains towards their shares."
    ]


def missing_images(result: Verification) -> tuple[list[str], list[str]]:
    """Returns (problems, notes) about images that tables name and the folder lacks."""
    if not result.num_missing:
        return [], []
    names = some(result.missing, result.num_missing, shown=3, between="; ")
    line = (
        f"Images that the table has and {result.image_root or result.source} has not: "
        f"{result.num_missing:,} ({names})."
    )
    if result.near_images:
        listed_path, path = result.near_images[0]
        line += f" Some are there under another spelling ({listed_path!r} as {path!r}): rename the files."
    if result.is_part:
        return [], [f"{line} A part is meant (--on_missing_image=skip)."]
    advice = " Complete the download, or say with --on_missing_image=skip that a part is meant."
    return [line + advice], []


def published_numbers(result: Verification) -> tuple[list[str], list[str]]:
    """Returns (problems, notes) about numbers that are not as published.

    Fewer than published is a note if the tables have fewer rows, or if images are missing, which is
    reported elsewhere. More than published is a problem.
    """
    problems, notes = [], []
    left_out = result.num_missing or result.unreadable
    for name, (published, counted) in result.expected.items():
        if counted == published:
            continue
        line = f"{name}: {published:,} were published, {counted:,} found."
        in_tables = result.in_tables.get(name)
        if in_tables is None or counted > published:
            problems.append(line)
        elif in_tables < published:
            notes.append(f"{line[:-1]}; the tables have {in_tables:,}, a part.")
        elif left_out:
            notes.append(f"{line[:-1]}; the tables have all, some images are left out.")
        else:
            problems.append(line)
    return problems, notes


def some(names, total: int = 0, shown: int = _SHOWN, between: str = ", ") -> str:
    """Returns the first names, and how many more there are.

    Args:
      names: any number of them.
      total: number of all names, if `names` are the first; 0: len(names).
      shown: how many to list.
      between: separator.
    """
    names = list(names)
    more = (total or len(names)) - len(names[:shown])
    return between.join(names[:shown]) + (f"{between}and {more:,} more" if more > 0 else "")
