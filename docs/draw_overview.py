"""Draws docs/overview.png, the README's figure: from a case's photographs to a report.

Usage: python docs/draw_overview.py
"""

import pathlib
import sys

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from PIL import Image

DOCS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from tfds_builders.derm_bags import demo  # noqa: E402

TOGETHER, APART, INK, BOX = (
    "#0072b2",
    "#d55e00",
    "#222222",
    "#f2f2f2",
)  # distinguishable by the colour-blind


def cases_of(count: int) -> list[list[np.ndarray]]:
    """Returns three photographs of the first such case of each of the first `count` conditions."""
    photographs: dict[str, list[np.ndarray]] = {}
    for case in demo.demo_cases():
        if len(case.images) >= 3:
            photographs.setdefault(case.condition, [np.asarray(image) for image in case.images[:3]])
        if len(photographs) == count:
            break
    return list(photographs.values())


def crop(image: np.ndarray, seed: int) -> np.ndarray:
    """Returns a random square crop of three quarters of the shorter side, like a view."""
    rng, side = np.random.default_rng(seed), min(image.shape[:2]) * 3 // 4
    top, left = (int(rng.integers(0, n - side + 1)) for n in image.shape[:2])
    return image[top : top + side, left : left + side]


def main() -> None:
    """Writes the figure, 1,500 px wide."""
    figure = Figure(figsize=(10, 3.3), dpi=150)
    axes = figure.add_axes((0, 0, 1, 1), xlim=(0, 10), ylim=(0, 3.3))
    axes.axis("off")

    def picture(image, x, y, size):
        axes.imshow(image, extent=(x, x + size, y, y + size), zorder=2, aspect="auto")

    def words(x, y, text, **kwargs):
        axes.text(x, y, text, **{"ha": "center", "va": "center", "color": INK, "size": 9, **kwargs})

    def arrow(start, end, color=INK, style="-|>"):
        how = dict(arrowstyle=style, mutation_scale=11, color=color, lw=1.6, zorder=3)
        axes.add_patch(FancyArrowPatch(start, end, **how))

    def box(x, y, width, height, text):
        shape = FancyBboxPatch((x, y), width, height, boxstyle="round,pad=0.04", fc=BOX, ec=INK)
        axes.add_patch(shape)
        words(x + width / 2, y + height / 2, text)

    def bars(x, y, values, marked):
        for i, value in enumerate(values):
            color = TOGETHER if i == marked else "#999999"
            axes.add_patch(
                FancyBboxPatch((x, y - 0.2 * i), value, 0.1, boxstyle="square,pad=0", fc=color)
            )

    rows = {"case A": 2.0, "case B": 0.55}
    for (name, y), images in zip(rows.items(), cases_of(2), strict=True):
        words(0.32, y + 0.4, name)
        for i, image in enumerate(images):
            picture(image, 0.65 + 0.84 * i, y, 0.8)
        arrow((3.2, y + 0.4), (3.55, y + 0.4))
        for i in range(2):
            picture(crop(images[2 * i], i), 3.65 + 0.78 * i, y + 0.05, 0.7)
        arrow((5.2, y + 0.4), (5.5, y + 0.4))
        arrow((6.6, y + 0.4), (6.9, y + 0.4))
        for i in range(2):
            axes.plot(7.05 + 0.3 * i, y + 0.4, "o", color=INK, ms=9, zorder=4)
        arrow((7.1, y + 0.52), (7.3, y + 0.52), TOGETHER, "<|-|>")
    box(5.55, 0.5, 1.0, 2.4, "encoder\nand\nprojection\nhead")
    arrow((7.2, 1.15), (7.2, 2.2), APART, "<|-|>")
    words(7.3, 1.67, "apart", ha="left", color=APART)
    words(7.2, 2.82, "together", color=TOGETHER)
    for x, text in ((1.88, "photographs"), (4.4, "a pair: two of them"), (7.2, "NT-Xent")):
        words(x, 3.12, text, weight="bold")
    words(8.92, 3.12, "fine-tuned: a report per case", weight="bold")
    arrow((7.75, 1.67), (8.05, 1.67))
    for y, values, marked in ((2.62, (0.9, 0.25, 0.1), 0), (1.3, (0.15, 0.2, 0.75), 2)):
        bars(8.85, y, values, marked)
        for i, name in enumerate(("class 1", "class 2", "class 3")):
            words(8.75, y + 0.05 - 0.2 * i, name, ha="right", size=8)
    words(9.0, 1.86, "case A", size=8)
    words(9.0, 0.54, "case B", size=8)
    path = DOCS / "overview.png"
    figure.savefig(path)
    Image.open(path).convert("RGB").quantize(192).save(path, optimize=True)  # a third of the size


if __name__ == "__main__":
    main()
