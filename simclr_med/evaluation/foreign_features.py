"""Embeddings of other models (--features), with simclr_med's probes, splits, intervals and report.

A file holds a row per case, or per image: then a case has their mean. `--mode=embed` writes such files,
and so does any script: .npz with `case_id` [n] and `embeddings` (or `features`) [n, d]; .parquet with a
column case_id and either a list column `embedding` or a numeric column for each dimension.
"""

from __future__ import annotations

import dataclasses
import re
import zipfile

import numpy as np
import pandas as pd
import pyarrow as pa

from simclr_med.build import labelled_cases, open_bags
from simclr_med.config import Config
from simclr_med.data import label_fraction
from simclr_med.data.cases import read_cases
from simclr_med.errors import UserError
from simclr_med.evaluation import evaluate, of_scores, splits
from simclr_med.evaluation.probes import all_scores
from simclr_med.metrics import subgroups
from simclr_med.metrics.predictions import items
from simclr_med.run_folder import gfile

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_SHOWN = 3  # ids in a message


@dataclasses.dataclass(frozen=True)
class Features:
    """Embeddings under a name: rows of some files, a case each.

    Attributes:
      name: of the model that made them.
      paths: of the files.
      of_case: {case id: features, float32 [d]}.
    """

    name: str
    paths: tuple[str, ...]
    of_case: dict[str, np.ndarray]

    def of(self, ids: np.ndarray, split: str) -> np.ndarray:
        """Returns the features of some cases, float32 [n, d].

        Args:
          ids: of the cases, [n].
          split: that they are from, for the message.

        Raises:
          UserError: some have none; says how many and which.
        """
        missing = [str(case) for case in ids if str(case) not in self.of_case]
        if missing:
            shown = ", ".join(missing[:_SHOWN]) + (", ..." if len(missing) > _SHOWN else "")
            available = ", ".join(list(self.of_case)[:_SHOWN])
            raise UserError(
                f"--features={self.name}: {len(ids) - len(missing):,} of the {len(ids):,} cases of split "
                f"'{split}' have features in {' and '.join(self.paths)}, and {len(missing):,} have none "
                f"({shown}); ids there: {available}, .... Make them for all cases; files of several "
                "splits are joined by +."
            )
        return np.stack([self.of_case[str(case)] for case in ids])


def named(text: str) -> list[tuple[str, list[str]]]:
    """Returns [(name, paths)] of --features=NAME:FILE[+FILE2][,NAME2:FILE3].

    Raises:
      UserError: no name, a name that is no name for a folder, or one twice.
    """
    pairs: list[tuple[str, list[str]]] = []
    for item in items(text, ","):
        name, colon, files = item.partition(":")
        if not (colon and files and _NAME.fullmatch(name)):
            raise UserError(
                f"--features={item}: write NAME:FILE, as dinov2:dinov2.npz; NAME of letters, digits, . _ "
                "and -."
            )
        if name in dict(pairs):
            raise UserError(f"--features: the name {name} is given twice.")
        pairs.append((name, items(files, "+")))
    return pairs


def read(name: str, paths: list[str]) -> Features:
    """Returns the features that files hold.

    Args:
      name: of the model that made them.
      paths: of .npz and .parquet files, whose cases are joined.

    Raises:
      UserError: a file is missing, cannot be read, or holds no features; or widths differ.
    """
    ids: list[str] = []
    parts: list[np.ndarray] = []
    for path in paths:
        if not gfile.exists(path):
            raise UserError(f"--features={name}: there is no file {path}.")
        try:
            file_ids, rows = (_npz if path.endswith(".npz") else _parquet)(path)
        except (KeyError, ValueError, OSError, zipfile.BadZipFile, pa.ArrowException) as error:
            raise UserError(f"--features={name}: {path} holds no features ({error}).") from error
        rows = np.asarray(rows, np.float32)
        if rows.ndim != 2 or len(rows) != len(file_ids) or not np.isfinite(rows).all():
            raise UserError(
                f"--features={name}: {path} has features of shape {rows.shape} for {len(file_ids):,} "
                "ids: a row of finite numbers for each is needed."
            )
        if parts and parts[0].shape[1] != rows.shape[1]:
            widths = f"{parts[0].shape[1]:,} and {rows.shape[1]:,}"
            raise UserError(f"--features={name}: its files have features of {widths} numbers.")
        ids += [str(case) for case in file_ids]
        parts.append(rows)
    all_rows = np.concatenate(parts)
    order: dict[str, list[int]] = {}
    for row, case in enumerate(ids):
        order.setdefault(case, []).append(row)
    of_case = {
        case: all_rows[rows[0]] if len(rows) == 1 else all_rows[rows].mean(axis=0)
        for case, rows in order.items()
    }
    return Features(name, tuple(paths), of_case)


def _npz(path: str) -> tuple[np.ndarray, np.ndarray]:
    with np.load(path, allow_pickle=False) as stored:
        key = "embeddings" if "embeddings" in stored else "features"
        return stored["case_id"], stored[key]


def _parquet(path: str) -> tuple[np.ndarray, np.ndarray]:
    table = pd.read_parquet(path)
    if "case_id" not in table:
        raise KeyError("no column case_id")
    if "embedding" in table:
        return table["case_id"].to_numpy(), np.stack(table["embedding"].to_numpy())
    numbers = table.drop(columns="case_id").select_dtypes("number")
    if numbers.empty:
        raise KeyError("neither a column embedding nor columns of numbers")
    return table["case_id"].to_numpy(), numbers.to_numpy()


def evaluate_features(config: Config, builder, features: Features, folder: str) -> str:
    """Evaluates features as a pretrained run's are; writes its files into `folder`, which it returns.

    Args:
      config: with --train_split, --eval_split and how labels are read; its train mode is pretrain.
      builder: of the prepared dataset.
      features: of the cases of both splits.
      folder: to write into.

    Raises:
      UserError: cases without features, no labels, or patients in common.
    """
    run_values = {
        **splits.of_run(config, builder),
        "adopted_weights": f"features of {features.name}",
        "checkpoint": features.paths[0],  # a run's own folder tells what its encoder was trained on
    }
    patients = splits.check(config, builder, run_values, None)
    bags = open_bags(
        config, builder, config.data.eval_split, with_metadata=True, with_differential=True
    )
    subgroups.check_columns(config.eval.subgroups, bags)
    train_bags = open_bags(config, builder, config.data.train_split)
    train, chosen = labelled_cases(config, train_bags)
    cases = read_cases(bags, 0)
    if not cases.labelled.any():
        raise UserError(f"--features: split '{config.data.eval_split}' has no labelled case.")
    train_x = {"trained": features.of(train.ids[chosen], config.data.train_split)}
    test_x = {"trained": features.of(cases.ids, config.data.eval_split)}
    train_y = train.labels[chosen]
    scores, fitted = all_scores(
        train_x,
        train_y,
        train.patients[chosen],
        test_x,
        num_classes=len(bags.class_names),
        seed=config.run.seed,
    )
    untrained = label_fraction.without_cases(train_y, bags.class_names)
    measured = of_scores.measured(
        config,
        builder,
        bags,
        cases,
        scores,
        untrained=untrained,
        features=test_x,
        facts={
            "features": {"name": features.name, "files": list(features.paths)},
            "adopted_weights": run_values["adopted_weights"],
            "patients": patients,
            "probes": fitted,
        },
    )
    print(
        f"\n{features.name}: {test_x['trained'].shape[1]:,} numbers a case, a linear probe and kNN"
    )
    evaluate.write_files(config, folder, measured)
    return folder
