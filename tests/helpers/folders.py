"""Draws folders of cases with a manifest, as a user would have one."""

import numpy as np
from PIL import Image


def draw_cases(
    folder, splits, *, classes=2, images=lambda case: 1 + case % 3, seed=0, columns=None
):
    """Writes noisy images in as many tints as there are classes, and manifest.csv; returns the folder.

    Args:
      folder: a path that does not exist yet.
      splits: {name: number of cases}, in the order of the case numbers.
      classes: number of classes, labelled label0, label1, ..., or their names; case k is of class k
        modulo their number.
      images: a function from a case's number to its number of images, 48 x 40 px.
      seed: of the noise.
      columns: {name of another column, such as patient_id: function from a case's number to text}.
    """
    rng, columns = np.random.default_rng(seed), columns or {}
    labels = [f"label{k}" for k in range(classes)] if isinstance(classes, int) else classes
    rows = [",".join(["case_id", "image_path", "label", "split", *columns])]
    folder.mkdir(parents=True)
    names = [name for name, count in splits.items() for _ in range(count)]
    for case, split in enumerate(names):
        cells = [text(case) for text in columns.values()]
        for image in range(images(case)):
            pixels = rng.integers(0, 256, (40, 48, 3), np.uint8)
            pixels[..., case % len(labels) % 3] |= 128
            Image.fromarray(pixels).save(folder / f"{case}_{image}.png")
            label = labels[case % len(labels)]
            rows.append(",".join([f"c{case}", f"{case}_{image}.png", label, split, *cells]))
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder
