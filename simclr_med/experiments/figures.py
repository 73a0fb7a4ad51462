"""Figures of many runs: heat map of a sweep, label-efficiency curves, bars of a distribution shift."""

from __future__ import annotations

import functools
import textwrap

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from simclr_med.run_folder import figures
from simclr_med.run_folder.files import writing

# Okabe and Ito's colours, which the colour-blind can tell apart.
_COLOURS = ("#999999", "#E69F00", "#0072B2", "#009E73", "#CC79A7", "#D55E00")
_MARKERS = "osD^vP"


def drawing(draw):
    """Decorates a function that draws to a path: text is shown literally, a failure is only a warning."""

    @functools.wraps(draw)
    def drawn(path: str, *args, **kwargs) -> None:
        with figures.drawn(path), matplotlib.rc_context(figures.style()):
            draw(path, *args, **kwargs)

    return drawn


@drawing
def heat_map(path: str, rows: list[dict], metric: str) -> None:
    """Writes a cell for each point of a sweep; the best has a frame, a failed one says so.

    Args:
      path: of the PNG.
      rows: {"learning_rate", "weight_decay", "failure", metric: float or None}, not run yet: absent.
      metric: what the colour shows; more is better.
    """
    rates = sorted({row["learning_rate"] for row in rows})
    decays = sorted({row["weight_decay"] for row in rows})
    values = np.full((len(decays), len(rates)), np.nan)
    figure = Figure(
        figsize=(2.2 + 0.95 * len(rates), 1.6 + 0.6 * len(decays)), layout="constrained"
    )
    axis = figure.add_subplot()
    for row in rows:
        x, y = rates.index(row["learning_rate"]), decays.index(row["weight_decay"])
        value = row.get(metric)
        if row["failure"] or value is None:
            axis.text(x, y, "failed" if row["failure"] else "–", ha="center", va="center")
        else:
            values[y, x] = value
    image = axis.imshow(values, cmap="viridis", aspect="auto")
    if np.isfinite(values).any():
        middle = (np.nanmin(values) + np.nanmax(values)) / 2
        for (y, x), value in np.ndenumerate(values):
            if np.isfinite(value):
                colour = "white" if value < middle else "black"
                axis.text(x, y, f"{value:.3f}", ha="center", va="center", color=colour)
        row_of_best, column = np.unravel_index(np.nanargmax(values), values.shape)
        corner = (float(column) - 0.47, float(row_of_best) - 0.44)
        frame = Rectangle(corner, 0.94, 0.88, fill=False, edgecolor="#D55E00", lw=2.5)
        axis.add_patch(frame)
        figure.colorbar(image, ax=axis, label=metric)
    axis.set_xticks(range(len(rates)), [f"{rate:g}" for rate in rates])
    axis.set_yticks(range(len(decays)), [f"{decay:g}" for decay in decays])
    axis.set(xlabel="learning rate", ylabel="weight decay")
    _save(figure, path)


@drawing
def curves(
    path: str,
    lines: dict[str, list[tuple[float, float | None, float | None]]],
    metric: str,
    note: str,
) -> None:
    """Writes a metric over the share of labels, with error bars of one standard deviation.

    Args:
      path: of the PNG.
      lines: {name: [(fraction, mean, sd)]}; a mean that is None is left out, an sd has no bar.
      metric: the title of the y axis.
      note: below the picture.
    """
    figure = Figure(figsize=(6.4, 4.4), layout="constrained")
    axis = figure.add_subplot()
    for i, (name, points) in enumerate(lines.items()):
        known = [(100 * x, y, sd or 0.0) for x, y, sd in points if y is not None]
        if not known:
            continue
        share, mean, deviation = np.array(known).T
        axis.errorbar(
            share * 1.012 ** (i - (len(lines) - 1) / 2),  # bars beside each other
            mean,
            deviation,
            label=name,
            color=_COLOURS[i % len(_COLOURS)],
            marker=_MARKERS[i % len(_MARKERS)],
            markersize=5,
            capsize=3,
        )
    shares = sorted({100 * x for points in lines.values() for x, _, _ in points})
    if shares[-1] / shares[0] > 4:
        axis.set_xscale("log")
    axis.set_xticks(shares, [f"{share:g}" for share in shares], minor=False)
    axis.set_xticks([], minor=True)
    axis.set(xlabel="share of the labels, %", ylabel=metric)
    axis.grid(alpha=0.3)
    axis.legend()
    figure.supxlabel(textwrap.fill(note, 100), fontsize=8, color="#555555")
    _save(figure, path)


@drawing
def bars(
    path: str, groups: dict[str, dict[str, tuple[float | None, float | None]]], metric: str
) -> None:
    """Writes, for each arm, a bar inside the training distribution and one outside.

    Args:
      path: of the PNG.
      groups: {arm: {where: (mean, sd)}}; each arm has the same places.
      metric: the title of the y axis.
    """
    labels = list(next(iter(groups.values())))
    figure = Figure(figsize=(2.2 + 1.5 * len(groups), 4), layout="constrained")
    axis = figure.add_subplot()
    width = 0.8 / len(labels)
    lowest = 1.0
    for k, label in enumerate(labels):
        x = np.arange(len(groups)) + (k - (len(labels) - 1) / 2) * width
        pairs = [group[label] for group in groups.values()]
        mean = np.array([np.nan if m is None else m for m, _ in pairs])
        deviation = np.array([sd or 0.0 for _, sd in pairs])
        axis.bar(
            x, mean, 0.94 * width, yerr=deviation, capsize=3, label=label, color=_COLOURS[2 * k]
        )
        for position, value, sd in zip(x, mean, deviation):
            if np.isfinite(value):
                axis.text(
                    position, value + sd, f"{value:.3f}", ha="center", va="bottom", fontsize=8
                )
        if np.isfinite(mean).any():
            lowest = min(lowest, float(np.nanmin(mean - deviation)))
    axis.set_xticks(range(len(groups)), list(groups))
    bottom = max(0.0, np.floor(20 * (lowest - 0.05)) / 20)
    axis.set(ylabel=metric + (f" (axis begins at {bottom:g})" if bottom else ""))
    axis.set_ylim(bottom=bottom)
    axis.margins(y=0.12)
    figure.legend(loc="outside upper center", ncols=len(labels))
    axis.grid(alpha=0.3, axis="y")
    _save(figure, path)


def _save(figure: Figure, path: str) -> None:
    with writing(path) as file:
        figure.savefig(file, dpi=120, format="png")
