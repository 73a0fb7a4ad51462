"""Labels as tables write them -> (label, weight) pairs; and the classes they are gathered into."""

import ast
import collections
import math
from collections.abc import Iterable

OTHER = "Other"  # the paper's name for all conditions but the commonest
Weights = tuple[tuple[str, float], ...]  # heaviest first, ties by name; () where there is no label


def parse_label(cell: str) -> Weights:
    """Returns the label of a cell with weight 1, or the labels and weights of a differential.

    A differential is written as SCIN does: {'Eczema': 0.7, 'Psoriasis': 0.3}. The quotes keep
    commas and colons inside a label; only what begins with a brace is read so. Weights stay as
    they are: they need not sum to 1. Of labels tied for the top, the first by name leads, however
    the cell lists them.

    Raises:
      ValueError: with the reason, if a cell that begins with a brace is no differential.
    """
    if not cell.startswith("{"):
        name = " ".join(cell.split())
        return ((name, 1.0),) if name else ()
    try:
        found = ast.literal_eval(cell)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError) as error:
        raise ValueError("is no list of labels with weights") from error
    if not isinstance(found, dict):
        raise ValueError("is no list of labels with weights")
    weights: dict[str, float] = {}
    for name, weight in found.items():
        name = " ".join(name.split()) if isinstance(name, str) else ""
        if not name or name in weights:
            raise ValueError("has a label that is blank, twice there, or not in quotes")
        if type(weight) not in (int, float) or not math.isfinite(weight) or weight < 0:
            raise ValueError(f"gives {name!r} the weight {weight!r}, which is no number from 0 up")
        weights[name] = float(weight)
    if weights and not any(weights.values()):
        raise ValueError("gives every label the weight 0")
    return sort_weights(weights)


def sort_weights(weights: dict[str, float]) -> Weights:
    """Returns the pairs, heaviest first, ties by name."""
    return tuple(sorted(weights.items(), key=lambda pair: (-pair[1], pair[0])))


def format_label(weights: Weights) -> str:
    """Returns `weights` in one way of writing, whatever way they were read from."""
    if len(weights) == 1 and weights[0][1] == 1 and not weights[0][0].startswith("{"):
        return weights[0][0]
    return repr(dict(weights)) if weights else ""


def commonest(labels: Iterable[str], number: int) -> set[str]:
    """Returns the `number` commonest labels, ties by name; a label "Other" is not counted."""
    counts = collections.Counter(label for label in labels if label not in ("", OTHER))
    return set(sorted(counts, key=lambda label: (-counts[label], label))[:number])


def gather(weights: Weights, kept: set[str]) -> Weights:
    """Returns `weights` with all labels but the `kept` ones added up under "Other"."""
    gathered: dict[str, float] = {}
    for name, weight in weights:
        name = name if name in kept else OTHER
        gathered[name] = gathered.get(name, 0.0) + weight
    return sort_weights(gathered)
