"""Reads back the predictions.csv of runs, and brings those of several runs to the same cases."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
import re

import numpy as np
import tensorflow as tf

from simclr_med.config import suffix_of
from simclr_med.errors import UserError
from simclr_med.run_folder import files, gfile, spreadsheet

_REPEAT = re.compile(r"(?:subset|seed)_(\d+)$")
_TRUTH_OF = "truth: "


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The scores of a run.

    Attributes:
      ids: of the cases, [n].
      patients: [n].
      truth: int [n], below 0 unknown; or, of several labels a case, float [n, L], NaN unknown.
      scores: float [n, classes]; NaN for a label without scores.
      class_names: of the classes or labels.
      path: where they were read.
    """

    ids: np.ndarray
    patients: np.ndarray
    truth: np.ndarray
    scores: np.ndarray
    class_names: tuple[str, ...]
    path: str = ""

    @property
    def multilabel(self) -> bool:
        """Returns whether a case has several labels."""
        return self.truth.ndim == 2

    @property
    def known(self) -> np.ndarray:
        """Returns which truth is known, bool [n], or [n, L] of several labels."""
        return ~np.isnan(self.truth) if self.multilabel else self.truth >= 0

    def take(self, rows: np.ndarray) -> Predictions:
        """Returns the selected cases; `rows` is a bool mask [n] or row indices."""
        names = ("ids", "patients", "truth", "scores")
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in names})

    def labelled(self) -> Predictions:
        """Returns the cases of which some truth is known."""
        return self.take(self.known.any(axis=1) if self.multilabel else self.known)


def runs_of(text: str) -> list[str]:
    """Returns the predictions files that one item of --runs means: of one run or of several.

    Args:
      text: a model_dir, one whose repeats are in seed_*/ (of a study: subset_*/seed_*/),
        MODEL_DIR:EVAL_NAME, a CSV file, or several of these joined by +.

    Raises:
      UserError: there is no such run, it was not evaluated yet, or it is given twice.
    """
    paths = [path for item in items(text, "+") for path in _files_of(item)]
    if twice := [path for i, path in enumerate(paths) if path in paths[:i]]:
        raise UserError(f"--runs: {twice[0]} is given twice on one side.")
    return paths


def items(text: str, mark: str) -> list[str]:
    """Returns the parts of A+B+C, or A,B,C, without empty ones.

    A separator within the name of a folder or file that exists does not split it.

    Args:
      text: of a flag.
      mark: the separator.
    """
    pieces, parts, start = text.split(mark), [], 0
    while start < len(pieces):
        end = start + 1
        if not _exists(pieces[start].strip()):
            longer = range(end + 1, len(pieces) + 1)
            existing = (n for n in longer if _exists(mark.join(pieces[start:n]).strip()))
            end = next(existing, end)
        parts.append(mark.join(pieces[start:end]).strip())
        start = end
    return [part for part in parts if part]


def _exists(text: str) -> bool:
    folder, _, eval_name = text.rpartition(":")
    named = folder and "/" not in eval_name and gfile.isdir(folder)
    return bool(named or text and gfile.exists(text))


def _files_of(text: str) -> list[str]:
    """Returns the predictions files of a model_dir, MODEL_DIR:EVAL_NAME or CSV file."""
    if text.endswith(".csv"):
        if not gfile.exists(text):
            raise UserError(f"--runs: there is no file {text}.")
        return [text]
    folder, eval_name = text, ""
    if not gfile.isdir(text) and ":" in text:
        folder, eval_name = text.rsplit(":", 1)
    if not gfile.isdir(folder):
        raise UserError(
            f"--runs: there is no run in {folder}. Give the --model_dir of a run, "
            "MODEL_DIR:EVAL_NAME, or a predictions.csv."
        )
    repeats = _repeats_in(folder)
    name = f"predictions{suffix_of(eval_name)}.csv"
    paths = [os.path.join(path, name) for path in repeats or [folder]]
    for path in paths:
        if not gfile.exists(path):
            run_dir = os.path.dirname(path)
            has = ", ".join(
                n for n in files.names(run_dir) if re.fullmatch(r"predictions.*\.csv", n)
            )
            raise UserError(
                f"--runs: {run_dir} holds no {name}"
                + (f", but {has} (MODEL_DIR:EVAL_NAME names one)." if has else ".")
                + f" Evaluate it first: --mode=eval --model_dir={run_dir}"
                + (f" --eval_name={eval_name}." if eval_name else ".")
            )
    return paths


def _repeats_in(folder: str) -> list[str]:
    """Returns the folders seed_* in a folder, those of subset_* too, by number."""
    matches = map(_REPEAT.search, (os.path.join(folder, n) for n in files.names(folder)))
    paths = [m.string for m in sorted(filter(None, matches), key=lambda m: int(m[1]))]
    is_subset = [os.path.basename(path).startswith("subset_") for path in paths]
    return [
        repeat
        for path, subset in zip(paths, is_subset)
        for repeat in (_repeats_in(path) if subset else [path])
    ]


def read_predictions(path: str) -> Predictions:
    """Returns what an evaluation wrote to predictions.csv.

    Raises:
      UserError: the file is not as `results.predictions_csv` writes it; says the line.
    """
    try:
        table = io.StringIO(files.read_text(path).removeprefix("\ufeff"), newline="")
        cells = ([spreadsheet.original(cell) for cell in row] for row in csv.reader(table) if row)
        header, *rows = list(cells) or [[]]
    except (tf.errors.OpError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path} cannot be read as a table: {error}.") from error
    multilabel = any(name.startswith(_TRUTH_OF) for name in header)
    needed = ["case_id", "patient_id", *([] if multilabel else ["truth", "prediction"])]
    missing = [name for name in needed if name not in header]
    if missing or not rows:
        what = f"the column {', '.join(missing)}" if missing else "any case"
        raise UserError(f"{path} is no predictions.csv of an evaluation: it lacks {what}.")
    if multilabel:
        names = [name[len(_TRUTH_OF) :] for name in header if name.startswith(_TRUTH_OF)]
        first = max(i for i, name in enumerate(header) if name.startswith(_TRUTH_OF)) + 1
    else:
        first = header.index("prediction") + 1
        names = header[first:]
    if sorted(header[first:]) != sorted(names) or len(set(names)) != len(names) or not names:
        raise UserError(f"{path}: the columns of scores do not name each class once.")
    score_columns = [header.index(name, first) for name in names]
    truth_columns = [header.index(_TRUTH_OF + n) for n in names] if multilabel else []
    ids, patients, scores = [], [], []
    truths: list = []  # of classes, or of lists of labels
    seen: set[str] = set()
    for line, row in enumerate(rows, start=2):
        if len(row) != len(header):
            raise UserError(f"{path}, case {line - 1}: {len(row)} fields, not {len(header)}.")
        case = row[header.index("case_id")]
        if case in seen:
            raise UserError(
                f"{path}: case {case} appears twice, the second time in row {line}. Keep one row "
                "per case."
            )
        seen.add(case)
        ids.append(case)
        patients.append(row[header.index("patient_id")])
        where = f"{path}, case {case}"
        scores.append([_number(row[c], f"{where}, {header[c]}") for c in score_columns])
        if multilabel:
            truths.append([_label(row[c], f"{where}, {header[c]}") for c in truth_columns])
        else:
            truths.append(_class(row[header.index("truth")], names, where))
            if np.isnan(scores[-1]).any():
                raise UserError(f"{where}: a class has no score.")
    return Predictions(
        np.array(ids), np.array(patients), np.array(truths), np.array(scores), tuple(names), path
    )


def align(runs: list[Predictions]) -> list[Predictions]:
    """Returns all runs with the cases, and the classes, in the order of the first.

    Raises:
      UserError: other classes, other cases, or another truth or patient of a case.
    """
    return [runs[0], *(_as_in(runs[0], run) for run in runs[1:])]


def check_same_classes(first: Predictions, other: Predictions) -> None:
    """Raises UserError where two runs have different classes, or only one is multi-label.

    Args:
      first, other: predictions of the runs.
    """
    if set(first.class_names) != set(other.class_names) or first.multilabel != other.multilabel:
        kind = [f"{'labels' if p.multilabel else 'classes'}" for p in (first, other)]
        raise UserError(
            f"{first.path} has the {kind[0]} {', '.join(first.class_names)}; {other.path} the "
            f"{kind[1]} {', '.join(other.class_names)}. Only equal ones can be compared."
        )


def in_order_of(first: Predictions, other: Predictions) -> Predictions:
    """Returns `other` with its classes in the order of `first`.

    Args:
      first, other: predictions with the same classes.
    """
    columns = [other.class_names.index(name) for name in first.class_names]
    if other.multilabel:
        truth = other.truth[:, columns]
    else:
        class_index = np.argsort(columns)  # of each of its classes among the first's
        truth = np.where(other.truth >= 0, class_index[other.truth], -1)
    scores = other.scores[:, columns]
    return dataclasses.replace(other, truth=truth, scores=scores, class_names=first.class_names)


def _as_in(first: Predictions, other: Predictions) -> Predictions:
    check_same_classes(first, other)
    first_ids, other_ids = set(first.ids), set(other.ids)
    if first_ids != other_ids:
        raise UserError(
            f"{first.path} and {other.path} hold different cases: {len(first_ids & other_ids)} in "
            f"common, {_some(first_ids - other_ids)} only in the first, {_some(other_ids - first_ids)} "
            "only in the second. Evaluate both on the same --eval_split (and --eval_steps)."
        )
    row_of_case = {case: i for i, case in enumerate(other.ids)}
    other = in_order_of(first, other).take(np.array([row_of_case[case] for case in first.ids]))
    same = (first.truth == other.truth) | ~(first.known | other.known)
    for what, equal in (
        ("truth", same.all(axis=1) if first.multilabel else same),
        ("patient", first.patients == other.patients),
    ):
        if not equal.all():
            raise UserError(
                f"{first.path} and {other.path} do not agree on the {what} of "
                f"{_some(first.ids[~equal])} cases. Evaluate both with the same data and the same "
                "policies for labels."
            )
    return other


def _some(ids) -> str:
    """Returns their number and the first few."""
    names = sorted(map(str, ids))
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} ({shown})" if names else "0"


def _number(text: str, where: str) -> float:
    try:
        return float(text) if text else float("nan")
    except ValueError as error:
        raise UserError(f"{where}: {text!r} is no score.") from error


def _label(text: str, where: str) -> float:
    values = {"": float("nan"), "0": 0.0, "1": 1.0}
    if text not in values:
        raise UserError(f"{where}: {text!r} is neither 1, 0 nor empty (unknown).")
    return values[text]


def _class(text: str, names: list[str], where: str) -> int:
    if text and text not in names:
        raise UserError(f"{where}: the truth {text!r} is none of {', '.join(names)}.")
    return names.index(text) if text else -1
