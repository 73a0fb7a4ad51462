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
    """Returns uint8 [H, W, 3]; indices beyond the table get its first or last colour.

    Args:
      index: integers [H, W].
      elements: data set with the palette.
      signed: whether indices are.
      little_endian: byte order of the file.

    Raises:
      ImageError: there is no palette, or a broken one.
    """
    rgb = np.empty((*index.shape, 3), np.uint8)
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
        entry = np.clip(index.astype(np.int32) - first, 0, len(table) - 1)
        rgb[..., channel] = bytes_of_table[entry]
    return rgb


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

    def expand(position: int, count: int | None, depth: int) -> None:
        while position + 1 < len(segments) and count != 0 and len(table) < entries:
            kind, length = int(segments[position]), int(segments[position + 1])
            if kind == 0:  # discrete: the values themselves
                table.extend(segments[position + 2 : position + 2 + length].tolist())
                position += 2 + length
            elif (
                kind == 1 and table and position + 2 < len(segments)
            ):  # linear, from the last value
                steps = np.linspace(table[-1], int(segments[position + 2]), length + 1)[1:]
                table.extend(np.rint(steps).astype(int).tolist())
                position += 3
            elif (
                kind == 2 and depth == 0 and position + 3 < len(segments)
            ):  # `length` segments again
                offset = int(segments[position + 2]) | int(segments[position + 3]) << 16
                expand(offset // 2, length, 1)
                position += 4
            else:
                raise ImageError(f"broken DICOM: {what} holds no valid segments")
            count = None if count is None else count - 1

    expand(0, None, 0)
    return np.array(table[:entries], np.uint16)
