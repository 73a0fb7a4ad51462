"""curves.png: how training went, beside what chance would give."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from simclr_med.run_folder import figures
from simclr_med.run_folder.files import writing

# (metric, its chance, what both are divided by, title). `contrast_loss` is the sum of both directions;
# the paper's loss, the report's and the terminal's is that of one.
_PANELS = (
    ("contrast_loss", "contrast_chance_loss", 2, "contrastive loss, per direction"),
    ("contrast_acc", "contrast_chance_acc", 1, "contrastive accuracy"),
    ("supervised_loss", "", 1, "supervised loss"),
    ("supervised_acc", "", 1, "supervised accuracy"),
)
_COLOUR, _CHANCE = "#0072B2", "#D55E00"  # Okabe and Ito's blue and vermilion
_SMOOTHED_SHARE = 0.05  # of a run, on either side of a point


def save(path: str, rows: list[dict[str, float]], name: str = "") -> None:
    """Writes a panel for each metric that the rows of metrics.jsonl have, and the learning rate's.

    The raw line is pale; over it its running mean (`smoothed`), with the last value of it in numbers.
    Where the rows say what chance gives, it is a dashed line.

    Args:
      path: of the PNG, 800 pixels wide.
      rows: of metrics.jsonl, by ascending step.
      name: of the run, as title.
    """
    panels = [panel for panel in _PANELS if rows and panel[0] in rows[-1]]
    if not panels:
        return
    num_rows = (len(panels) + 1) // 2
    with matplotlib.rc_context(figures.style() | {"font.size": 9}):
        figure = Figure(figsize=(8, 2.6 * num_rows + 1.5), layout="constrained")
        grid = figure.add_gridspec(num_rows + 1, 2, height_ratios=[2.6] * num_rows + [1.0])
        steps = column(rows, "step")
        for i, (key, of_chance, directions, title) in enumerate(panels):
            axis = figure.add_subplot(grid[divmod(i, 2)])
            chance = column(rows, of_chance) / directions
            measured(axis, steps, column(rows, key) / directions, chance, number=True)
            axis.set_title(title, loc="left")
        if "learning_rate" in rows[-1]:
            axis = figure.add_subplot(grid[num_rows, :])
            axis.plot(steps, column(rows, "learning_rate"), color="#555555")
            axis.set_title("learning rate", loc="left")
            _plain(axis)
        axis.set_xlabel("step")
        if name:
            figure.suptitle(name, fontsize=10)
        with writing(path) as file:
            figure.savefig(file, dpi=100)


def column(rows: list[dict], key: str) -> np.ndarray:
    """Returns a metric of each row, float [n]; NaN where a row has none."""
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
    number: bool = False,
) -> None:
    """Draws a metric over the steps: raw, smoothed, and chance as a dashed line where it is known.

    Args:
      axis: to draw on.
      steps, values, chance: float [n]; NaN where there is none.
      colour, label: of the metric's line.
      number: whether the last smoothed value is written at its end.
    """
    smooth = smoothed(values)
    dots = "." if len(steps) < 10 else ""
    axis.plot(steps, values, color=colour, alpha=0.3, linewidth=1, marker=dots)
    axis.plot(steps, smooth, color=colour, linewidth=2, label=label)
    known = np.flatnonzero(np.isfinite(chance))
    if len(known):
        axis.plot(steps[known], chance[known], color=_CHANCE, linestyle="--", linewidth=1.2)
        axis.annotate(
            f"chance {_short(float(chance[known].mean()))}",
            (steps[known[-1]], chance[known[-1]]),
            (-2, 2),
            textcoords="offset points",
            ha="right",
            va="bottom",
            color=_CHANCE,
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


def _plain(axis: Axes) -> None:
    axis.margins(x=0.02, y=0.1)
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
