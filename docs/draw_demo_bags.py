"""Draws docs/demo_bags.png, the figure of docs/results.md: cases of both clinics, four images each.

Usage: python docs/draw_demo_bags.py
"""

import pathlib
import sys

import numpy as np
from PIL import Image, ImageDraw, ImageFont

DOCS = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(DOCS.parent))

from tfds_builders.derm_bags import demo  # noqa: E402
from tfds_builders.derm_bags.demo_clinic import ELSEWHERE, HERE  # noqa: E402

CASES = {"demo": (HERE, 5), "demo_shift": (ELSEWHERE, 2)}  # clinic and number of rows
IMAGES, SIZE, GAP, LABEL = 4, 160, 8, 170


def cases_with_images(clinic, count: int) -> list[demo.DemoCase]:
    """Returns the first case with IMAGES images of each of the first `count` conditions."""
    rows: dict[str, demo.DemoCase] = {}
    for case in demo.demo_cases(num_cases=clinic.num_cases, clinic=clinic):
        if len(case.images) >= IMAGES:
            rows.setdefault(case.condition, case)
        if len(rows) == count:
            break
    return list(rows.values())


def main() -> None:
    """Writes the figure: a row is a case, its label the dataset and the condition."""
    rows = [(name, case) for name, (c, n) in CASES.items() for case in cases_with_images(c, n)]
    height = len(rows) * (SIZE + GAP) - GAP
    picture = Image.new("RGB", (LABEL + IMAGES * (SIZE + GAP) - GAP, height), "white")
    write, font = ImageDraw.Draw(picture), ImageFont.load_default(15)
    for r, (name, case) in enumerate(rows):
        top = r * (SIZE + GAP)
        words = f"{name}\n{case.condition}"
        write.text((4, top + SIZE // 2 - 18), words, fill="black", font=font)
        for i, image in enumerate(case.images[:IMAGES]):
            tile = Image.fromarray(np.asarray(image)).resize((SIZE, SIZE), Image.Resampling.LANCZOS)
            picture.paste(tile, (LABEL + i * (SIZE + GAP), top))
    # 256 colours halve the file; without k-means and dither a blue sticker came out green.
    picture = picture.quantize(palette=picture.quantize(256, kmeans=3))
    picture.save(DOCS / "demo_bags.png", optimize=True)


if __name__ == "__main__":
    main()
