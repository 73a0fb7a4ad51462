"""Grey values of more than 8 bits -> displayed values; the same rule for all formats.

An image of 8 bits is stored unchanged. A deeper one is displayed through a window: values up to
`low` are black, from `high` on white, linear between. A DICOM may define its window; for
everything else (16-bit PNG and TIFF, DICOM without window) it is the range of its own values, the rule
by which MIMIC-CXR-JPG was made of its DICOMs (Johnson et al. 2019, arXiv:1901.07042, before its
histogram equalisation). Dividing by 257 would be simpler, but files of 16 bits often hold the 10,
12 or 14 bits of a detector: 0..4095 would become 0..16 of 255, and lose almost all contrast.
Brightness is then not comparable across images, but radiographs are not calibrated for that anyway.
A picture is displayed alike in all of these formats.
"""

import numpy as np
from PIL import Image


def through_window(values: np.ndarray, low: float, high: float) -> Image.Image:
    """Returns mode F, 0 at and below `low`, 255 at and above `high`; still of full depth.

    Args:
      values: [H, W], any number type.
      low, high: if they are equal, all above is white: the standard's window of width 1.
    """
    shown = values.astype(np.float32)  # in place from here on: a radiograph is 30 MB of float32
    if high > low:
        shown -= low
        shown *= 255 / (high - low)
        np.clip(shown, 0, 255, out=shown)
    else:
        shown = np.where(shown > low, np.float32(255), np.float32(0))
    return Image.fromarray(shown)


def through_own_range(values: np.ndarray) -> Image.Image:
    """Returns mode F, 0 for the least and 255 for the greatest of `values` [H, W]."""
    return through_window(values, float(values.min()), float(values.max()))


def inverted(image: Image.Image) -> Image.Image:
    """Returns `image` (mode F, 0..255) with black and white exchanged."""
    return Image.fromarray(255 - np.asarray(image))


def to_8_bits(image: Image.Image) -> Image.Image:
    """Returns mode L of `image` (mode F), rounded; resizing may have left 0..255 a little."""
    return Image.fromarray(np.clip(np.rint(np.asarray(image)), 0, 255).astype(np.uint8))
