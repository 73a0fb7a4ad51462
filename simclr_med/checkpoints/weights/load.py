"""Starts a model from weights: the whole encoder or nothing, the projection head where it fits; the
classification head only on request, and then it must fit too.
"""

from __future__ import annotations

import numpy as np

from simclr_med.checkpoints.weights import head
from simclr_med.checkpoints.weights.architecture import architecture
from simclr_med.checkpoints.weights.content import HEAD, Entry, Weights, translate_read_errors
from simclr_med.checkpoints.weights.object_graph import names_of_variables
from simclr_med.checkpoints.weights.open import open_weights
from simclr_med.errors import UserError
from simclr_med.models import Model
from simclr_med.models.encoder import Encoder
from simclr_med.run_folder import terminal

_ENCODER, _PROJECTION = "encoder/", "projection_head/"


def load(model: Model, weights: str | Weights, classes: head.Classes | None = None) -> str:
    """Loads encoder and, where it fits, projection head; prints a table of what matched.

    The supervised head only with `classes`: one trained beside pretraining has seen every label,
    which would reach a fine-tuning that is to see a share of them.

    Args:
      model: a built `Model`.
      weights: a path that `open_weights` knows, or what it returned.
      classes: those that the model is to tell apart, to load the head too (--keep_head).

    Returns:
      What was loaded, in words.

    Raises:
      UserError: nothing there, a damaged file, or the encoder, or the head that is to be kept, does
        not match in every variable; then nothing was changed, and it says what differs and which
        flags would fit.
    """
    weights = open_weights(weights) if isinstance(weights, str) else weights
    path = weights.path
    if weights.encoder is None:
        print(
            f"Note: no config.json of a run of simclr_med is beside {path}, so nothing says which family "
            f"its encoder is of; taken for {model.encoder.family} with pixels in range "
            f"{model.encoder.input_range}{', and shortcuts that pool' * model.encoder.pooled_shortcuts}."
        )
    variables = names_of_variables(model)
    expected = {name: tuple(v.shape) for name, v in variables.items()}
    _check_encoder(weights, expected, model.encoder)
    projection = _of(expected, _PROJECTION)
    layers = tuple(f"{_PROJECTION}blocks/{i}/" for i in range(len(model.projection_head.blocks)))
    differing = _differing(projection, weights.shapes(), layers)
    entries = {name: weights.entries[name] for name in _of(expected, _ENCODER)}
    if not differing:
        entries |= {name: weights.entries[name] for name in projection}
    if classes:
        entries |= head.entries(model, weights, classes, differing)
    # All are read before anything changes, and again below, so that only one is in memory at a time.
    _check_values(weights.path, entries)
    for name, entry in entries.items():
        variables[name].assign(entry.read())
    terminal.show([_table(weights, expected, differing, keep_head=classes is not None)])
    counts = [f"encoder {len(_of(expected, _ENCODER))}/{len(_of(expected, _ENCODER))}"]
    if projection and not differing:
        counts.append(f"projection head {len(projection)}/{len(projection)}")
    elif projection:
        counts.append("projection head new")
    if classes:
        counts.append(f"head 2/2, {len(classes.names):,} classes")
    return f"Loaded variables of {path} ({weights.kind}): {', '.join(counts)}."


def _check_encoder(weights: Weights, expected: dict, encoder: Encoder) -> None:
    family, pooled = encoder.family, weights.pooled_shortcuts
    differing = _differing(_of(expected, _ENCODER), weights.shapes(), (_ENCODER,))
    if weights.encoder not in (None, family):
        differing.insert(0, f"it is of --encoder={weights.encoder}, not of {family}")
    if pooled is None:
        pooled = encoder.pooled_shortcuts
    elif pooled != encoder.pooled_shortcuts:
        differing.append(
            f"its shortcuts {'' if pooled else 'do not '}pool as with --sk_ratio above 0"
        )
    if not differing:
        return
    actual = architecture(weights.shapes(), weights.encoder, pooled)
    configured = architecture(expected, family, encoder.pooled_shortcuts)
    if actual and actual.depth and configured and actual != configured:
        advice = f"It holds {actual.words()}: give {actual.flags(configured)}."
    else:
        advice = "Give the flags of the model that wrote it."
    raise UserError(
        f"--checkpoint={weights.path}: its encoder is not the one of this configuration: "
        f"{'; '.join(differing)}. {advice}"
    )


def _check_values(path: str, entries: dict[str, Entry]) -> None:
    for name, entry in entries.items():
        with translate_read_errors(path):
            value = entry.read()
        if not np.isfinite(value).all():
            raise UserError(
                f"--checkpoint={path}: {name} holds values that are not finite. Its "
                "training diverged; take an earlier one."
            )


def _of(shapes: dict, part: str) -> dict:
    return {name: shape for name, shape in shapes.items() if name.startswith(part)}


def _differing(expected: dict, in_file: dict, complete: tuple[str, ...]) -> list[str]:
    """Returns in words how variables of a file differ from a model's; [] where they fit.

    Args:
      expected: {name: shape} of the model.
      in_file: the same of the file.
      complete: prefixes below which the file may have no more variables than the model.
    """
    missing = [name for name in expected if name not in in_file]
    surplus = sorted(n for n in in_file if n.startswith(complete) and n not in expected)
    other = [
        f"{name} is {list(in_file[name])}, not {list(shape)}"
        for name, shape in expected.items()
        if name in in_file and in_file[name] != shape
    ]
    words = []
    if missing:
        words.append(f"{len(missing)} of {len(expected)} variables missing, as {missing[0]}")
    if surplus:
        words.append(f"{len(surplus)} variables more, as {surplus[0]}")
    if other:
        words.append(f"{len(other)} of another shape: {', '.join(other[:3])}")
    return words


def _table(
    weights: Weights, expected: dict, differing: list[str], keep_head: bool
) -> tuple[str, list[str], list[list[str]]]:
    shapes = weights.shapes()
    rows = []
    for part, name in ((_ENCODER, "encoder"), (_PROJECTION, "projection head"), (HEAD, "head")):
        in_model, in_file = len(_of(expected, part)), len(_of(shapes, part))
        matched, remark = in_model, ""
        if part == HEAD and not keep_head:
            matched = 0
            remark = "new: the file's has seen labels (--keep_head)" if in_file else "new"
        elif part == _PROJECTION and differing:
            matched = 0
            remark = f"new: {differing[0]}" if in_file else "new: the file has none"
        elif in_file > in_model:
            remark = f"{in_file - in_model} of layers that this model has not"
        if in_model or in_file:
            rows.append([name, str(matched), str(in_model), str(in_file), remark])
    if weights.num_other:
        rows.append(["optimizer, counters, other", "0", "0", str(weights.num_other), "not needed"])
    title = f"{weights.path}: {weights.kind}"
    return title, ["Variables", "loaded", "of the model", "in the file", "remark"], rows
