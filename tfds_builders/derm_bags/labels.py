"""Labels as tables write them -> (label, weight) pairs; and the classes they are gathered into."""

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
    notes: tuple[str, ...]  # what was taken for no label, and which spellings were joined


def read_labels(cells: Iterable[str], missing: str = MISSING_LABELS) -> LabelColumn:
    """Returns the labels of a column.

    Values that mean nothing are no label. Labels that differ in case, spaces or Unicode form only, or
    are one number written twice (0, 0.0), are one: in the commonest spelling, of several such the first
    in the order of text.

    Args:
      cells: of all rows.
      missing: values that mean that there is no label, separated by commas; case does not matter.
    """
    nothing = {fold(value) for value in missing.split(",")} | {""}
    counts = collections.Counter(cells)
    parsed, errors = {}, {}
    rows_of: collections.Counter = collections.Counter()  # label -> rows
    left_out: collections.Counter = collections.Counter()  # value that means nothing -> rows
    for cell, rows in counts.items():
        try:
            weights = parse_label(cell)
        except ValueError as error:
            errors[cell] = str(error)
            continue
        named = tuple(pair for pair in weights if fold(pair[0]) not in nothing)
        parsed[cell] = named if any(weight for _, weight in named) else ()
        rows_of.update({name: rows for name, _ in parsed[cell]})
        left_out.update({name: rows for name, _ in weights if fold(name) in nothing})
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
            others = ", ".join(f"{name!r} ({rows_of[name]:,} rows)" for name in names[1:])
            notes.append(
                f"label {names[0]!r} ({rows_of[names[0]]:,} rows) is also {others}: joined"
            )
    return spelling, sorted(notes)


def _respell(weights: Weights, spelling: Mapping[str, str]) -> Weights:
    added: dict[str, float] = {}
    for name, weight in weights:
        added[spelling[name]] = added.get(spelling[name], 0.0) + weight
    return sort_weights(added)


def parse_label(cell: str) -> Weights:
    """Returns the label of a cell with weight 1, or the labels and weights of a differential.

    A differential is written as SCIN does: {'Eczema': 0.7, 'Psoriasis': 0.3}. The quotes keep
    commas and colons inside a label; only what begins with a brace is read so. Weights stay as
    they are: they need not sum to 1. Of labels tied for the top the first in the cell leads: the order
    is the publisher's.

    Raises:
      ValueError: with the reason, if a cell that begins with a brace is no differential.
    """
    if not cell.startswith("{"):
        name = plain(cell)
        return ((name, 1.0),) if name else ()
    text = re.sub(r"\bnp\.float(?:32|64)\(([^()]*)\)", r"\1", cell)  # as NumPy 2 shows a number
    try:
        tree = ast.parse(text, mode="eval").body
        found = ast.literal_eval(tree)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("is no list of labels with weights") from error
    if not isinstance(found, dict) or not isinstance(tree, ast.Dict):
        raise ValueError("is no list of labels with weights")
    weights: dict[str, float] = {}
    for name, weight in found.items():
        name = plain(name) if isinstance(name, str) else ""
        if not name or name in weights or len(found) < len(tree.keys):
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
    """Returns the `number` commonest labels, ties by name; a label "Other" is not counted."""
    counts = collections.Counter(label for label in labels if fold(label) not in ("", fold(OTHER)))
    return set(sorted(counts, key=lambda label: (-counts[label], label))[:number])


def gather(weights: Weights, kept: set[str]) -> Weights:
    """Returns `weights` with all labels but the `kept` ones added up under "Other"."""
    gathered: dict[str, float] = {}
    for name, weight in weights:
        name = name if name in kept else OTHER
        gathered[name] = gathered.get(name, 0.0) + weight
    return sort_weights(gathered)
