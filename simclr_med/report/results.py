"""What an evaluation found, for people: the table on the terminal, and predictions.csv."""

from __future__ import annotations

import csv
import io
import os

import numpy as np
import rich.console
import rich.table

_TITLES = {"top_1": "top-1", "macro_auc": "macro-AUC", "macro_ap": "macro-AP"}
_WHAT = {
    "predictions": "scores of every case",
    "embedding": "the cases in two dimensions",
    "saved_model": "the encoder, for use elsewhere",
    "checkpoint": "what was evaluated",
    "result": "all numbers",
    "curves": "how training went",
    "views": "pairs as the network sees them",
}


def predictions_csv(ids, patients, truth: np.ndarray, scores: np.ndarray, class_names) -> str:
    """Returns a row per case: case_id, patient_id, the truth, and a score for each class or label.

    Args:
      ids: of the cases, [n].
      patients: of the cases, [n].
      truth: int [n], below 0 unknown; or float [n, L], NaN unknown.
      scores: float [n, classes].
      class_names: of the classes or labels.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    several = truth.ndim == 2
    truth_columns = [f"truth: {name}" for name in class_names] if several else ["truth"]
    guess_columns = [] if several else ["prediction"]
    writer.writerow(["case_id", "patient_id", *truth_columns, *guess_columns, *class_names])
    for i in range(len(scores)):
        if several:
            said = ["" if np.isnan(value) else f"{value:.0f}" for value in truth[i]]
        else:
            said = [class_names[truth[i]] if truth[i] >= 0 else ""]
            said.append(class_names[int(scores[i].argmax())])
        values = ["" if np.isnan(score) else f"{score:.6f}" for score in scores[i]]
        writer.writerow([ids[i], patients[i], *said, *values])
    return text.getvalue()


def print_table(result: dict) -> None:
    """Prints what result.json holds: the table, what was left out, and where everything lies."""
    console = rich.console.Console(width=None if os.isatty(1) else 100, highlight=False)
    contrastive = result["contrastive"]
    if contrastive:
        console.print(
            f"Contrastive loss {contrastive['loss']:.3f} (chance, ln(2N-1): "
            f"{contrastive['chance_loss']:.3f}), accuracy {contrastive['accuracy']:.3f} (chance, "
            f"1/N: {contrastive['chance_accuracy']:.3f}), on training batches at the end."
        )
    if result["classification"]:
        console.print(_table(result))
        for line in _undefined(result):
            console.print(line, markup=False)
    else:
        console.print("No labelled cases: nothing was probed.")
    if result["labels"]:
        said = ", ".join(f"{name} {value}" for name, value in result["labels"].items())
        console.print(f"Labels: {said}", markup=False)
    if result["skipped_images"]:
        console.print(f"{len(result['skipped_images'])} unreadable images were left out:")
        for row, path, reason in result["skipped_images"][:20]:
            console.print(f"  row {row}: {path}: {reason}", markup=False)
    console.print("Everything lies here:")
    for name, path in result["files"].items():
        print(f"  {path}  {_WHAT[name]}")  # not through the console, which would break long paths


def _table(result: dict) -> rich.table.Table:
    some = next(iter(result["classification"].values()))["trained"]
    table = rich.table.Table(
        title=f"{result['dataset']} {result['eval_split']}: {some['cases']} cases of "
        f"{some['patients']} patients, step {result['global_step']}; \\[95 % by patient]"
    )
    metrics = [name for name in _TITLES if name in some]
    for column in ("", "encoder", *(_TITLES[name] for name in metrics)):
        table.add_column(column)
    for evaluator, row in result["classification"].items():
        for which, value in row.items():
            table.add_row(evaluator, which, *(_cell(value, name) for name in metrics))
    return table


def _undefined(result: dict) -> list[str]:
    """Returns a sentence if the AUC of some class is undefined, with its counts."""
    some = next(iter(result["classification"].values()))["trained"]
    names = [
        f"{name} ({counts['positives']} with, {counts['negatives']} without)"
        for name, counts in some["per_class"].items()
        if not (counts["positives"] and counts["negatives"])
    ]
    if not names:
        return []
    return [f"No AUC, and no part in the macro-AUC: {', '.join(names)}."]


def _cell(value: dict, name: str) -> str:
    low, high = value[f"{name}_95"]
    return f"{value[name]:.3f} \\[{low:.3f}, {high:.3f}]"
