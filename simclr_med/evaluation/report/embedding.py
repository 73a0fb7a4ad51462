"""embedding.png: the cases of a split, in two dimensions."""

from __future__ import annotations

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from simclr_med.run_folder import figures
from simclr_med.run_folder.files import writing

_MAX_CASES = 2000
_MAX_NAMES, _MAX_LETTERS = 24, 40  # of the legend


def save(
    path: str, features: dict[str, np.ndarray], labels: np.ndarray, class_names: tuple[str, ...]
) -> None:
    """Writes one t-SNE for each entry of `features`, coloured by label.

    Args:
      path: of the PNG.
      features: {title: float [n, d]}; at most 2,000 cases are drawn.
      labels: class numbers, int [n], below 0 unlabelled; or several labels a case, float [n, L]:
        a case takes the colour of its first positive one.
      class_names: their names. The commonest 24 are in the legend; colours repeat after 20.
    """
    if labels.ndim == 2:
        labels = np.where((labels == 1).any(1), (labels == 1).argmax(1), -1)
    shown = labels[:_MAX_CASES]
    names, num_numbered = figures.writable(class_names)
    if num_numbered:
        print(
            f"Note: the fonts on this machine cannot write {num_numbered} names of classes in "
            "embedding.png: 'class N' there is the Nth column of scores in predictions.csv. "
            "report.html has the names."
        )
    classes, counts = np.unique(shown, return_counts=True)
    with matplotlib.rc_context(figures.style()):
        figure = Figure(figsize=(5.2 * len(features) + 2.4, 5), layout="constrained")
        axes = figure.subplots(1, len(features), squeeze=False)[0]
        for axis, (title, values) in zip(axes, features.items()):
            points = _in_two_dimensions(values[:_MAX_CASES])
            colours = [matplotlib.colormaps["tab20"](c % 20) for c in classes]
            dots = [
                axis.scatter(*points[shown == c].T, s=9, color=colour)
                for c, colour in zip(classes, colours)
            ]
            axis.set(title=title, xticks=[], yticks=[])
        commonest = sorted(np.argsort(-counts, kind="stable")[:_MAX_NAMES])
        more = len(classes) - len(commonest)
        figure.legend(
            [dots[i] for i in commonest],  # not by label=: one that begins with _ would be left out
            [_short(names[classes[i]]) if classes[i] >= 0 else "none" for i in commonest],
            loc="outside right center",
            fontsize=8,
            title=f"the {_MAX_NAMES} commonest; {more} more" if more else None,
            title_fontsize=8,
        )
        with writing(path) as file:
            figure.savefig(file, dpi=100)


def _in_two_dimensions(values: np.ndarray) -> np.ndarray:
    """Returns where to draw cases, float [n, 2]: by t-SNE, or PCA where they are too few or alike."""
    values = np.asarray(values, np.float64)
    if len(values) == 1 or np.ptp(values, axis=0).max() == 0:
        return np.zeros((len(values), 2))
    points = PCA(min(30, *values.shape), random_state=0).fit_transform(values)
    if len(points) > 5:
        perplexity = min(30, (len(points) - 1) / 3)
        # Of one dimension alone PCA starts with none for the second.
        init = "pca" if points.shape[1] > 1 else "random"
        return TSNE(perplexity=perplexity, init=init, random_state=0).fit_transform(points)
    return np.pad(points, [(0, 0), (0, max(0, 2 - points.shape[1]))])[:, :2]


def _short(name: str) -> str:
    name = " ".join(name.split())
    return name if len(name) <= _MAX_LETTERS else name[: _MAX_LETTERS - 1] + "…"
