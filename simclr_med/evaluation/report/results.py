"""The results of an evaluation for people: the table on the terminal, and predictions.csv."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
import pandas as pd
import rich.console
import rich.table

from simclr_med import printing
from simclr_med.data.cases import Cases
from simclr_med.metrics import known_patients
from simclr_med.metrics.grades import in_words
from simclr_med.metrics.text import TITLES, encoder_title, estimate, reasons, signed
from simclr_med.run_folder import spreadsheet, terminal

_OF_TABLE = (
    *("top_1", "balanced_accuracy", "quadratic_kappa", "chexpert5_auc", "macro_auc"),
    "macro_ap",
)
_OF_SUBGROUPS = ("balanced_accuracy", "quadratic_kappa", "macro_auc")
_MOST_GROUPS = 12
_WHAT = {
    "report": "all of it, to read or to hand on",
    "predictions": "scores of every case",
    "predictions_before": "the same of the encoder before this run",
    "predictions_untrained": "the same of the untrained encoder",
    "operating_points": "thresholds, with what they give here",
    "embedding": "the cases in two dimensions",
    "saved_model": "the encoder, for use elsewhere",
    "checkpoint": "what was evaluated",
    "result": "all numbers",
    "curves": "how training went, beside chance",
    "views": "images as the network sees them",
}


def predictions_csv(cases: Cases, scores: np.ndarray, class_names) -> str:
    """Returns a row per case: ids, metadata, the truth, and a score for each class or label.

    Text that a spreadsheet would execute is quoted: `metrics.predictions` reads it back.

    Args:
      cases: labelled with `class_names`.
      scores: float [n, classes].
      class_names: of the classes or labels.
    """
    multilabel = cases.labels.ndim == 2
    columns: dict[str, Any] = {"case_id": cases.ids, "patient_id": cases.patients}
    columns |= {f"metadata: {key}": values for key, values in cases.metadata.items()}
    if multilabel:
        for c, name in enumerate(class_names):
            columns[f"truth: {name}"] = ["" if v != v else f"{v:.0f}" for v in cases.labels[:, c]]
    else:
        columns["truth"] = [class_names[label] if label >= 0 else "" for label in cases.labels]
        columns["prediction"] = [class_names[best] for best in scores.argmax(axis=1)]
    table = pd.DataFrame({name: spreadsheet.cells(values) for name, values in columns.items()})
    # Beside, not into: a class may be called "truth".
    score_table = pd.DataFrame(scores, columns=spreadsheet.cells(class_names))
    written = pd.concat([table, score_table], axis=1)
    options = dict(index=False, float_format="%.9g", lineterminator="\n")
    text = written.to_csv(**options)
    if "\r" in text:  # Python's csv module, before 3.13, quotes no carriage return
        text = written.to_csv(**options, quoting=csv.QUOTE_NONNUMERIC)
    return text


def print_table(result: dict) -> None:
    """Prints a result: the table, what was left out, and the output files."""
    if line := _contrastive(result):
        terminal.say(line)
    with printing.result():
        if result["classification"]:
            out = terminal.console()
            out.print(_table(result, out))
            for line in [*_grades(result), *_calibrated(result), *_undefined(result)]:
                terminal.say(line)
        else:
            print("No labelled cases: nothing was probed.")
    if "split" in result["selection"]:
        terminal.say(
            f"Checkpoint: step {result['global_step']}, the best {result['selection']['metric']} on "
            f"{result['selection']['split']} of {len(result['selection']['value_of_step'])} kept."
        )
    _print_patients(result)
    if not printing.is_quiet():
        terminal.show([*_operating_points(result), *_shift_table(result), *_subgroup_table(result)])
    if words := _too_small(result):
        terminal.say(words)
    if calibration := result["calibration"]:
        terminal.say(
            f"Calibration error {calibration['ece']:.3f}, with probabilities at temperature "
            f"{calibration['temperature']:.2f} {calibration['ece_scaled']:.3f}."
        )
    if result["labels"]:
        policies = ", ".join(f"{name} {value}" for name, value in result["labels"].items())
        terminal.say(f"Labels: {policies}")
    _print_files(result)


@printing.result()
def _print_files(result: dict) -> None:
    """Prints which images were left out, and which files there are; paths are never broken."""
    if result["skipped_images"]:
        print(f"{len(result['skipped_images'])} unreadable images were left out:")
        for row, path, reason in result["skipped_images"][:20]:
            print(f"  row {row}: {path}: {reason}")
    print("Output files:")
    for name, path in result["files"].items():
        print(f"  {path}  {_WHAT[name]}")


def _print_patients(result: dict) -> None:
    """Prints how much was evaluated, and which of the patients the model knows."""
    if words := known_patients.part(result):
        terminal.say(f"Evaluated: {words}")
    for words in known_patients.warnings(result):
        terminal.say(f"Warning: {words}")
    for words in known_patients.notes(result):
        terminal.say(f"Patients: {words}")


def _contrastive(result: dict) -> str:
    """Returns the line about the contrastive loss at the end; "" of a run without."""
    facts = result["contrastive"]
    if not facts:
        return ""
    negatives = facts.get("negatives")  # of a view; not counted by older runs
    among = f"among {negatives:,.1f} negatives" if negatives is not None else "ln(2N-1)"
    return (
        f"Contrastive loss {facts['loss']:.3f} (chance, {among}: {facts['chance_loss']:.3f}), "
        f"accuracy {facts['accuracy']:.3f} (chance: {facts['chance_accuracy']:.3f}), on training "
        "batches at the end."
    )


def _table(result: dict, out: rich.console.Console) -> rich.table.Table:
    """Returns a row for each evaluator and encoder; where that is too wide, one for each metric."""
    evaluators = result["classification"]
    trained_row = next(iter(evaluators.values()))["trained"]
    title = (
        f"{result['dataset']} {result['eval_split']}: {trained_row['cases']} cases of "
        f"{trained_row['patients']} patients, step {result['global_step']}; [95 % over patients]"
    )
    metrics = [name for name in _OF_TABLE if name in trained_row]
    encoders = list(dict.fromkeys(encoder for rows in evaluators.values() for encoder in rows))
    star = {encoder: " *" * (encoder_title(result, encoder) != encoder) for encoder in encoders}

    def text(row: dict, name: str) -> str:
        return estimate(row, name, short=True) if row else ""

    wide = [
        [evaluator, encoder + star[encoder], *(text(row, name) for name in metrics)]
        for evaluator, rows in evaluators.items()
        for encoder, row in rows.items()
    ]
    columns = ["", "encoder", *(TITLES[name] for name in metrics)]
    wide_table = terminal.table(out, title, columns, wide, 2, "left")
    if terminal.fits(out, wide_table):
        return wide_table
    tall: list[list[str]] = []
    for evaluator, rows in evaluators.items():
        tall += [[], [evaluator, *[""] * len(encoders)]]
        for name in metrics:
            tall.append([f"  {TITLES[name]}", *(text(rows.get(e, {}), name) for e in encoders)])
    return terminal.table(out, title, ["", *(e + star[e] for e in encoders)], tall, 1, "left")


def _grades(result: dict) -> list[str]:
    """Returns the line that says which order grades have; [] without --ordinal."""
    order = result.get("grades")
    names = next(iter(result["classification"].values()))["trained"]["per_class"]
    return [in_words(order, list(names))] if order else []


def _calibrated(result: dict) -> list[str]:
    """Returns the lines that explain the star in the table; [] without one."""
    return [
        f"* BatchNorm calibrated on {facts['batch_norm_images']:,} images of split "
        f"'{facts['batch_norm_split']}': random weights, right statistics."
        for facts in result.get("encoders", {}).values()
        if facts.get("batch_norm_images")
    ]


def _operating_points(result: dict) -> list[tuple]:
    """Returns the table of the operating points of --positive_class, if there is one."""
    name = result["positive_class"]
    rows = [
        [row["chosen_for"], f"{row['threshold']:.3g}"]
        + [estimate(row, what, short=True) for what in ("sensitivity", "specificity")]
        for row in result["operating_points"]
        if row["class"] == name
    ]
    split = result["selection"].get("split")
    title = f"Operating points of {name}: thresholds chosen on {split}, measured here"
    return (
        [(title, ["chosen for", "threshold", "sensitivity", "specificity"], rows)] if rows else []
    )


def _shift_table(result: dict) -> list[tuple]:
    """Returns the table of what a run loses on other data, if there is one."""
    shift = result.get("shift")
    if not shift:
        return []
    inside = f"{shift['inside']['dataset']} {shift['inside']['split']}"
    rows = [
        [
            TITLES[name],
            f"{value['inside']:.3f}",
            f"{value['outside']:.3f}",
            signed(value["drop"], value["drop_95"], value["why"]),
        ]
        for name, value in shift["metrics"].items()
        if name in _OF_TABLE
    ]
    outside = f"{result['dataset']} {result['eval_split']}"
    return [("Without further training on other data", ["", inside, outside, "drop"], rows)]


def _subgroup_table(result: dict) -> list[tuple]:
    """Returns the table of the smallest subgroups that are large enough for an interval, if any is."""
    groups, names = _with_interval(result), _metrics_of_subgroups(result)
    rows = [
        [
            f"{group['column']}: {group['value']}",
            f"{group['cases']:,}",
            f"{group['patients']:,}",
            *(estimate(group, name, short=True) for name in names),
        ]
        for group in groups[:_MOST_GROUPS]
    ]
    left = len(groups) - len(rows)  # the others are counted by `_too_small`
    title = "Subgroups, smallest first" + (f" ({left} more in the report)" if left else "")
    if any("pooled" in group for group in groups):
        title += f"; those below {result['min_subgroup']} patients are pooled (--min_subgroup)"
    columns = ["", "cases", "patients", *(TITLES[name] for name in names)]
    return [(title, columns, rows)] if rows else []


def _metrics_of_subgroups(result: dict) -> list[str]:
    return [name for name in _OF_SUBGROUPS if any(name in g for g in result["subgroups"])]


def _with_interval(result: dict) -> list[dict]:
    """Returns the subgroups with enough patients for the interval of some metric that is shown."""
    intervals = [f"{name}_95" for name in _metrics_of_subgroups(result)]
    return [g for g in result["subgroups"] if any(g.get(name) is not None for name in intervals)]


def _too_small(result: dict) -> str:
    """Returns a line about the subgroups that the terminal does not show; "" if there are none."""
    number = len(result["subgroups"]) - len(_with_interval(result))
    if not number:
        return ""
    return f"Subgroups of too few patients for an interval: {number}; the report has them."


def _undefined(result: dict) -> list[str]:
    """Returns lines that say which metrics have no interval, which classes no average, and why."""
    trained_row = next(iter(result["classification"].values()))["trained"]
    few = reasons(trained_row, [name for name in _OF_TABLE if name in trained_row])
    lines = [f"No interval: {few}."] if few else []
    names = [f"{name} ({why})" for name, why in trained_row.get("left_out", {}).items()]
    return lines + ([f"Left out of averages over classes: {', '.join(names)}."] if names else [])
