"""embedding.png: the cases of a split, in two dimensions."""

from __future__ import annotations

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE

from simclr_med.run_folder.files import writing

_MAX_CASES = 2000


def save(
    path: str, features: dict[str, np.ndarray], labels: np.ndarray, class_names: tuple[str, ...]
) -> None:
    """Writes one t-SNE for each entry of `features`, coloured by label.

    Args:
      path: of the PNG.
      features: {title: float [n, d]}; at most 2,000 cases are drawn.
      labels: class numbers, int [n], below 0 unlabelled; or several labels a case, float [n, L]:
        a case takes the colour of its first positive one.
      class_names: their names.
    """
    if labels.ndim == 2:
        labels = np.where((labels == 1).any(1), (labels == 1).argmax(1), -1)
    figure, axes = plt.subplots(1, len(features), figsize=(5.2 * len(features), 5), squeeze=False)
    for axis, (title, values) in zip(axes[0], features.items()):
        values, shown = values[:_MAX_CASES], labels[:_MAX_CASES]
        points = PCA(min(30, *values.shape), random_state=0).fit_transform(values)
        if len(points) > 5:
            perplexity = min(30, (len(points) - 1) / 3)
            points = TSNE(perplexity=perplexity, init="pca", random_state=0).fit_transform(points)
        for c in np.unique(shown):
            name = class_names[c] if c >= 0 else "none"
            axis.scatter(*points[shown == c, :2].T, s=9, label=name, color=plt.cm.tab20(c % 20))
        axis.set(title=title, xticks=[], yticks=[])
    axes[0][-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    figure.tight_layout()
    with writing(path) as file:
        figure.savefig(file, dpi=100)
    plt.close(figure)
