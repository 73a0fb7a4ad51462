"""What evaluated runs have in common: the pretraining that they came from, the labels that they used.

It is read from the files beside their predictions. What cannot be known counts as separate.
"""

from __future__ import annotations

import os
from collections.abc import Hashable, Sequence

from simclr_med import run_folder
from simclr_med.checkpoints.weights import initial
from simclr_med.evaluation import lineage
from simclr_med.run_folder import gfile

Blocks = tuple[Sequence[Hashable], Sequence[Hashable]]


def pretraining_of(predictions_path: str) -> str | None:
    """Returns what identifies the pretraining of a run among others of its recipe, None if unknown.

    That is the folder of a pretrained run; of a fine-tuned one its --checkpoint, or, from random
    weights, its --seed; of the probes of a study the digest of the encoder's weights.
    """
    folder = os.path.dirname(predictions_path)
    saved = _read(folder, "config.json")
    if not saved:
        evaluations = _read(folder, "experiment.json").get("evaluations", {})
        weights = (record.get("weights") for record in evaluations.values())
        return next(filter(None, weights), None)
    if saved.get("train_mode") != "finetune":
        return _real(folder)
    if start := saved.get("checkpoint"):
        return initial.read(folder) or _real(start)
    return f"random weights, seed {saved['seed']}" if "seed" in saved else _real(folder)


def num_pretrainings(origins: Sequence[str | None]) -> int | None:
    """Returns how many pretrainings the runs of a side come from; None if unknown.

    Args:
      origins: of each run, see `pretraining_of`.
    """
    return None if None in origins else len(set(origins))


def blocks_of(a: Sequence[str], b: Sequence[str]) -> tuple[Blocks | None, str]:
    """Returns what each run of two sides may have in common with one of the other, and its name.

    With few labels that is the labelled cases, which decide much of what such a run scores. With all
    of them it is the first pretraining, where all runs have one: MICLe and its control that go on
    from the same SimCLR. A seed alone is not counted: it decides weights and order, and little else.

    Args:
      a, b: paths of the predictions of the two sides' runs.

    Returns:
      The blocks of the runs of a and of b; None, and "", where they are unknown or there are none.
    """
    for block, name in ((_labels_of, "labelled cases"), (_first_pretraining, "first pretraining")):
        blocks = ([block(path) for path in a], [block(path) for path in b])
        if None not in blocks[0] and None not in blocks[1]:
            return blocks, name
    return None, ""


def _labels_of(predictions_path: str) -> str | None:
    """Returns what tells which labels a run used; None if all of them, or if that is unknown."""
    folder, name = os.path.split(predictions_path)
    result = _read(folder, name.replace("predictions", "result").replace(".csv", ".json"))
    if result.get("label_fraction", 1) == 1 or "seed" not in result:
        return None
    labels = (
        result.get("trained_on", result.get("dataset")),
        result.get("train_split"),
        result["label_fraction"],
        result.get("label_seed", result["seed"]),
    )
    return str((*labels, result["seed"]))


def _first_pretraining(predictions_path: str) -> str | None:
    """Returns the folder of the first of the runs that a run goes on from; None without one."""
    saved = _read(os.path.dirname(predictions_path), "config.json")
    runs = lineage.folders(saved)
    return _real(runs[-1]) if runs else None


def _read(folder: str, name: str) -> dict:
    path = os.path.join(folder, name)
    return run_folder.read_json(path) if gfile.exists(path) else {}


def _real(path: str) -> str:
    return path if "://" in path else os.path.realpath(path)
