"""embedding.png: the cases of a split, in two dimensions, some of them as pictures."""

from __future__ import annotations

from collections.abc import Callable

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from simclr_med.evaluation.report.charts import COLOURS
from simclr_med.run_folder import figures
from simclr_med.run_folder.files import writing

MAX_CASES = 2000
_MAX_NAMES, _MAX_LETTERS = 24, 40  # of the legend
_MARKERS = (
    "os^DvP*X"  # a marker beside the colour, for colour-blind readers; after 8 other pairs follow
)
_NONE = "#b0b0b0"  # of cases without a label
_PICTURES = 14  # at most
_APART = 0.16  # of the map's width, between two pictures
_SIDE = 36  # px of a picture


def save(
    path: str,
    features: dict[str, np.ndarray],
    labels: np.ndarray,
    class_names: tuple[str, ...],
    split: str = "",
    pictures_of: Callable[[set[int]], dict[int, np.ndarray]] = lambda cases: {},
) -> None:
    """Writes one map for each entry of `features`, coloured by label; pictures are on the first one.

    Args:
      path: of the PNG.
      features: {title: float [n, d]}; at most 2,000 cases are drawn.
      labels: class numbers, int [n], below 0 unlabelled; or several labels a case, float [n, L]:
        a case takes the colour of its first positive one.
      class_names: their names. The commonest 24 are in the legend; colours and forms repeat after 8,
        pairs of them after 64.
      split: its name, for the title.
      pictures_of: returns {case: uint8 [H, W, 3]} of some of the cases requested.
    """
    if labels.ndim == 2:
        labels = np.where((labels == 1).any(1), (labels == 1).argmax(1), -1)
    shown = labels[:MAX_CASES]
    names, num_numbered = figures.writable(class_names)
    if num_numbered:
        print(
            f"Note: the fonts on this machine cannot write {num_numbered} names of classes in "
            "embedding.png: 'class N' there is the Nth column of scores in predictions.csv. "
            "report.html has the names."
        )
    maps = {title: project(values[:MAX_CASES]) for title, values in features.items()}
    chosen = spread(next(iter(maps.values()))[0])
    pictures = pictures_of(set(chosen))
    with matplotlib.rc_context(figures.style()):
        figure = Figure(figsize=(5.2 * len(features) + 2.4, 5), layout="constrained")
        axes = figure.subplots(1, len(features), squeeze=False)[0]
        for i, (axis, (title, (points, how))) in enumerate(zip(axes, maps.items())):
            dots = _scatter(axis, points, shown)
            axis.set(xticks=[], yticks=[])
            axis.set_title(f"{how}, {title}", fontsize=10)
            if i == 0:
                _put_pictures(axis, points, shown, pictures)
        figure.suptitle(_title(len(labels), split, len(pictures)), fontsize=10)
        _legend(figure, dots, shown, names)
        with writing(path) as file:
            figure.savefig(file, dpi=100)


def _title(num_cases: int, split: str, num_pictures: int) -> str:
    """Returns "368 cases of split 'test', 14 of them as pictures"."""
    count = f"{num_cases:,} case{'s' * (num_cases != 1)}"
    if num_cases > MAX_CASES:
        count = f"the first {MAX_CASES:,} of {count}"
    of_split = f" of split '{_short(split)}'" if split else ""
    return f"{count}{of_split}" + (f", {num_pictures} of them as pictures" if num_pictures else "")


def _scatter(axis: Axes, points: np.ndarray, labels: np.ndarray) -> dict:
    """Draws the cases, unlabelled ones below; returns {class: its dots}."""
    return {
        int(c): axis.scatter(
            points[labels == c, 0],
            points[labels == c, 1],
            s=14,
            linewidths=0,
            zorder=2 if c >= 0 else 1,
            **_look(int(c)),
        )
        for c in np.unique(labels)
    }


def _look(c: int) -> dict:
    if c < 0:
        return {"color": _NONE, "marker": "o"}
    count = len(COLOURS)
    return {"color": COLOURS[c % count], "marker": _MARKERS[(c + c // count) % len(_MARKERS)]}


def _put_pictures(axis: Axes, points: np.ndarray, labels: np.ndarray, pictures: dict) -> None:
    """Puts pictures where their cases are, framed in the colour of the class."""
    for case, pixels in pictures.items():
        image = OffsetImage(pixels, zoom=_SIDE / max(pixels.shape[:2]) * 0.72)  # points, not px
        frame = {"edgecolor": _look(int(labels[case]))["color"], "linewidth": 2}
        axis.add_artist(
            AnnotationBbox(image, tuple(points[case]), pad=0.05, bboxprops=frame, zorder=3)
        )


def _legend(figure: Figure, dots: dict, labels: np.ndarray, names: list[str]) -> None:
    counts = {c: int((labels == c).sum()) for c in dots}
    commonest = sorted(sorted(dots, key=lambda c: (-counts[c], c))[:_MAX_NAMES])
    num_hidden = len(dots) - len(commonest)
    figure.legend(
        [dots[c] for c in commonest],  # not by label=: one that begins with _ would be left out
        [_short(names[c]) if c >= 0 else "no label" for c in commonest],
        loc="outside right center",
        fontsize=8,
        title=f"the {_MAX_NAMES} commonest; {num_hidden} more" if num_hidden else None,
        title_fontsize=8,
    )


def spread(points: np.ndarray) -> list[int]:
    """Returns up to 14 cases all over a map, no two so near that their pictures would overlap.

    The first is the one nearest to the middle, each other one the farthest from those before it.

    Args:
      points: float [n, 2].
    """
    size = np.ptp(points, axis=0)
    unit = (points - points.min(axis=0)) / np.where(size > 0, size, 1)
    chosen = [int(np.argmin(((unit - 0.5) ** 2).sum(axis=1)))]
    distance = np.abs(unit - unit[chosen[0]]).max(axis=1)
    while len(chosen) < _PICTURES and distance.max() >= _APART:
        chosen.append(int(distance.argmax()))
        distance = np.minimum(distance, np.abs(unit - unit[chosen[-1]]).max(axis=1))
    return chosen


def project(values: np.ndarray) -> tuple[np.ndarray, str]:
    """Returns where to draw cases, float [n, 2], and by what: "t-SNE", or "PCA" of few or alike ones.

    Args:
      values: features, float [n, d].
    """
    values = np.asarray(values, np.float64)
    if len(values) == 1 or np.ptp(values, axis=0).max() == 0:
        return np.zeros((len(values), 2)), "all alike"
    points = PCA(min(30, *values.shape), random_state=0).fit_transform(values)
    if len(points) > 5:
        perplexity = min(30, (len(points) - 1) / 3)
        # Of one dimension alone PCA starts with none for the second.
        init = "pca" if points.shape[1] > 1 else "random"
        return TSNE(perplexity=perplexity, init=init, random_state=0).fit_transform(points), "t-SNE"
    return np.pad(points, [(0, 0), (0, max(0, 2 - points.shape[1]))])[:, :2], "PCA"


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _MAX_LETTERS else name[: _MAX_LETTERS - 1] + "…"
