"""What a picture is worth saying of: nothing to be seen on it, or hardly any pixels."""

import numpy as np

WHITE, BLACK, ONE_COLOUR = "all white", "all black", "all of one colour"
TINY_SIDE = 8
TINY = f"{TINY_SIDE} px or less on its shorter side"
BLANK = (WHITE, BLACK, ONE_COLOUR, TINY)
_SAME = 2  # grey levels that coding as JPEG may leave between pixels of one colour


def notes(pixels: np.ndarray, shorter_side: int = 0) -> tuple[str, ...]:
    """Returns the notes on a picture.

    Args:
      pixels: uint8 [H, W] or [H, W, channels].
      shorter_side: of the picture, in pixels, where `pixels` are a smaller copy of it.
    """
    found = []
    if (shorter_side or min(pixels.shape[:2])) <= TINY_SIDE:
        found.append(TINY)
    if is_constant(pixels):
        found.append(_name(pixels))
    return tuple(found)


def is_constant(pixels: np.ndarray) -> bool:
    """Says whether all pixels have one colour; most pictures need a glance at four of them."""
    colours = pixels.reshape(pixels.shape[0] * pixels.shape[1], -1)  # [H W, channels]
    few = colours[:: max(1, len(colours) // 4), 0].tolist()
    if max(few) - min(few) > _SAME:
        return False
    return bool((colours.max(0).astype(int) - colours.min(0) <= _SAME).all())


def _name(pixels: np.ndarray) -> str:
    if pixels.min() >= 255 - _SAME:
        return WHITE
    return BLACK if pixels.max() <= _SAME else ONE_COLOUR
