"""The supervised head of a file of weights, for --keep_head: checked, and read as that of `Model`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from simclr_med.checkpoints.weights.content import HEAD, Entry, Weights
from simclr_med.errors import UserError

_LISTED = 4  # names of classes in a message


@dataclasses.dataclass(frozen=True)
class Classes:
    """The classes of a head.

    Attributes:
      names: of the classes, or labels, in the order of the logits.
      multilabel: a sigmoid for each, because a case can have several.
    """

    names: tuple[str, ...]
    multilabel: bool = False


def entries(model, weights: Weights, classes: Classes, projection: list[str]) -> dict[str, Entry]:
    """Returns {name below our `Model`: entry} of the head; prints what has to be assumed of it.

    A file without names of classes has them in the order of the dataset: so it is in SimCLR's code,
    which takes the numbers of TFDS.

    Args:
      model: a built `Model` with a supervised head.
      weights: that were opened.
      classes: of the dataset.
      projection: how the layers of the projection head differ, in words; [] where they fit.

    Raises:
      UserError: no head, or of other classes, or on other features.
    """
    start = f"--keep_head: {weights.path}"
    kernel, bias = _find(weights, "kernel"), _find(weights, "bias")
    if kernel is None or bias is None:
        raise UserError(
            f"{start} ({weights.kind}) holds no head that classifies. Leave out --keep_head to "
            "train a new one."
        )
    _check_classes(start, weights, classes, kernel.shape[-1])
    width = model.supervised_head.dense.kernel.shape[0]
    selector = weights.ft_proj_selector
    if kernel.shape[-2] != width or selector not in (None, model.selected_stage):
        raise UserError(
            f"{start}: its head sees {kernel.shape[-2]:,} features"
            f"{f' (--ft_proj_selector={selector})' if selector is not None else ''}, and "
            f"--ft_proj_selector={model.selected_stage} gives {width:,}. Give the "
            "--ft_proj_selector, --num_proj_layers and --proj_out_dim that it was trained with."
        )
    if model.selected_stage and projection:
        raise UserError(
            f"{start}: its head sees a layer of its projection head, which does not fit: "
            f"{projection[0]}. Give the --proj_head_mode, --num_proj_layers and --proj_out_dim "
            "that it was trained with."
        )
    _say_what_is_assumed(weights, classes, model.selected_stage)
    return {
        f"{HEAD}dense/kernel": _reshaped(kernel, (width, kernel.shape[-1])),
        f"{HEAD}dense/bias": _reshaped(bias, (kernel.shape[-1],)),
    }


def _find(weights: Weights, part: str) -> Entry | None:
    """Returns the head's kernel or bias, whichever layer the file stores it in."""
    names = (f"{HEAD}dense/{part}", f"{HEAD}{part}")
    return next((weights.entries[name] for name in names if name in weights.entries), None)


def _reshaped(entry: Entry, shape: tuple[int, ...]) -> Entry:
    """Returns an entry as Dense has it: BiT's head is a convolution, [1, 1, d, classes]."""
    read: Callable[[], np.ndarray] = entry.read
    return Entry(shape, lambda: np.reshape(read(), shape))


def _check_classes(start: str, weights: Weights, classes: Classes, num_classes: int) -> None:
    in_file = weights.class_names
    todo = "Leave out --keep_head to train a new head."
    if num_classes != len(classes.names):
        words = f" ({_listed(in_file)})" if in_file else ""
        raise UserError(
            f"{start}: its head has {num_classes:,} classes{words}, and the dataset "
            f"{len(classes.names):,} ({_listed(classes.names)}). {todo}"
        )
    if in_file is not None and in_file != classes.names:
        differ = (i for i, (a, b) in enumerate(zip(in_file, classes.names)) if a != b)
        index = next(differ, 0)
        raise UserError(
            f"{start}: its head is for other classes than the dataset's, or in another order: "
            f"number {index + 1} is '{in_file[index]}' there and '{classes.names[index]}' here. {todo}"
        )
    if weights.multilabel not in (None, classes.multilabel):
        kinds = {False: "one class a case (softmax)", True: "several labels a case (sigmoids)"}
        raise UserError(
            f"{start}: its head was trained for {kinds[not classes.multilabel]}, and the dataset "
            f"has {kinds[classes.multilabel]}. {todo}"
        )


def _say_what_is_assumed(weights: Weights, classes: Classes, selector: int) -> None:
    assumed = []
    if weights.class_names is None:
        assumed.append(
            f"its {len(classes.names):,} classes are the dataset's, in this order: "
            f"{_listed(classes.names)}"
        )
    if weights.ft_proj_selector is None:
        assumed.append(f"it sees --ft_proj_selector={selector}")
    if assumed:
        print(
            f"Note: {weights.path} does not say what its head is for. Assumed: "
            f"{'; and '.join(assumed)}. If that is not so, its scores mean nothing."
        )


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _LISTED
    return ", ".join(names[:_LISTED]) + (f", ... ({more:,} more)" if more > 0 else "")
