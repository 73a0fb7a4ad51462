"""Figures of a study: label efficiency by arm and use, distribution shift, and how pretraining went."""

from __future__ import annotations

import os
import textwrap
from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simclr_med import run_folder
from simclr_med.experiments import figures, study_sentences, study_tables
from simclr_med.experiments.study_sentences import USES
from simclr_med.experiments.summary import percent
from simclr_med.metrics.text import TITLES
from simclr_med.run_folder import curves
from simclr_med.run_folder.files import writing

_INCHES, _DPI = 8.0, 100  # 800 px wide
_STAGES_ACROSS = 3  # beside each other
# Okabe and Ito's colours, which the colour-blind can tell apart: of arms in their order, and of uses.
_ARMS = ("#666666", "#0072B2", "#56B4E9", "#D55E00", "#009E73", "#E69F00", "#CC79A7", "#000000")
_USES = {"probe": "#009E73", "finetune": "#0072B2", "probe_finetune": "#CC79A7"}
_MARKERS = {"probe": "o", "finetune": "s", "probe_finetune": "D"}
_SEEDS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9")


@figures.drawing
def label_efficiency(path: str, study: dict) -> None:
    """Writes the main metric over the number of labels: a line for each arm, in its best use.

    Intervals are over runs and patients; the marker says which use was best on the selection split.

    Args:
      path: of the PNG, 800 pixels wide.
      study: content of study.json, in which best uses were chosen.
    """
    figure = Figure(figsize=(_INCHES, 4.6), layout="constrained")
    axis = figure.add_subplot()
    ends, drawn_uses = [], set()
    for i, arm in enumerate(study["arms"]):
        points = []
        for fraction in study["fractions"]:
            use = str(study_tables.best_use(study, arm["name"], fraction))
            row = study_tables.find(study, arm["name"], use, fraction)
            if row is not None and row[study["metric"]]["mean"] is not None:
                points.append((use, _beside(_at(study, row), i, len(study["arms"])), row))
                drawn_uses.add(use)
        if not points:
            continue
        colour = _ARMS[i % len(_ARMS)]
        _line(axis, [(x, row[study["metric"]]) for _, x, row in points], colour, width=2.2)
        for use, x, row in points:
            mean = row[study["metric"]]["mean"]
            axis.plot(x, mean, _MARKERS[use], color=colour, markersize=8, zorder=3)
        ends.append((points[-1][1], points[-1][2][study["metric"]]["mean"], arm["name"], colour))
    _finish(axis, study)
    _label_ends(axis, ends)
    for use in USES:
        if use in drawn_uses:
            axis.plot([], [], _MARKERS[use], color="#333333", label=USES[use])
    figure.legend(title="best use", loc="outside upper center", ncols=len(drawn_uses))
    _save(figure, path, study)


@figures.drawing
def by_use(path: str, study: dict) -> None:
    """Writes a panel for each arm with a line for each use; where a use is the best, its marker is full.

    The dashed line is the first arm, the baseline, in its best use.

    Args:
      path: of the PNG, 800 pixels wide.
      study: content of study.json.
    """
    arms = [arm["name"] for arm in study["arms"]]
    num_rows = (len(arms) + 1) // 2
    figure = Figure(figsize=(_INCHES, 0.6 + 3.0 * num_rows), layout="constrained")
    axes: Any = figure.subplots(num_rows, 2, sharex=True, sharey=True, squeeze=False)
    for i, arm in enumerate(arms):
        axis = axes[divmod(i, 2)]
        for k, use in enumerate(study["uses"]):
            _line_of_use(axis, study, arm, use, k)
        baseline = [
            (_at(study, row), row[study["metric"]]["mean"])
            for fraction in study["fractions"]
            if (use := study_tables.best_use(study, arms[0], fraction))
            and (row := study_tables.find(study, arms[0], use, fraction))
        ]
        if i and baseline:
            x, y = np.array(baseline, float).T
            label = f"{arms[0]}, best use" if i == 1 else None
            axis.plot(x, y, "--", color=_ARMS[0], linewidth=1.2, zorder=1, label=label)
        axis.set_title(arm, loc="left")
        _finish(axis, study)
        axis.label_outer()
    for spare in axes.flat[len(arms) :]:
        spare.set_visible(False)
    figure.legend(handles=_handles(axes.flat), loc="outside upper center", ncols=4)
    full = any(row["use"] for row in study["best_use"])
    _save(figure, path, study, "Full marker: the arm's best use. " if full else "")


def bars(path: str, study: dict) -> None:
    """Writes bars of each arm's best use with most labels.

    Args:
      path: of the PNG.
      study: content of study.json.
    """
    _bars(path, study, {"inside": study["dataset"]})


def shift(path: str, study: dict) -> None:
    """Writes bars of each arm's best use with most labels, inside and elsewhere.

    Args:
      path: of the PNG.
      study: content of study.json, with a shift dataset.
    """
    _bars(path, study, {"inside": study["dataset"], "shift": study["shift_dataset"]})


@figures.drawing
def _bars(path: str, study: dict, places: dict[str, str]) -> None:
    fraction, metric = study["fractions"][-1], study["metric"]
    groups: dict[str, dict] = {}
    for arm in study["arms"]:
        use = study_tables.best_use(study, arm["name"], fraction) or study["uses"][-1]
        name = f"{textwrap.fill(arm['name'], 16)}\n({USES[use]})"
        for place, dataset in places.items():
            row = study_tables.find(study, arm["name"], use, fraction, place)
            value = row[metric] if row else {"mean": None, "interval": None}
            half = None if value["interval"] is None else _half(value).max()
            groups.setdefault(name, {})[f"{place}: {_short(dataset)}"] = (value["mean"], half)
    figures.bars(path, groups, TITLES[metric])


@figures.drawing
def pretraining(path: str, study: dict, model_dir: str) -> None:
    """Writes loss and accuracy of every pretraining over its steps, beside chance: a line a seed.

    Args:
      path: of the PNG, 800 pixels wide.
      study: content of study.json.
      model_dir: of the study, whose runs have metrics.jsonl.
    """
    stages = [
        (name, title) for name, title in study["stages"].items() if study["pretraining"][name]
    ]
    across = min(_STAGES_ACROSS, len(stages))
    blocks = -(-len(stages) // across)
    figure = Figure(figsize=(_INCHES, 5.2 * blocks), layout="constrained")
    axes: Any = figure.subplots(2 * blocks, across, sharey="row", squeeze=False)
    for index, (name, title) in enumerate(stages):
        row, column = divmod(index, across)
        loss, accuracy = axes[2 * row, column], axes[2 * row + 1, column]
        loss.set_title(textwrap.fill(title, 26), loc="left", fontsize=10)
        accuracy.set_xlabel("step")
        if column == 0:
            loss.set_ylabel("contrastive loss, per direction")
            accuracy.set_ylabel("contrastive accuracy")
        for i, result in enumerate(study["pretraining"][name]):
            _draw_run(loss, accuracy, model_dir, result, i)
    for spare in range(len(stages), across * blocks):
        row, column = divmod(spare, across)
        axes[2 * row, column].set_visible(False)
        axes[2 * row + 1, column].set_visible(False)
    if handles := _handles(axes.flat):
        axes[1, min(across, len(stages)) - 1].legend(handles=handles, loc="best", fontsize=8)
    with writing(path) as file:
        figure.savefig(file, dpi=_DPI, format="png")


def _draw_run(loss: Axes, accuracy: Axes, model_dir: str, result: dict, i: int) -> None:
    """Draws loss and accuracy of the i-th seed of a stage; chance once."""
    rows = run_folder.read_metrics(os.path.join(model_dir, result["run"]))
    if not rows:
        return
    for axis, key, directions in ((loss, "loss", 2), (accuracy, "acc", 1)):
        chance = curves.column(rows, f"contrast_chance_{key}") / directions
        curves.measured(
            axis,
            curves.column(rows, "step"),
            curves.column(rows, f"contrast_{key}") / directions,
            chance if i == 0 else np.full_like(chance, np.nan),
            colour=_SEEDS[i % len(_SEEDS)],
            label=f"seed {result['seed']}",
        )


def _handles(axes: Iterable[Axes]) -> list:
    """Returns a line of each label in any of the axes, for a legend."""
    handles: dict = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels()):
            handles.setdefault(label, handle)
    return list(handles.values())


def _line_of_use(axis: Axes, study: dict, arm: str, use: str, k: int) -> None:
    """Draws a use of an arm, if there is any number of it."""
    points = []
    for fraction in study["fractions"]:
        row = study_tables.find(study, arm, use, fraction)
        if row is not None and row[study["metric"]]["mean"] is not None:
            is_best = study_tables.best_use(study, arm, fraction) == use
            points.append(
                (_beside(_at(study, row), k, len(study["uses"])), row[study["metric"]], is_best)
            )
    if not points:
        return
    colour = _USES[use]
    _line(axis, [point[:2] for point in points], colour, width=1.4, label=USES[use])
    for x, value, is_best in points:
        face = colour if is_best else "white"
        size = 8 if is_best else 5
        axis.plot(
            x, value["mean"], _MARKERS[use], color=colour, mfc=face, markersize=size, zorder=3
        )


def _line(
    axis: Axes,
    points: list[tuple[float, dict]],
    colour: str,
    width: float,
    label: str | None = None,
) -> None:
    """Draws means as a line, with error bars where there are intervals."""
    x = [x for x, _ in points]
    mean = [value["mean"] for _, value in points]
    error = np.array([_half(value) for _, value in points]).T
    drawn = axis.errorbar(x, mean, error, color=colour, label=label, elinewidth=1.2, capsize=3)
    drawn.lines[0].set_linewidth(width)


def _half(value: dict) -> np.ndarray:
    """Returns how far an interval reaches below and above the mean, float [2]; NaN without one."""
    if value["interval"] is None:
        return np.full(2, np.nan)
    low, high = value["interval"]
    return np.array([value["mean"] - low, high - value["mean"]])


def _counted(study: dict) -> bool:
    """Returns whether the number of labelled cases is known, of every row."""
    return all(row["labels"] for row in study_sentences.rows_at(study, "inside"))


def _at(study: dict, row: dict) -> float:
    """Returns where a row is on the x axis: its labelled cases, or their share where none is known."""
    return row["labels"] if _counted(study) else row["fraction"]


def _beside(labels: float, i: int, n: int) -> float:
    """Returns where the i-th of n lines has its points, so that bars are beside each other."""
    return labels * 1.02 ** (i - (n - 1) / 2)


def _finish(axis: Axes, study: dict) -> None:
    """Sets the axes: labelled cases, on a logarithmic scale, with their share of all."""
    ticks = {}
    for row in study_sentences.rows_at(study, "inside"):
        if row["fraction"] not in ticks:
            count = f"{row['labels']:,.0f}\n" if _counted(study) else ""
            ticks[row["fraction"]] = (_at(study, row), count + percent(row["fraction"]))
    axis.set_xscale("log")
    axis.set_xticks(*zip(*ticks.values()), minor=False)
    axis.set_xticks([], minor=True)
    axis.set(xlabel="labelled training cases", ylabel=TITLES[study["metric"]])
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.3)


def _label_ends(axis: Axes, ends: list[tuple[float, float, str, str]]) -> None:
    """Writes the name of each line at its right end, in its colour, no two over each other."""
    if not ends:
        return
    low, high = axis.get_ylim()
    gap = 0.05 * (high - low)  # a line of text, with some air
    ends = sorted(ends, key=lambda end: end[1])
    y = [end[1] for end in ends]
    for _ in range(200):  # neighbours push each other apart, as far as they must
        for i in range(1, len(y)):
            lack = max(0.0, gap - (y[i] - y[i - 1]))
            y[i - 1], y[i] = y[i - 1] - lack / 2, y[i] + lack / 2
    right = max(end[0] for end in ends)
    for height, (*_, name, colour) in zip(y, ends):
        axis.annotate(
            name,
            (right, height),
            (9, 0),
            textcoords="offset points",
            color=colour,
            fontsize=9,
            va="center",
        )


def _save(figure: Figure, path: str, study: dict, prefix: str = "") -> None:
    seeds = len(study["seeds"])
    over = study_sentences.over(study)
    note = f"{prefix}Bars: 95 % intervals over {over}; {seeds} pretraining{'s' * (seeds != 1)}."
    figure.supxlabel(textwrap.fill(note, 120), fontsize=8, color="#555555")
    with writing(path) as file:
        figure.savefig(file, dpi=_DPI, format="png")


def _short(dataset: str) -> str:
    return dataset if len(dataset) <= 28 else f"{dataset[:27]}…"
