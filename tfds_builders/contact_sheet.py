"""One PNG with a few bags of every split, to look at before a long training."""

import io
import os
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow_datasets as tfds
from etils import epath
from PIL import Image, ImageDraw, ImageFont

from tfds_builders.stored_bags import label_text, read_encoded

BAGS_PER_SPLIT = 12
IMAGES_PER_BAG = 4
SIDE = 144  # pixels of the square in which an image is shown
SHEET_WIDTH = 1280
GAP, LINE, FONT_SIZE = 12, 17, 13
BACKGROUND, TILE, INK, FAINT = "white", (225, 225, 225), "black", (110, 110, 110)


def contact_sheet(builder: tfds.core.DatasetBuilder, path: str | os.PathLike) -> None:
    """Writes a PNG: bags evenly spread over each split, images side by side, with id and label.

    The same dataset gives the same sheet. Images are letterboxed; of a large bag the first
    IMAGES_PER_BAG are shown, and how many more there are.

    Args:
      builder: of a prepared dataset.
      path: of the PNG, local or remote.
    """
    font = ImageFont.load_default(FONT_SIZE)
    parts = []
    for split, info in builder.info.splits.items():
        bags = list(_spread(builder, split, info.num_examples))
        parts.append(_heading(f"{split}: {len(bags)} of {info.num_examples:,} bags", font))
        parts += _rows([_tile(builder, bag, font) for bag in bags])
    height = sum(part.height + GAP for part in parts) + GAP
    sheet = Image.new("RGB", (SHEET_WIDTH, height), BACKGROUND)
    top = GAP
    for part in parts:
        sheet.paste(part, (GAP, top))
        top += part.height + GAP
    with epath.Path(path).open("wb") as file:  # perhaps remote, gs://BUCKET/...
        sheet.save(file, "PNG", compress_level=4)


def _spread(
    builder: tfds.core.DatasetBuilder, split: str, num_bags: int
) -> Iterator[dict[str, Any]]:
    """Yields up to BAGS_PER_SPLIT bags at even distances, without reading all others."""
    shown = min(BAGS_PER_SPLIT, num_bags)
    numbers = [i * num_bags // shown for i in range(shown)]
    slices = "+".join(f"{split}[{number}:{number + 1}]" for number in numbers)
    yield from read_encoded(builder, slices, ["bag_id", "images", "label", "labels"])


def _tile(
    builder: tfds.core.DatasetBuilder, example: Mapping[str, Any], font: ImageFont.FreeTypeFont
) -> Image.Image:
    """Returns the images of a bag in a row, above two lines: its id, its label."""
    images = example["images"][:IMAGES_PER_BAG]
    tile = Image.new("RGB", (len(images) * (SIDE + 2) - 2, SIDE + 2 * LINE), BACKGROUND)
    for i, data in enumerate(images):
        tile.paste(_letterboxed(data), (i * (SIDE + 2), 0))
    hidden = len(example["images"]) - len(images)
    title = example["bag_id"].decode() + (f" (+{hidden} more)" if hidden else "")
    draw = ImageDraw.Draw(tile)
    label = label_text(builder, example) or "no label"
    for line, (text, colour) in enumerate(((title, FAINT), (label, INK))):
        short = _shortened(font_text(text), tile.width, font)
        draw.text((0, SIDE + line * LINE), short, fill=colour, font=font)
    return tile


def _letterboxed(data: bytes) -> Image.Image:
    """Returns the whole image in a grey square of SIDE pixels, small ones enlarged."""
    image = Image.open(io.BytesIO(data), formats=("JPEG", "PNG")).convert("RGB")
    scale = SIDE / max(image.size)
    size = [max(1, round(side * scale)) for side in image.size]
    image = image.resize(tuple(size), Image.Resampling.LANCZOS)
    square = Image.new("RGB", (SIDE, SIDE), TILE)
    square.paste(image, ((SIDE - size[0]) // 2, (SIDE - size[1]) // 2))
    return square


def font_text(text: str) -> str:
    """Returns `text` without accents, other signs as "?": Pillow's own font has ASCII only."""
    parts = unicodedata.normalize("NFKD", text)
    bare = "".join(part for part in parts if not unicodedata.combining(part))
    return bare.encode("ascii", "replace").decode()


def _shortened(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    """Returns `text`, cut with "..." where it is wider than `width` pixels."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(text + "...") > width:
        text = text[:-1]
    return text + "..."


def _heading(text: str, font: ImageFont.FreeTypeFont) -> Image.Image:
    heading = Image.new("RGB", (SHEET_WIDTH - 2 * GAP, LINE + 4), BACKGROUND)
    ImageDraw.Draw(heading).text((0, 0), text, fill=INK, font=font)
    return heading


def _rows(tiles: list[Image.Image]) -> list[Image.Image]:
    """Returns the tiles pasted into rows of the sheet's width, as many as fit in each."""
    rows: list[list[Image.Image]] = [[]]
    for tile in tiles:
        used = sum(other.width + GAP for other in rows[-1])
        if rows[-1] and used + tile.width > SHEET_WIDTH - 2 * GAP:
            rows.append([])
        rows[-1].append(tile)
    return [_side_by_side(row) for row in rows]


def _side_by_side(tiles: list[Image.Image]) -> Image.Image:
    row = Image.new("RGB", (SHEET_WIDTH - 2 * GAP, tiles[0].height), BACKGROUND)
    left = 0
    for tile in tiles:
        row.paste(tile, (left, 0))
        left += tile.width + GAP
    return row
