"""DICOM pictures whose pixels are not square -> resized so that they are."""

from fractions import Fraction

import numpy as np
from PIL import Image

from tfds_builders.dicom.elements import name, values
from tfds_builders.dicom.presentation import Scopes

# In the order in which dcmtk takes them: PixelAspectRatio is for pictures without any spacing
# (PS3.3 section C.7.6.3.1.7). All are height of a pixel, then width.
_KEYWORDS = ("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")
_SQUARE = 0.01  # spacings rounded in the header
_MOST = 16  # beyond any detector: the header is wrong


def with_square_pixels(
    image: Image.Image, scopes: Scopes, max_pixels: int, notes: set[str]
) -> Image.Image:
    """Returns `image` with square pixels, stretched along the side on which its pixels are longer.

    Args:
      image: of one frame.
      scopes: data sets that may hold the spacing.
      max_pixels: limit of the result; a larger one is not resized.
      notes: receives what was done or assumed.
    """
    for keyword in _KEYWORDS:
        scope = scopes.first(keyword)
        if scope is not None:
            break
    else:
        return image
    ratio = _ratio(values(scope, keyword))
    if ratio is not None and abs(ratio - 1) <= _SQUARE:
        return image
    if ratio is None or not 1 / _MOST <= ratio <= _MOST:
        notes.add(f"{name(keyword)} is no ratio of pixels: taken as square")
        return image
    width, height = image.size
    if ratio > 1:
        height = max(1, round(height * ratio))
    else:
        width = max(1, round(width / ratio))
    if width * height > max_pixels:
        notes.add("pixels that are not square, too many to resize: left as they are")
        return image
    notes.add(f"pixels that are not square: resized by {name(keyword)}")
    resized = image.resize((width, height), Image.Resampling.LANCZOS)
    if resized.mode != "F":
        return resized
    return Image.fromarray(np.clip(np.asarray(resized), 0, 255))  # Lanczos overshoots at edges


def _ratio(spacing: list) -> Fraction | None:
    """Returns height over width of a pixel, None if `spacing` is not two positive numbers."""
    try:
        vertical, horizontal = (Fraction(str(value)) for value in spacing)
    except (ValueError, ZeroDivisionError):
        return None
    return vertical / horizontal if vertical > 0 and horizontal > 0 else None
