"""views.png: the first batch as the network sees it, with captions; without identifiers."""

from __future__ import annotations

import math

import numpy as np
import tensorflow as tf
from matplotlib import font_manager
from PIL import Image, ImageDraw, ImageFont

from simclr_med.augment import augment_views
from simclr_med.run_folder import figures
from simclr_med.run_folder.files import writing

_EXAMPLES, _TILES_ACROSS = 24, 8
_SMALLEST, _LARGEST = 96, 160  # px of a tile
_NARROWEST = 420  # px of the picture
_GAP, _BETWEEN, _LINE = 12, 2, 16  # px between examples, between tiles, of a line of text
_INK, _GREY = (26, 26, 26), (95, 95, 95)
# {method: (what an example is called, what the picture shows)}
_KINDS = {
    "simclr": ("pair", "Positive pairs: two augmented views of one image"),
    "simclr_of_bags": ("case", "Positive pairs: two augmented views of one image of a case"),
    "micle": ("case", "Positive pairs: two images of one case, each augmented"),
    "finetune": ("case", "Cases: the images that are classified together, each augmented"),
}


def save(path: str, batch: dict, ops: dict[str, tuple], seed: int, kind: str) -> np.ndarray | None:
    """Writes up to 24 examples of a batch, augmented, each example's views side by side.

    Places of a case that hold no image are not drawn.

    Args:
      path: of the PNG.
      batch: with "images" uint8 [B, V, H, W, 3], and "real" bool [B, V]; without it all are.
      ops: from `augment.device_ops`.
      seed: of the augmentation.
      kind: "simclr", "simclr_of_bags", "micle" or "finetune".

    Returns:
      The picture, uint8 [height, width, 3]; None if it could not be drawn.
    """
    with figures.drawn(path):
        images = batch["images"][:_EXAMPLES]
        n, num_views, size = images.shape[0], images.shape[1], images.shape[2]
        augmented = augment_views(images, ops, tf.constant([seed, 0]))
        augmented = tf.reshape(augmented, [num_views, n, size, size, 3])
        pixels = tf.image.convert_image_dtype(augmented, tf.uint8, saturate=True).numpy()
        valid = np.ones((n, num_views), bool)
        if "real" in batch:
            valid = np.asarray(batch["real"][:_EXAMPLES])
        examples = [[pixels[v, i] for v in np.flatnonzero(valid[i])] for i in range(n)]
        picture = sheet(examples, kind)
        with writing(path) as file:
            picture.save(file, format="PNG")
        return np.asarray(picture)
    return None


def sheet(examples: list[list[np.ndarray]], kind: str) -> Image.Image:
    """Returns a picture of examples, row after row, each with its number and those of its views.

    Args:
      examples: views of each, uint8 [size, size, 3].
      kind: as of `save`.
    """
    name, head = _KINDS[kind]
    seen = examples[0][0].shape[0]
    side = min(max(seen, _SMALLEST), _LARGEST)
    rows = _rows([min(len(views), _TILES_ACROSS) for views in examples])
    step = side + _BETWEEN
    width = max(_NARROWEST, *(sum(t * step + _GAP for _, t in row) + _GAP for row in rows))
    head += f". The network sees {seen} x {seen} px."
    lines = _wrapped(f"{head} Numbers count this picture's {name}s.", width - 2 * _GAP)
    block = 2 * _LINE + side + _GAP
    top = _GAP + len(lines) * _LINE + _GAP
    picture = Image.new("RGB", (width, top + len(rows) * block), "white")
    draw = ImageDraw.Draw(picture)
    for i, line in enumerate(lines):
        draw.text((_GAP, _GAP + i * _LINE), line, _INK, _font())
    for r, row in enumerate(rows):
        x, y = _GAP, top + r * block
        for number, tiles in row:
            views = examples[number]
            more = f", {tiles} of {len(views)} images" if len(views) > tiles else ""
            draw.text((x, y), f"{name} {number + 1}{more}", _INK, _font())
            for v, view in enumerate(views[:tiles]):
                tile = Image.fromarray(view).resize((side, side), Image.Resampling.BICUBIC)
                picture.paste(tile, (x + v * step, y + _LINE))
                what = f"{'image' if kind == 'finetune' else 'view'} {v + 1}"
                draw.text((x + v * step, y + _LINE + side + 1), what, _GREY, _font(11))
            x += tiles * step + _GAP
    return picture


def _rows(tiles: list[int]) -> list[list[tuple[int, int]]]:
    """Returns rows of (number of the example, its tiles), in order, none wider than a row may be."""
    rows: list[list[tuple[int, int]]] = [[]]
    for pair in enumerate(tiles):
        if rows[-1] and sum(t for _, t in rows[-1]) + pair[1] > _TILES_ACROSS:
            rows.append([])
        rows[-1].append(pair)
    return rows


def _font(size: int = 12) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_manager.findfont("DejaVu Sans"), size)


def _wrapped(text: str, width: int) -> list[str]:
    """Returns lines of text that fit into a width in pixels."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and math.ceil(_font().getlength(longer)) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines
