"""The sections of report.html that say where the numbers come from."""

from __future__ import annotations

import platform

import numpy as np
import tensorflow as tf

from simclr_med.config import FIELDS
from simclr_med.evaluation.report import page
from simclr_med.metrics import text


def configuration(config: dict) -> str:
    """Returns the fields that differ from their defaults, and the others to open."""
    changed: list[list[str]] = []
    others: list[list[str]] = []
    for name, value in config.items():
        if name not in FIELDS:
            changed.append([name, text.plain(value), text.DASH, "written by the run"])
            continue
        field = FIELDS[name]
        row = [name, text.plain(value), text.plain(field.default), field.metadata["help"]]
        (others if value == field.default else changed).append(row)
    columns = ["field", "value", "default", "meaning"]
    return page.table(columns, changed, words=True) + page.details(
        f"The {len(others)} fields at their defaults", page.table(columns, others, words=True)
    )


def data_and_versions(result: dict) -> str:
    """Returns what the data was, how labels were read, seeds, versions, and files."""
    rows = [
        ["dataset", result["dataset"]],
        ["trained on", result["train_split"]],
        ["evaluated on", result["eval_split"]],
        ["step of the checkpoint", str(result["global_step"])],
    ]
    for key, title in (
        ("label_fraction", "share of training labels used"),
        ("seed", "seed"),
        ("fingerprint", "fingerprint of the data"),
        ("labels", "how labels were read"),
        ("selection", "how the checkpoint was chosen"),
        ("contrastive", "contrastive training at its end"),
    ):
        if result.get(key) not in (None, {}, ""):
            rows.append([title, text.plain(result[key])])
    rows.append(
        [
            "versions",
            f"Python {platform.python_version()}, TensorFlow {tf.__version__}, NumPy {np.__version__}",
        ]
    )
    body = page.table(["what", "value"], rows, words=True)
    skipped = result.get("skipped_images") or []
    if skipped:
        listed = [[str(row), str(path), str(reason)] for row, path, reason in skipped]
        body += page.details(
            f"{len(skipped)} unreadable images were left out",
            page.table(["row", "path", "reason"], listed, words=True),
        )
    files = [[name, path] for name, path in (result.get("files") or {}).items()]
    return body + page.table(["file", "where it lies"], files, words=True)
