"""curves.png: the course of training, beside the chance level."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simclr_med.run_folder import figures
from simclr_med.run_folder.files import writing

_METHODS = {"simclr": "SimCLR", "micle": "MICLe", "finetune": "Fine-tuning"}
# (metric, its chance, what both are divided by, title). `contrast_loss` is the sum of both directions;
# the paper's loss, the report's and the terminal's is that of one.
_CONTRASTIVE = (
    ("contrast_loss", "contrast_chance_loss", 2, "contrastive loss, per direction"),
    ("contrast_acc", "contrast_chance_acc", 1, "contrastive accuracy"),
)
# (metric, its part of the constant guess, title, what the guess is called)
_SUPERVISED = (
    ("supervised_loss", "loss", "supervised loss", "class shares alone"),
    ("supervised_acc", "accuracy", "supervised accuracy", "commonest class"),
)
_COLOUR, _CHANCE = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion
_SMOOTHED_SHARE = 0.05  # of a run, on either side of a point
_HOW = "pale: as logged; strong: mean of 5 % of the run on either side; dashed: without information"


@dataclasses.dataclass(frozen=True)
class Panel:
    """A metric over the steps of a run.

    Attributes:
      title: of the metric.
      steps, values, chance: float [n]; NaN where there is none.
      chance_title: what the dashed line is called.
      is_measured: whether it is noisy: drawn raw and smoothed, its last value in numbers. Else one line.
    """

    title: str
    steps: np.ndarray
    values: np.ndarray
    chance: np.ndarray
    chance_title: str = "chance"
    is_measured: bool = True

    @property
    def has_chance(self) -> bool:
        """Returns whether the chance level is known."""
        return bool(np.isfinite(self.chance).any())


def title(method: str, model_dir: str) -> str:
    """Returns "MICLe, run NAME"."""
    return f"{_METHODS[method]}, run {os.path.basename(os.path.abspath(model_dir))}"


def panels(
    rows: list[dict[str, float]],
    guess: Mapping[str, float] | None = None,
    selection: Mapping | None = None,
) -> list[Panel]:
    """Returns a panel for each metric that the rows have, of the selection, and the learning rate, last.

    Args:
      rows: of metrics.jsonl, by ascending step. Chance of a contrastive metric is in them: that of the
        negatives that were there, ln(2N - 1) and 1 / N of N pairs without masked ones.
      guess: see `data.base_rates.constant_guess`: chance of the supervised ones of a fine-tuning; None
        or {}: not known.
      selection: of result.json: a metric of each kept checkpoint on other cases. None or {}: not known.

    Returns:
      [] without a metric that training lowers or raises.
    """
    if not rows:
        return []
    steps, drawn = column(rows, "step"), []
    for key, of_chance, directions, name in _CONTRASTIVE:
        if key in rows[-1]:
            chance = column(rows, of_chance) / directions
            drawn.append(Panel(name, steps, column(rows, key) / directions, chance))
    for key, part, name, of_guess in _SUPERVISED:
        if key in rows[-1]:
            chance = np.full(len(rows), (guess or {}).get(part, np.nan))
            drawn.append(Panel(name, steps, column(rows, key), chance, of_guess))
    if not drawn:
        return []
    selection = selection or {}
    if of_step := selection.get("value_of_step"):
        pairs = sorted((float(step), np.nan if v is None else v) for step, v in of_step.items())
        chosen_steps, values = np.array(pairs, float).T
        name = f"{selection['metric']} on {selection['split']}, which chose the checkpoint"
        drawn.append(
            Panel(name, chosen_steps, values, np.full(len(chosen_steps), np.nan), is_measured=False)
        )
    if "learning_rate" in rows[-1]:
        rates = column(rows, "learning_rate")
        drawn.append(Panel("learning rate", steps, rates, rates * np.nan, is_measured=False))
    return drawn


def draw(axis: Axes, panel: Panel) -> None:
    """Draws a panel, without its title."""
    if panel.is_measured:
        measured(
            axis,
            panel.steps,
            panel.values,
            panel.chance,
            chance_title=panel.chance_title,
            number=True,
        )
        return
    dots = "o" if len(panel.steps) < 20 else ""
    axis.plot(panel.steps, panel.values, color="#555555", marker=dots, markersize=3)
    _plain(axis)


def save(
    path: str,
    rows: list[dict[str, float]],
    name: str = "",
    guess: Mapping[str, float] | None = None,
    selection: Mapping | None = None,
) -> None:
    """Writes the panels of a run, two in a row, the learning rate small below them.

    The raw line is pale; over it its running mean (`smoothed`), with the last value of it in numbers.
    What is reached without information is a dashed line where it is known.

    Args:
      path: of the PNG, 800 pixels wide. Nothing is written without a metric.
      rows, guess, selection: as in `panels`.
      name: of the run, as title.
    """
    all_panels = panels(rows, guess, selection)
    if not all_panels:
        return
    large = [panel for panel in all_panels if panel.title != "learning rate"]
    small = all_panels[len(large) :]
    num_rows = (len(large) + 1) // 2
    with matplotlib.rc_context(figures.style() | {"font.size": 9}):
        figure = Figure(figsize=(8, 2.6 * num_rows + 0.5 + bool(small)), layout="constrained")
        heights = [2.6] * num_rows + [0.9] * len(small)
        if len(large) % 2:
            heights[num_rows - 1] = 1.8  # the last one has the row for itself
        grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
        for i, panel in enumerate(large):
            alone = i == len(large) - 1 and i % 2 == 0
            axis = figure.add_subplot(grid[i // 2, :] if alone else grid[divmod(i, 2)])
            draw(axis, panel)
            axis.set_title(panel.title, loc="left")
        if small:
            axis = figure.add_subplot(grid[num_rows, :])
            draw(axis, small[0])
            axis.set_title(small[0].title, loc="left", fontsize=8)
            axis.tick_params(labelsize=8)
        axis.set_xlabel(f"step ({_HOW})", fontsize=8)
        if name:
            figure.suptitle(name, fontsize=10)
        with writing(path) as file:
            figure.savefig(file, dpi=100)


def column(rows: list[dict], key: str) -> np.ndarray:
    """Returns a metric of each row, float [n]; NaN where a row has none.

    Args:
      rows: of metrics.jsonl.
      key: of the metric.
    """
    values = [row.get(key) for row in rows]
    return np.array([np.nan if value is None else value for value in values], float)


def measured(
    axis: Axes,
    steps: np.ndarray,
    values: np.ndarray,
    chance: np.ndarray,
    *,
    colour: str = _COLOUR,
    label: str | None = None,
    chance_title: str = "chance",
    number: bool = False,
) -> None:
    """Draws a metric over the steps: raw, smoothed, and chance as a dashed line where it is known.

    Args:
      axis: to draw on.
      steps, values, chance: float [n]; NaN where there is none.
      colour, label: of the metric's line.
      chance_title: what stands at the dashed line, before its value.
      number: whether the last smoothed value is written at its end.
    """
    smooth = smoothed(values)
    dots = "." if len(steps) < 10 else ""
    axis.plot(steps, values, color=colour, alpha=0.3, linewidth=1, marker=dots)
    axis.plot(steps, smooth, color=colour, linewidth=2, label=label)
    known = np.flatnonzero(np.isfinite(chance))
    if len(known):
        axis.plot(steps[known], chance[known], color=_CHANCE, linestyle="--", linewidth=1.2)
        at_left = _is_nearer_at_its_end(smooth, chance)
        axis.annotate(
            f"{chance_title} {_short(float(chance[known].mean()))}",
            (steps[known[0 if at_left else -1]], chance[known].max()),
            (2 if at_left else -2, 3),
            textcoords="offset points",
            ha="left" if at_left else "right",
            va="bottom",
            color=_CHANCE,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )
    if number and np.isfinite(smooth[-1]):
        end = (steps[-1], smooth[-1])
        axis.annotate(
            _short(float(smooth[-1])),
            end,
            (4, 0),
            textcoords="offset points",
            va="center",
            color=colour,
        )
    _plain(axis)


def _is_nearer_at_its_end(values: np.ndarray, chance: np.ndarray) -> bool:
    """Returns whether a metric ends nearer to chance than it began: then the words stand at the left."""
    apart = np.abs(values - chance)[np.isfinite(values - chance)]
    third = max(1, len(apart) // 3)
    return len(apart) > 0 and apart[-third:].mean() < apart[:third].mean()


def _plain(axis: Axes) -> None:
    axis.margins(x=0.02, y=0.1)
    axis.xaxis.set_major_locator(MaxNLocator("auto", integer=True))
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(alpha=0.3)


def _short(value: float) -> str:
    """Returns "4.84", "0.016"."""
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.2f}"


def smoothed(values: np.ndarray) -> np.ndarray:
    """Returns the running mean of a metric, float [n]: of 5 % of the run on either side of a point.

    At the start the window is cut on both sides alike, so that a line that begins steeply is not bent;
    at the end it is cut on the right only, so that the last value is a mean, too. NaN is left out.
    """
    reach = int(len(values) * _SMOOTHED_SHARE)
    result = np.full(len(values), np.nan)
    for i in range(len(values)):
        k = min(reach, i)
        window = values[i - k : i + k + 1]
        if np.isfinite(window).any():
            result[i] = np.nanmean(window)
    return result
