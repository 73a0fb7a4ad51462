"""data.json in a run's folder: what it was trained on, for whoever gets the model without the data."""

from __future__ import annotations

import os
import re
from typing import Any

from simclr_med.config import Config
from simclr_med.run_folder import gfile
from simclr_med.run_folder.folder import read_json, write_json

FILE = "data.json"
_KEPT = re.compile(r"(/folder_[0-9a-f]{10})_[0-9a-f]{6}(?=/|$)")


def name_of(builder) -> str:
    """Returns the full name of a prepared dataset, whatever metadata this copy of it stores.

    Two copies of one folder that differ in their metadata alone (--keep_metadata) hold the same
    images, labels and splits in the same order: a run of one goes on with the other.
    """
    return _KEPT.sub(r"\1", builder.info.full_name)


def write(
    model_dir: str,
    config: Config,
    builder,
    bags,
    reading: dict[str, str],
    without_cases: dict[str, list[str]],
    guess: dict[str, float],
) -> None:
    """Writes data.json: name, fingerprint and counts of the data, and how it was read.

    Args:
      model_dir: of the run.
      config: of the run.
      builder: of the prepared dataset.
      bags: the `data.Bags` that are trained on; fine-tuning leaves out what has no label.
      reading: how several labels a bag are read; {} where there is one or none.
      without_cases: {"training" | "selection": the classes, or labels, without a case there}; {} of a
        pretraining.
      guess: see `data.base_rates.constant_guess`; {} of a pretraining.
    """
    metadata = builder.info.metadata or {}
    facts = {
        "dataset": name_of(builder),
        "fingerprint": metadata.get("fingerprint"),
        "split": config.data.train_split,
        "bags": bags.num_bags,
        "images": bags.num_images,
        "bags_of_splits": {name: s.num_examples for name, s in builder.info.splits.items()},
        "patients_of_all_splits": metadata.get("num_patients"),
        "skipped_images": list(metadata.get("skipped_images", [])),
        "missing_images": metadata.get("missing_images", 0),
        "class_names": list(bags.class_names),
        "several_labels": bags.multilabel,
        "reading": reading,
        **{f"classes_without_{of}_cases": names for of, names in without_cases.items()},
        "constant_guess": guess,
    }
    write_json(os.path.join(model_dir, FILE), facts)


def write_classes(model_dir: str, bags) -> None:
    """Writes data.json of weights that were trained elsewhere: only the classes of their logits.

    Args:
      model_dir: where the weights are used.
      bags: of the data, whose classes the logits have.
    """
    facts = {"class_names": list(bags.class_names), "several_labels": bags.multilabel}
    write_json(os.path.join(model_dir, FILE), facts)


def read(model_dir: str) -> dict[str, Any]:
    """Returns the content of data.json; {} for a run that is older than the file.

    Of weights that were trained elsewhere it holds only what `write_classes` writes.
    """
    path = os.path.join(model_dir, FILE)
    return read_json(path) if gfile.exists(path) else {}
