"""Draws docs/demo_bags.png, the README's figure: five demo cases, four images each.

Usage: python docs/draw_demo_bags.py
"""

import pathlib
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from tfds_builders.derm_bags import demo  # noqa: E402

CASES, IMAGES, SIZE, GAP, LABEL = 5, 4, 160, 8, 170


def main() -> None:
    """Writes the figure: the first case of each of five conditions that has four images."""
    rows = {}
    for case in demo.demo_cases(num_cases=80):
        if len(case.images) >= IMAGES and len(rows) < CASES:
            rows.setdefault(case.condition, case)
    height = CASES * (SIZE + GAP) - GAP
    picture = Image.new("RGB", (LABEL + IMAGES * (SIZE + GAP) - GAP, height), "white")
    write, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for r, (condition, case) in enumerate(rows.items()):
        top = r * (SIZE + GAP)
        write.text((4, top + SIZE // 2 - 8), condition, fill="black", font=font)
        for i, image in enumerate(case.images[:IMAGES]):
            tile = Image.fromarray(np.asarray(image)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            picture.paste(tile, (LABEL + i * (SIZE + GAP), top))
    # 256 colours halve the file; without k-means and dither a blue sticker came out green.
    picture = picture.quantize(palette=picture.quantize(256, kmeans=3))
    picture.save(HERE / "demo_bags.png", optimize=True)


if __name__ == "__main__":
    main()
