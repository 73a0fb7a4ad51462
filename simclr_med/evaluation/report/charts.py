"""The charts of report.html, each a data: URI of an SVG.

An SVG inside an <img> shares no ids with its neighbours, runs nothing, and looks the same wherever
the page is opened. The colours suit colour-blind readers (Okabe & Ito; Tol), and lines differ by their
dashes too.
"""

from __future__ import annotations

import base64
import io
import warnings

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from simclr_med.evaluation.report.points import Bins
from simclr_med.run_folder import curves

COLOURS = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#e69f00",
    "#56b4e9",
    "#882255",
    "#999933",
)
_BLUE, _ORANGE, _GREY = COLOURS[0], COLOURS[1], "#8a8a8a"
_STYLE = {
    "font.size": 8,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a class may be called "$x"
    "svg.fonttype": "none",  # letters, not outlines: a tenth of the size
    "svg.hashsalt": "report",  # equal charts are equal bytes
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#666666",
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}


@matplotlib.rc_context(_STYLE)
def roc(
    curves: dict[str, tuple[np.ndarray, np.ndarray]], mean: tuple | None = None, left_out: int = 0
) -> str:
    """Returns ROC curves.

    Args:
      curves: {legend: (false positive rate, sensitivity)}, at most eight.
      mean: such a pair for the black line of the macro-average.
      left_out: number of rarer classes without a line of their own, which the legend says.
    """
    figure = Figure(
        figsize=(4.4, 3.9 + _legend_inches(len(curves), left_out)), layout="constrained"
    )
    axis = figure.add_subplot(aspect="equal")
    axis.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":")
    for i, (name, (x, y)) in enumerate(curves.items()):
        axis.plot(*_thin(x, y), label=_short(name, 42), **_line(i))
    if mean:
        axis.plot(*_thin(*mean), label="macro-average", color="black", linewidth=2.2)
    axis.set(xlabel="false positive rate (1 - specificity)", ylabel="sensitivity")
    return _finish_curves(figure, axis, left_out)


@matplotlib.rc_context(_STYLE)
def precision_recall(
    curves: dict[str, tuple[np.ndarray, np.ndarray]], mean: tuple | None = None, left_out: int = 0
) -> str:
    """Returns precision-recall curves.

    Args:
      curves: {legend: (recall, precision)}, at most eight.
      mean, left_out: as in `roc`.
    """
    figure = Figure(
        figsize=(4.4, 3.9 + _legend_inches(len(curves), left_out)), layout="constrained"
    )
    axis = figure.add_subplot(aspect="equal")
    for i, (name, (x, y)) in enumerate(curves.items()):
        axis.plot(*_thin(*_steps(x, y)), label=_short(name, 42), **_line(i))
    if mean:
        axis.plot(*_thin(*_steps(*mean)), label="macro-average", color="black", linewidth=2.2)
    axis.set(xlabel="recall (sensitivity)", ylabel="precision (positive predictive value)")
    return _finish_curves(figure, axis, left_out)


@matplotlib.rc_context(_STYLE)
def calibration(bins: Bins, what: str) -> str:
    """Returns a reliability diagram over the histogram of its bins.

    Args:
      bins: from `points.calibration_bins`.
      what: a prediction's name in the plural, for the histogram's axis.
    """
    figure = Figure(figsize=(4.4, 4.9), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
    width = np.diff(bins.edges)
    middle = bins.edges[:-1] + width / 2
    filled = bins.counts > 0
    above.bar(middle[filled], bins.observed[filled], width[filled] * 0.92, color=_BLUE, alpha=0.35)
    above.plot([0, 1], [0, 1], color=_GREY, linewidth=0.8, linestyle=":", label="perfect")
    above.plot(
        bins.stated[filled], bins.observed[filled], "o-", color=_BLUE, markersize=4, label="model"
    )
    above.set(ylabel="share that came true", xlim=(0, 1), ylim=(0, 1.02))
    above.legend(loc="upper left")
    below.bar(middle, bins.counts, width * 0.92, color=_GREY)
    below.set(xlabel="stated probability", ylabel=what)
    below.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    return _data(figure)


@matplotlib.rc_context({**_STYLE, "axes.grid": False})
def confusion(counts: np.ndarray, class_names: list[str], cases: np.ndarray) -> str:
    """Returns a confusion matrix: counts as numbers, each row's shares as colour.

    Args:
      counts: truth x prediction, int [C, C].
      class_names: C of them.
      cases: of each class, int [C]; more than a row's sum where other classes are not shown.
    """
    n = len(class_names)
    cell = float(np.clip(5.4 / n, 0.2, 0.62))
    names = [_short(name, 22) for name in class_names]
    margin = 0.5 + 0.075 * max(map(len, names))
    figure = Figure(figsize=(n * cell + margin + 0.9, n * cell + margin), layout="constrained")
    axis = figure.add_subplot(aspect="equal")
    shares = counts / np.maximum(cases, 1)[:, np.newaxis]
    mesh = axis.pcolormesh(
        shares, cmap="Blues", vmin=0, vmax=1, edgecolors="#dddddd", linewidth=0.4
    )
    size = float(np.clip(cell * 26, 5.2, 9))
    for i, j in np.argwhere(counts):
        axis.text(
            j + 0.5,
            i + 0.5,
            str(counts[i, j]),
            ha="center",
            va="center",
            fontsize=size if counts[i, j] < 1000 else size * 0.8,
            color="white" if shares[i, j] > 0.55 else "black",
        )
    ticks, label_size = np.arange(n) + 0.5, max(size, 6)
    axis.set_xticks(ticks, names, rotation=90, fontsize=label_size)
    axis.set_yticks(ticks, names, fontsize=label_size)
    axis.tick_params(length=0)
    axis.set(xlabel="predicted", ylabel="truth", ylim=(n, 0))
    axis.spines[:].set_visible(False)
    bar = figure.colorbar(mesh, ax=axis, shrink=0.6, pad=0.02, aspect=30)
    bar.set_label("share of the row")
    bar.outline.set_visible(False)
    return _data(figure)


@matplotlib.rc_context(_STYLE)
def dots(rows: list[tuple[str, float, float, float]], overall: float, xlabel: str) -> str:
    """Returns a dot and an interval for each subgroup, from the top down.

    Args:
      rows: (name, value, low, high); NaN draws nothing. A dot without an interval is hollow.
      overall: the value of all cases, a dashed line.
      xlabel: what is measured.
    """
    figure = Figure(figsize=(6.6, 0.75 + 0.2 * len(rows)), layout="constrained")
    axis = figure.add_subplot()
    y = np.arange(len(rows))
    value, low, high = np.array([row[1:] for row in rows], float).T
    axis.hlines(y, low, high, color=_BLUE, linewidth=1.4)
    few = np.isnan(low) | np.isnan(high)
    for rows_drawn, colour, name in (
        (~few, _BLUE, "with its interval"),
        (few, "white", "too few patients for an interval"),
    ):
        if rows_drawn.any():
            (dot,) = axis.plot(
                value[rows_drawn], y[rows_drawn], "o", color=_BLUE, markersize=4.5, label=name
            )
            dot.set_markerfacecolor(colour)
    axis.axvline(overall, color=_ORANGE, linestyle="--", linewidth=1, label="all cases")
    axis.set_yticks(y, [_short(row[0], 40) for row in rows])
    axis.set(xlabel=xlabel, ylim=(len(rows) - 0.4, -0.6))
    axis.grid(axis="y", visible=False)
    figure.legend(loc="outside upper right", fontsize=7, ncols=3)
    return _data(figure)


@matplotlib.rc_context(_STYLE)
def over_steps(panel: curves.Panel) -> str:
    """Returns a metric over the steps of training."""
    figure = Figure(figsize=(4.4, 2.5), layout="constrained")
    axis = figure.add_subplot()
    curves.draw(axis, panel)
    axis.set_xlabel("step")
    axis.set_title(panel.title, loc="left", fontsize=9)
    return _data(figure)


@matplotlib.rc_context(_STYLE)
def label_efficiency(lines: dict[str, list[tuple[float, float, float, float]]], ylabel: str) -> str:
    """Returns a metric by the share of labels, with its intervals.

    Args:
      lines: {method: [(label fraction, value, low, high)]}; low and high may be NaN.
      ylabel: what is measured.
    """
    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axis = figure.add_subplot()
    for i, (name, points) in enumerate(lines.items()):
        share, value, low, high = np.array(sorted(points), float).T
        share = 100 * share + 0.35 * (i - (len(lines) - 1) / 2)  # intervals beside each other
        axis.plot(share, value, marker="o", markersize=4, label=_short(name, 42), **_line(i))
        axis.vlines(share, low, high, color=_line(i)["color"], linewidth=1)
    axis.set(xlabel="share of the training labels used, %", ylabel=ylabel, xlim=(0, 102))
    if len(lines) > 1 or "" not in lines:
        axis.legend(fontsize=7)
    return _data(figure)


def _finish_curves(figure: Figure, axis: Axes, left_out: int) -> str:
    axis.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    if left_out:
        axis.plot([], [], " ", label=f"not drawn: the {left_out} rarest, see “Each class”")
    figure.legend(loc="outside lower left", ncols=1, fontsize=7.5)
    return _data(figure)


def _legend_inches(curves: int, left_out: int) -> float:
    return 0.17 * (curves + 1 + bool(left_out))


def _line(i: int) -> dict:
    return {
        "color": COLOURS[i % len(COLOURS)],
        "linestyle": ("-", "--", "-.", (0, (1, 1)))[i // 2 % 4],
    }


def _steps(recall: np.ndarray, precision: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the corners of a curve whose precision holds up to each recall."""
    return np.repeat(np.r_[0.0, recall], 2)[1:-1], np.repeat(precision, 2)


def _thin(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns a curve on a grid of 1/400, finer than the print, without points on a line."""
    xy = np.round(np.stack([x, y], 1) * 400)
    xy = xy[np.r_[True, np.diff(xy, axis=0).any(1)]]
    before, after = np.diff(xy, axis=0)[:-1], np.diff(xy, axis=0)[1:]
    straight = before[:, 0] * after[:, 1] == before[:, 1] * after[:, 0]
    onward = (before * after).sum(1) > 0
    is_corner = np.ones(len(xy), bool)
    is_corner[1:-1] = ~(straight & onward)
    return xy[is_corner, 0] / 400, xy[is_corner, 1] / 400


def _short(name: str, length: int) -> str:
    name = " ".join(name.split())  # a tab has no glyph
    return name if len(name) <= length else name[: length - 1] + "…"


def _data(figure: Figure) -> str:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # the reader's own fonts draw the letters
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(file.getvalue()).decode()
