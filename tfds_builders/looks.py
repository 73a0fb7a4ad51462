"""Notes on pictures that show nothing, or have hardly any pixels."""

import numpy as np

WHITE, BLACK, ONE_COLOUR = "all white", "all black", "all of one colour"
TINY_SIDE = 8
TINY = f"{TINY_SIDE} px or less on its shorter side"
BLANK = (WHITE, BLACK, ONE_COLOUR, TINY)
_SAME = 2  # grey levels by which pixels of one colour may differ after JPEG coding


def notes(pixels: np.ndarray, shorter_side: int = 0) -> tuple[str, ...]:
    """Returns the notes on a picture.

    Args:
      pixels: uint8 [H, W] or [H, W, channels].
      shorter_side: of the picture, in pixels, where `pixels` are a smaller copy of it.
    """
    texts = []
    if (shorter_side or min(pixels.shape[:2])) <= TINY_SIDE:
        texts.append(TINY)
    if is_constant(pixels):
        texts.append(_name(pixels))
    return tuple(texts)


def is_constant(pixels: np.ndarray) -> bool:
    """Returns whether all pixels have one colour; for most pictures four of them decide."""
    colours = pixels.reshape(pixels.shape[0] * pixels.shape[1], -1)  # [H W, channels]
    sample = colours[:: max(1, len(colours) // 4), 0].tolist()
    if max(sample) - min(sample) > _SAME:
        return False
    return bool((colours.max(0).astype(int) - colours.min(0) <= _SAME).all())


def _name(pixels: np.ndarray) -> str:
    if pixels.min() >= 255 - _SAME:
        return WHITE
    return BLACK if pixels.max() <= _SAME else ONE_COLOUR
