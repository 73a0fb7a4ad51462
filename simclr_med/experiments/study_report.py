"""study.md and its figures: the paper's tables 1 to 3 and figures 4 and 5, of one study."""

from __future__ import annotations

import os

from simclr_med import run_folder
from simclr_med.experiments import figures, study_sentences
from simclr_med.experiments.summary import markdown, percent, spread, text, titles
from simclr_med.metrics.text import TITLES, encoder_title, signed
from simclr_med.run_folder import terminal

SHIFT, LABELS = "figure4_shift.png", "figure5_labels.png"
_ENCODERS = {
    "simclr1": "SimCLR, first stage",
    "simclr2": "SimCLR, both stages",
    "micle": "SimCLR → MICLe",
}


def save(model_dir: str, study: dict) -> None:
    """Writes study.md, figure4_shift.png (with a shift set) and figure5_labels.png; prints table 3.

    Args:
      model_dir: of the study.
      study: what study.json holds.
    """
    note = f"Mean ± standard deviation of {len(study['seeds'])} seeds; {study['fixed']}."
    metric = TITLES[study["metric"]]
    curves = {
        arm["name"]: [
            (row["fraction"], row[study["metric"]]["mean"], row[study["metric"]]["sd"])
            for row in rows_of(study, arm["name"])
        ]
        for arm in study["arms"]
    }
    figures.curves(os.path.join(model_dir, LABELS), curves, metric, note)
    if study["shift_dataset"]:
        bars = {}
        for arm in study["arms"]:
            ends = {p: rows_of(study, arm["name"], p)[-1][study["metric"]] for p in _places(study)}
            titles = {"inside": study["dataset"], "shift": study["shift_dataset"]}
            bars[arm["name"]] = {
                f"{place}: {_short(titles[place])}": (end["mean"], end["sd"])
                for place, end in ends.items()
            }
        figures.bars(os.path.join(model_dir, SHIFT), bars, metric)
    path = os.path.join(model_dir, "study.md")
    run_folder.write_atomically(path, page(study, note))
    terminal.show([("Comparison with random init, inside the distribution", *_table3(study))])
    for line in study_sentences.findings(study):
        print(f"- {line}")
    print(f"  {path}  tables, figures and what they show")


def page(study: dict, note: str) -> str:
    """Returns study.md."""
    metric = TITLES[study["metric"]]
    most = percent(study["fractions"][-1])
    parts = [
        f"# Study: {study['dataset']}, split {study['eval_split']}",
        f"{study['architecture']}. {note} Intervals and p-values are over {_over(study)}. Main metric: "
        f"{metric}.",
        "## What was found",
        "\n".join(f"- {line}" for line in study_sentences.findings(study)),
        "## What this cannot show",
        "\n".join(f"- {line}" for line in study_sentences.limits(study)),
        f"## Table 1: pretraining data ({study['architecture']})",
        f"Fine-tuned with {most} of the labels:",
        markdown(*_table1(study)),
        "Linear probes of frozen encoders, mean ± standard deviation over pretrainings. An encoder that "
        "does not beat the untrained one has learnt nothing a linear probe can use:",
        markdown(*_probes(study)),
        "## Table 2: MICLe",
        "Both rows of a pair saw equally many steps of equal learning rates; "
        f"the last {study['second_stage_steps']:,} steps differ in the positive pair only.",
        markdown(*_table2(study)),
        "## Table 3: comparison with the baseline",
        markdown(*_table3(study)),
    ]
    if study["shift_dataset"]:
        parts += [
            f"## Figure 4: distribution shift ({study['shift_dataset']}, {study['shift_split']})",
            f"Trained with {most} of the labels on {study['dataset']}; no further training.",
            f"![Inside and outside the distribution]({SHIFT})",
            markdown(*_shift(study)),
        ]
    parts += [
        "## Figure 5: label efficiency",
        f"![{metric} over the share of labels]({LABELS})",
        markdown(*_labels(study)),
        "## How",
        markdown(*_hyperparameters(study)),
        "Every run is a folder of its own beside this file: pretrain_*/seed_S/ and "
        "finetune/ARM/fraction_F/seed_S/, each with config.json, result.json and predictions.csv. "
        "All numbers: study.json.",
    ]
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def rows_of(study: dict, arm: str, place: str = "inside") -> list[dict]:
    """Returns an arm's rows, by ascending label fraction."""
    return [row for row in study["results"] if (row["arm"], row["place"]) == (arm, place)]


def _places(study: dict) -> list[str]:
    return ["inside", *(["shift"] if study["shift_dataset"] else [])]


def _metrics(study: dict) -> list[str]:
    """Returns the metrics that were measured, the main one first."""
    names = [name for name in TITLES if name in study["results"][0]]
    return sorted(names, key=lambda name: name != study["metric"])


def _table1(study: dict):
    metrics = _metrics(study)
    cells = []
    for arm in study["arms"]:
        last = rows_of(study, arm["name"])[-1]
        values = [text(last[m]["mean"], last[m]["sd"]) for m in metrics]
        cells.append([study["architecture"], arm["pretraining_data"], arm["name"], *values])
    return ["architecture", "pretraining data", "arm", *titles(metrics)], cells


def _probes(study: dict):
    metrics = _metrics(study)
    cells: list[list[str]] = []

    def line(name, rows):
        spreads = [spread([row.get(metric) for row in rows]) for metric in metrics]
        return [name, *(text(values["mean"], values["sd"]) for values in spreads)]

    for name, title in _ENCODERS.items():
        found = study["pretraining"][name]
        probes = [result["classification"].get("linear probe", {}) for result in found]
        untrained = encoder_title(found[0], "untrained")
        lines = [("untrained", untrained)] if not cells else []
        if name == "simclr1":  # of the others it is simclr1
            lines.append(("before this run", "the study's --checkpoint"))
        for encoder, row_title in (*lines, ("trained", title)):
            if rows := [probe[encoder] for probe in probes if encoder in probe]:
                cells.append(line(row_title, rows))
    return ["encoder", *titles(metrics)], cells


def _table2(study: dict):
    cells = []
    data = {arm["name"]: arm["pretraining_data"] for arm in study["arms"]}
    for i, fraction in enumerate(study["fractions"]):
        test = comparison(study, "SimCLR", "SimCLR → MICLe", fraction)
        for arm, micle in (("SimCLR", "no"), ("SimCLR → MICLe", "yes")):
            value = rows_of(study, arm)[i][study["metric"]]
            by_test = [_difference(test), *_p_values(test)] if micle == "yes" else ["", "", ""]
            cells.append(
                [percent(fraction), data[arm], micle, text(value["mean"], value["sd"]), *by_test]
            )
    metric = TITLES[study["metric"]]
    return ["labels", "pretraining data", "MICLe", metric, "difference", "p", "p (Holm)"], cells


def _table3(study: dict):
    base = study["arms"][0]["name"]
    cells = []
    for i, fraction in enumerate(study["fractions"]):
        for arm in study["arms"]:
            value = rows_of(study, arm["name"])[i][study["metric"]]
            cell = [percent(fraction), arm["name"], text(value["mean"], value["sd"])]
            if arm["name"] == base:
                cells.append([*cell, "", "", ""])
            else:
                test = comparison(study, base, arm["name"], fraction)
                cells.append([*cell, _difference(test), *_p_values(test)])
    metric = TITLES[study["metric"]]
    return ["labels", "arm", metric, f"difference from {base}", "p", "p (Holm)"], cells


def _shift(study: dict):
    base, fraction = study["arms"][0]["name"], study["fractions"][-1]
    cells = []
    for arm in study["arms"]:
        inside, outside = (
            rows_of(study, arm["name"], place)[-1][study["metric"]] for place in ("inside", "shift")
        )
        known = inside["mean"] is not None and outside["mean"] is not None
        drop = inside["mean"] - outside["mean"] if known else None
        cell = [arm["name"], text(inside["mean"], inside["sd"])]
        cell += [text(outside["mean"], outside["sd"]), text(drop)]
        if arm["name"] == base:
            cells.append([*cell, "", "", ""])
        else:
            test = comparison(study, base, arm["name"], fraction, "shift")
            cells.append([*cell, _difference(test), *_p_values(test)])
    columns = ["arm", "inside", "outside", "drop", f"outside, difference from {base}"]
    return [*columns, "p", "p (Holm)"], cells


def _labels(study: dict):
    columns = ["labels", *(arm["name"] for arm in study["arms"])]
    cells = []
    for i, fraction in enumerate(study["fractions"]):
        values = [rows_of(study, arm["name"])[i][study["metric"]] for arm in study["arms"]]
        cells.append([percent(fraction), *(text(v["mean"], v["sd"]) for v in values)])
    return columns, cells


def _hyperparameters(study: dict):
    cells = [
        [arm["name"], f"{arm['learning_rate']:g}", f"{arm['weight_decay']:g}"]
        for arm in study["arms"]
    ]
    return ["fine-tuning", "learning rate", "weight decay"], cells


def comparison(study: dict, a: str, b: str, fraction: float, place: str = "inside") -> dict:
    """Returns the row of study["comparisons"] of two arms, by the main metric."""
    wanted = (place, fraction, a, b, study["metric"])
    keys = ("place", "fraction", "a", "b", "metric")
    return next(row for row in study["comparisons"] if tuple(row[k] for k in keys) == wanted)


def _difference(row: dict) -> str:
    return signed(row["difference"], row["difference_95"], row["why"])


def _p_values(row: dict) -> list[str]:
    return [study_sentences.p_text(row[key]) for key in ("p", "p_holm")]


def _over(study: dict) -> str:
    """Returns what intervals are over."""
    return study["comparisons"][0]["over"]


def _short(dataset: str) -> str:
    return dataset if len(dataset) <= 28 else f"{dataset[:27]}…"
