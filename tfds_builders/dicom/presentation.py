"""Stored grey values -> what a viewer shows of them (PS3.4 section N.2)."""

import functools
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image
from pydicom.dataset import Dataset

from tfds_builders.dicom.elements import (
    descriptor,
    name,
    number,
    whole,
    word,
    words_16,
)
from tfds_builders.dicom.elements import (
    values as element_values,
)
from tfds_builders.dicom.frames import Frame
from tfds_builders.errors import ImageError
from tfds_builders.grey import through_window

_STRIP = 1 << 20  # pixels processed at a time: in float64, a whole large picture would take 1.4 GB
Mapping = Callable[[np.ndarray], np.ndarray]


class Scopes:
    """Data sets that may hold an element of one frame: its own group, the shared one, the top level."""

    def __init__(self, elements: Dataset, index: int):
        self.top = elements
        self.all = [*_groups(elements, "PerFrameFunctionalGroupsSequence", index)]
        self.all += [*_groups(elements, "SharedFunctionalGroupsSequence", 0), elements]

    def first(self, *keywords: str) -> Dataset | None:
        """Returns the innermost data set that holds all of `keywords`, not empty."""
        for scope in self.all:
            if all(element_values(scope, keyword) for keyword in keywords):
                return scope
        return None


def _groups(elements: Dataset, keyword: str, index: int) -> Iterator[Dataset]:
    items = element_values(elements, keyword)
    for sequence in items[index : index + 1]:
        for inner in (
            "PixelValueTransformationSequence",
            "FrameVOILUTSequence",
            "PixelMeasuresSequence",
        ):
            yield from element_values(sequence, inner)[:1]


def render(
    frame: Frame, scopes: Scopes, inverse: bool, little_endian: bool, notes: set[str]
) -> Image.Image:
    """Returns an image of mode F in 0..255, of full depth.

    Stored value -> modality LUT or rescale -> VOI LUT, else the first window -> inverted for
    MONOCHROME1. Without window or VOI LUT, up to 8 bits are shown unchanged, more with the range of
    the picture's own values as window (see ../grey.py). Pixel padding (PS3.3 section C.7.5.1.1.2) is
    excluded from that range, and black.

    Args:
      frame: its values.
      scopes: data sets of the frame.
      inverse: whether it is MONOCHROME1.
      little_endian: byte order of the file.
      notes: receives assumptions.
    """
    padding = _padding(frame, scopes.top, notes)
    measured, is_linear = _modality(frame, scopes, little_endian, notes)
    extremes = _extremes(frame.values, measured, is_linear, padding)
    to_grey = _voi_transform(frame, scopes, extremes, little_endian) or _full_range(
        frame, measured, extremes
    )
    image = np.empty(frame.values.shape, np.float32)
    for rows in _strips(frame.values):
        with np.errstate(all="ignore"):
            grey = np.asarray(to_grey(measured(frame.values[rows])))
        if not np.isfinite(grey).all():
            raise ImageError("broken DICOM: its rescale or window leads beyond all numbers")
        image[rows] = 255 - grey if inverse else grey
        if padding is not None:
            image[rows][padding[rows]] = 0
    return Image.fromarray(image)


def _strips(array: np.ndarray) -> Iterator[slice]:
    step = max(1, _STRIP // max(1, array.shape[1]))
    return (slice(start, start + step) for start in range(0, len(array), step))


def _padding(frame: Frame, elements: Dataset, notes: set[str]) -> np.ndarray | None:
    """Returns which pixels are padding (bool [H, W]), None if none are, or all would be."""
    if not element_values(elements, "PixelPaddingValue"):
        return None
    value = _as_stored(whole(elements, "PixelPaddingValue"), frame.signed)
    limit = _as_stored(whole(elements, "PixelPaddingRangeLimit", value), frame.signed)
    low, high = sorted((value, limit))
    # First the stored values (padding may use unused bits), then the significant bits alone.
    padding = (frame.stored >= low) & (frame.stored <= high)
    if frame.stored is not frame.values:
        padding |= (frame.values >= low) & (frame.values <= high)
    if padding.all():
        notes.add(f"all of the picture within {name('PixelPaddingValue')}: not taken as padding")
        return None
    return padding if padding.any() else None


def _as_stored(value: int, signed: bool) -> int:
    """Returns a padding value with the signedness of the pixels, whichever it was written with."""
    value &= 0xFFFF
    return value - 65536 if signed and value > 32767 else value


def _modality(
    frame: Frame, scopes: Scopes, little_endian: bool, notes: set[str]
) -> tuple[Mapping, bool]:
    """Returns a function from stored to measured values (float64), and whether it is linear."""
    if element_values(scopes.top, "ModalityLUTSequence"):
        item = scopes.top.ModalityLUTSequence[0]
        return _lut(item, frame.signed, little_endian)[0], False
    scope = scopes.first("RescaleSlope") or scopes.first("RescaleIntercept") or scopes.top
    slope, intercept = number(scope, "RescaleSlope"), number(scope, "RescaleIntercept") or 0.0
    if slope == 0:
        notes.add(f"{name('RescaleSlope')} of 0: taken as 1")
    slope = slope or 1.0
    return lambda stored: stored.astype(np.float64) * slope + intercept, True


def _lut(item: Dataset, signed: bool, little_endian: bool) -> tuple[Mapping, int]:
    """Returns a function from a value to its entry in a table (clamped), and the entries' bits.

    pydicom's own apply_voi and apply_modality_lut take the index modulo 256 if entries have 8 bits.
    """
    entries, first, bits = descriptor(item, "LUTDescriptor", signed)
    table = words_16(item, "LUTData", little_endian)
    if bits <= 8 and 0 < len(table) < entries <= 2 * len(table):  # two entries to a word
        table = table.astype("<u2").view(np.uint8)[:entries].astype(np.uint16)
    if not len(table):
        raise ImageError(f"broken DICOM: no {name('LUTData')} in a lookup table")
    last = min(entries, len(table)) - 1

    def look_up(value: np.ndarray) -> np.ndarray:
        index = np.clip(np.rint(value) - first, 0, last)
        return table[index.astype(np.int64)].astype(np.float64)

    return look_up, bits


def _voi_transform(
    frame: Frame, scopes: Scopes, extremes: Callable[[], tuple[float, float]], little_endian: bool
) -> Callable[[np.ndarray], Image.Image] | None:
    """Returns the transform of the file's VOI LUT or first window, None if it has neither."""
    if element_values(scopes.top, "VOILUTSequence"):
        item = scopes.top.VOILUTSequence[0]
        table, bits = _lut(item, frame.signed or extremes()[0] < 0, little_endian)
        return lambda value: through_window(table(value), 0, 2**bits - 1)
    scope = scopes.first("WindowCenter", "WindowWidth")
    if scope is None:
        return None
    center, width = number(scope, "WindowCenter"), number(scope, "WindowWidth")
    if center is None or width is None or width < 1:
        return None
    return _window(center, width, word(scope, "VOILUTFunction") or "LINEAR")


def _window(center: float, width: float, function: str) -> Callable[[np.ndarray], Image.Image]:
    """Returns the window of PS3.3 sections C.11.2.1.2 and .3."""
    if function == "SIGMOID":
        # 1 / (1 + exp(-4 x)) = (1 + tanh(2 x)) / 2, which does not overflow
        return lambda value: through_window(np.tanh(2 * (value - center) / width), -1, 1)
    if function not in ("LINEAR", "LINEAR_EXACT"):
        raise ImageError(f"{name('VOILUTFunction')} is none of LINEAR, LINEAR_EXACT and SIGMOID")
    low, wide = center - width / 2, width if function == "LINEAR_EXACT" else width - 1
    return lambda value: through_window(value - low, 0, wide)


def _full_range(
    frame: Frame, measured: Mapping, extremes: Callable[[], tuple[float, float]]
) -> Callable[[np.ndarray], Image.Image]:
    """Returns the window of a picture without one: all of 8 bits, or the range of its values."""
    if frame.bits <= 8:
        lowest = -(1 << frame.bits - 1) if frame.signed else 0
        ends = measured(np.array([lowest, lowest + (1 << frame.bits) - 1]))
        low, high = sorted(ends.tolist())
    else:
        low, high = extremes()
    return lambda value: through_window(value - low, 0, high - low)


def _extremes(
    stored: np.ndarray, measured: Mapping, is_linear: bool, padding: np.ndarray | None
) -> Callable[[], tuple[float, float]]:
    """Returns a cached function for the least and greatest measured value outside the padding."""

    def compute() -> tuple[float, float]:
        ends: list[float] = []
        for rows in _strips(stored):
            strip = stored[rows] if padding is None else stored[rows][~padding[rows]]
            if strip.size:
                value = strip if is_linear else measured(strip)
                ends += [value.min(), value.max()]
        if is_linear:  # the ends of the stored values measure the ends
            ends = measured(np.array(ends)).tolist()
        return min(ends), max(ends)

    return functools.cache(compute)
