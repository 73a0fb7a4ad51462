"""Parses labels as tables write them into (label, weight) pairs, and groups them into classes."""

import ast
import collections
import dataclasses
import math
import re
from collections.abc import Iterable, Mapping

from tfds_builders.spelling import fold, fold_number, plain

OTHER = "Other"  # the paper's name for all conditions but the commonest
MISSING_LABELS = "nan,na,n/a,none,null,unknown,-"  # in whatever case; an empty cell always is
Weights = tuple[
    tuple[str, float], ...
]  # heaviest first, ties as the cell has them; () without label
_EXAMPLES = 8  # spellings in a note


@dataclasses.dataclass(frozen=True)
class LabelColumn:
    """All cells of a label column, read by one rule."""

    weights: Mapping[str, Weights]  # cell -> its labels, one spelling for each
    errors: Mapping[str, str]  # cell -> why it cannot be read
    notes: tuple[str, ...]  # values read as missing, and spellings that were joined


def read_labels(cells: Iterable[str], missing: str = MISSING_LABELS) -> LabelColumn:
    """Returns the labels of a column.

    Values in `missing` are no label. Labels that differ only in case, spaces or Unicode form, or in how
    a number is written (0, 0.0), are one label, in the commonest spelling; ties go to the first in
    alphabetical order.

    Args:
      cells: of all rows.
      missing: values that mean that there is no label, separated by commas; case does not matter.
    """
    no_label = {fold(value) for value in missing.split(",")} | {""}
    counts = collections.Counter(cells)
    parsed, errors = {}, {}
    rows_of: collections.Counter = collections.Counter()  # label -> rows
    left_out: collections.Counter = collections.Counter()  # value in `missing` -> rows
    for cell, rows in counts.items():
        try:
            weights = parse_label(cell)
        except ValueError as error:
            errors[cell] = str(error)
            continue
        labels = tuple(pair for pair in weights if fold(pair[0]) not in no_label)
        parsed[cell] = labels if any(weight for _, weight in labels) else ()
        rows_of.update({name: rows for name, _ in parsed[cell]})
        left_out.update({name: rows for name, _ in weights if fold(name) in no_label})
    spelling, notes = _join_spellings(rows_of)
    if left_out:
        some = ", ".join(f"{name!r} ({n:,})" for name, n in left_out.most_common(_EXAMPLES))
        notes.insert(
            0,
            f"{left_out.total():,} labels mean that there is none: {some}; if one of them is a class, "
            "give --missing_labels without it",
        )
    joined = {cell: _respell(weights, spelling) for cell, weights in parsed.items()}
    return LabelColumn(joined, errors, tuple(notes))


def _join_spellings(rows_of: Mapping[str, int]) -> tuple[dict[str, str], list[str]]:
    """Returns label -> the spelling it gets, and a note for each label of several spellings."""
    groups: dict[str, list[str]] = {}
    for name in rows_of:
        groups.setdefault(fold_number(name), []).append(name)
    spelling, notes = {}, []
    for names in groups.values():
        names.sort(key=lambda name: (-rows_of[name], name))
        spelling.update(dict.fromkeys(names, names[0]))
        if len(names) > 1:
            variants = ", ".join(f"{name!r} ({rows_of[name]:,} rows)" for name in names[1:])
            notes.append(
                f"label {names[0]!r} ({rows_of[names[0]]:,} rows) is also {variants}: joined"
            )
    return spelling, sorted(notes)


def _respell(weights: Weights, spelling: Mapping[str, str]) -> Weights:
    summed: dict[str, float] = {}
    for name, weight in weights:
        summed[spelling[name]] = summed.get(spelling[name], 0.0) + weight
    return sort_weights(summed)


def parse_label(cell: str) -> Weights:
    """Returns the label of a cell with weight 1, or the labels and weights of a differential.

    A differential is written as SCIN does: {'Eczema': 0.7, 'Psoriasis': 0.3}. The quotes keep
    commas and colons inside a label; only cells that begin with a brace are read so. Weights
    are not normalised. Labels of equal weight stay in the order of the cell, which is the publisher's.

    Raises:
      ValueError: with the reason, if a cell that begins with a brace is no differential.
    """
    if not cell.startswith("{"):
        name = plain(cell)
        return ((name, 1.0),) if name else ()
    text = re.sub(r"\bnp\.float(?:32|64)\(([^()]*)\)", r"\1", cell)  # as NumPy 2 shows a number
    try:
        tree = ast.parse(text, mode="eval").body
        parsed = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("is no list of labels with weights") from error
    if not isinstance(parsed, dict) or not isinstance(tree, ast.Dict):
        raise ValueError("is no list of labels with weights")
    weights: dict[str, float] = {}
    for name, weight in parsed.items():
        name = plain(name) if isinstance(name, str) else ""
        if not name or name in weights or len(parsed) < len(tree.keys):
            raise ValueError("has a label that is blank, twice there, or not in quotes")
        if type(weight) not in (int, float) or not _is_weight(weight):
            raise ValueError(f"gives {name!r} the weight {weight!r}, which is no number from 0 up")
        weights[name] = float(weight)
    if weights and not any(weights.values()):
        raise ValueError("gives every label the weight 0")
    return sort_weights(weights)


def _is_weight(weight: float) -> bool:
    try:
        return math.isfinite(weight) and weight >= 0
    except OverflowError:  # a whole number beyond all floats
        return False


def sort_weights(weights: dict[str, float]) -> Weights:
    """Returns the pairs, heaviest first, ties in their order."""
    return tuple(sorted(weights.items(), key=lambda pair: -pair[1]))


def is_tied(weights: Weights) -> bool:
    """Returns whether several labels have the greatest weight."""
    return len(weights) > 1 and weights[0][1] == weights[1][1]


def format_label(weights: Weights) -> str:
    """Returns `weights` as a cell has them."""
    if len(weights) == 1 and weights[0][1] == 1 and not weights[0][0].startswith("{"):
        return weights[0][0]
    return repr(dict(weights)) if weights else ""


def commonest(labels: Iterable[str], number: int) -> set[str]:
    """Returns the `number` commonest labels, ties by name; a label "Other" is not counted.

    Args:
      labels: of the cases, "" without a label.
      number: of labels to return.
    """
    counts = collections.Counter(label for label in labels if fold(label) not in ("", fold(OTHER)))
    return set(sorted(counts, key=lambda label: (-counts[label], label))[:number])


def gather(weights: Weights, kept: set[str]) -> Weights:
    """Returns `weights` with all labels that are not in `kept` summed up as "Other".

    Args:
      weights: of one case.
      kept: labels that stay.
    """
    gathered: dict[str, float] = {}
    for name, weight in weights:
        name = name if name in kept else OTHER
        gathered[name] = gathered.get(name, 0.0) + weight
    return sort_weights(gathered)
