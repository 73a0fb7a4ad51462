"""Palettes of DICOM pictures (PS3.3 sections C.7.6.3.1.5 and C.7.9): index -> RGB.

pydicom's apply_color_lut reads 16-bit entries in the machine's byte order, not the file's.
"""

import numpy as np
from pydicom.dataset import Dataset

from tfds_builders.dicom.elements import descriptor, name, values, words_16
from tfds_builders.errors import ImageError

_COLOURS = ("Red", "Green", "Blue")


def through_palette(
    index: np.ndarray, elements: Dataset, signed: bool, little_endian: bool
) -> np.ndarray:
    """Returns uint8 [H, W, 3] for indices [H, W]; those beyond the table get its first or last colour.

    Raises:
      ImageError: there is no palette, or a broken one.
    """
    shown = np.empty((*index.shape, 3), np.uint8)
    for channel, colour in enumerate(_COLOURS):
        key = f"{colour}PaletteColorLookupTable"
        if not values(elements, f"{key}Descriptor"):
            raise ImageError(f"a picture in palette colours without {name(f'{key}Descriptor')}")
        entries, first, bits = descriptor(elements, f"{key}Descriptor", signed)
        table = _table(elements, colour, entries, bits, little_endian)
        if not len(table):
            raise ImageError(f"a picture in palette colours without {name(f'{key}Data')}")
        # Some writers fill 16-bit entries with 0..255; viewers show them as such.
        top = 65535 if bits > 8 and table.max() > 255 else 255
        bytes_of_table = np.rint(table.astype(np.float32) * (255 / top)).astype(np.uint8)
        place = np.clip(index.astype(np.int32) - first, 0, len(table) - 1)
        shown[..., channel] = bytes_of_table[place]
    return shown


def _table(
    elements: Dataset, colour: str, entries: int, bits: int, little_endian: bool
) -> np.ndarray:
    """Returns the entries of one colour (uint16)."""
    data = values(elements, f"{colour}PaletteColorLookupTableData")
    if not data:
        key = f"Segmented{colour}PaletteColorLookupTableData"
        return _expanded(words_16(elements, key, little_endian), entries, name(key))
    if bits <= 8 and len(data) == 1 and len(data[0]) < 2 * entries:  # two entries to a word
        packed = np.frombuffer(data[0], np.uint8)
        if not little_endian and len(packed) % 2 == 0:
            packed = packed.reshape(-1, 2)[:, ::-1].reshape(-1)
        return packed[:entries].astype(np.uint16)
    return words_16(elements, f"{colour}PaletteColorLookupTableData", little_endian)[:entries]


def _expanded(segments: np.ndarray, entries: int, what: str) -> np.ndarray:
    """Returns the first `entries` of a segmented table (PS3.3 section C.7.9.2)."""
    table: list[int] = []

    def expand(at: int, count: int | None, depth: int) -> None:
        while at + 1 < len(segments) and count != 0 and len(table) < entries:
            kind, length = int(segments[at]), int(segments[at + 1])
            if kind == 0:  # discrete: the values themselves
                table.extend(segments[at + 2 : at + 2 + length].tolist())
                at += 2 + length
            elif kind == 1 and table and at + 2 < len(segments):  # linear, from the last value
                steps = np.linspace(table[-1], int(segments[at + 2]), length + 1)[1:]
                table.extend(np.rint(steps).astype(int).tolist())
                at += 3
            elif kind == 2 and depth == 0 and at + 3 < len(segments):  # `length` segments again
                offset = int(segments[at + 2]) | int(segments[at + 3]) << 16
                expand(offset // 2, length, 1)
                at += 4
            else:
                raise ImageError(f"broken DICOM: {what} holds no valid segments")
            count = None if count is None else count - 1

    expand(0, None, 0)
    return np.array(table[:entries], np.uint16)
