"""Guesses what folder names mean: splits, labels, or neither (parts of an archive, patients, visits)."""

import re
from collections.abc import Iterable, Sequence

from tfds_builders.errors import DataError
from tfds_builders.splits import USUAL, canonical_split

# Folders of such names, numbered, hold a part of the images, or those of a person or an occasion.
_PARTS = re.compile(
    r"parts?|images?|imgs?|photos?|pictures?|pics?|scans?|data|files?|batch|chunk|folder|dir|dis[ck]|cd|dvd"
    r"|box|fold|split|set|patients?|pat|pt|p|person|subjects?|subj|sub|participant|cases?|study|series"
    r"|visit|session|exam|id|site|cent(er|re)|clinic|hospital|ward|room|device|camera|scanner|day|week"
    r"|month|year|date"
)
# Folders of such names hold the same cases in another form.
_FORMS = re.compile(
    r"images?|imgs?|masks?|labels?|annotations?|segmentations?|groundtruth|raw|(pre)?processed|originals?"
    r"|thumbnails?|metadata"
)
_MANY, _FEW = 10, 5  # this many folders, of fewer images on average, are cases or patients


def is_split(name: str) -> bool:
    """Returns whether the name of a folder is a usual spelling of train, validation or test."""
    return canonical_split(name) in USUAL


def not_labels(names: Iterable[str], num_images: int = 0) -> str:
    """Returns what folder names look like, such as "numbered parts"; "" if they may be labels.

    Args:
      names: of the folders.
      num_images: in all of them; 0 leaves out how many there are in each.

    >>> not_labels(["images_001", "images_002"])
    'numbered parts or persons'
    >>> not_labels(["grade 1", "grade 2"])
    ''
    """
    names = sorted(set(names))
    if len(names) == 1:
        return "one folder of everything"
    if any(map(is_split, names)):
        return "splits, but for some of them"
    if any(_FORMS.fullmatch(name.casefold()) for name in names):
        return "forms of the same images"
    digits = [re.sub(r"[\W_]", "", name) for name in names]
    if all(map(str.isdigit, digits)) and max(map(len, digits)) > 2:
        return "numbers of cases or patients, or dates"
    numbered = [re.fullmatch(r"(.*?)[\W_]*\d+", name.casefold()) for name in names]
    stems = {match[1] for match in numbered if match}
    if len(stems) == 1 and all(numbered):
        (stem,) = stems
        if _PARTS.fullmatch(re.split(r"[\W_]+", stem)[-1]):
            return "numbered parts or persons"
    if len(names) >= _MANY and 0 < num_images < _FEW * len(names):
        return f"{len(names):,} cases or patients with {num_images / len(names):.1f} images each"
    return ""


def check_splits(folder: str, parts: Sequence[Sequence[str]]) -> None:
    """Raises DataError unless paths can be read as split/label/...

    Args:
      folder: for the message.
      parts: [split, label, ..., name] of each image; at least one is of a usual split.

    Raises:
      DataError: there is no train; a folder beside the usual splits has labels of its own; or no label is
        in two splits, so that what seem to be labels may be cases.
    """
    labels: dict[str, set[str]] = {}
    for top, label, *_ in parts:
        labels.setdefault(canonical_split(top), set()).add(label)
    usual = {split: of_split for split, of_split in labels.items() if split in USUAL}
    example = f"{folder}/{'/'.join(parts[0])}"
    advice = (
        "name the folders split/label/image or split/label/case/image, with a split 'train', or write a "
        "manifest.csv"
    )
    if "train" not in usual:
        raise DataError(
            f"{example} seems to be in folders split/label ({', '.join(sorted(usual))}), but there "
            f"is no folder train: {advice}."
        )
    known = set.union(*usual.values())
    for split, of_split in labels.items():
        if not of_split <= known:
            raise DataError(
                f"{folder}/{split} is beside {', '.join(sorted(usual))} and has a folder "
                f"{min(of_split - known)!r} that none of these has: is it a split or a label? {advice}."
            )
    all_labels = [label for of_split in labels.values() for label in of_split]
    if len(labels) > 1 and len(set(all_labels)) == len(all_labels):
        raise DataError(
            f"{example} seems to be in folders split/label, but no label is in two of the splits "
            f"{', '.join(sorted(labels))}: if the folders are cases, read the images without labels with "
            "--bag_regex='[^/]+/([^/]+)/'; else name them alike."
        )


def some(names: Iterable[str], number: int = 5) -> str:
    """Returns the first of the sorted names, and how many more there are.

    Args:
      names: any number of them.
      number: how many to list.
    """
    names = sorted(names)
    more = len(names) - number
    return ", ".join(names[:number]) + (f" and {more:,} more" if more > 0 else "")
