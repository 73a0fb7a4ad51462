"""Pixel data of a DICOM -> the values of its frames; `presentation.py` interprets grey values."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.encaps import generate_frames

from tfds_builders.dicom.data_set import DataSet
from tfds_builders.dicom.decompress import decompress
from tfds_builders.dicom.elements import values as element_values
from tfds_builders.dicom.layout import Layout
from tfds_builders.errors import ImageError


@dataclass(frozen=True)
class Frame:
    """The decoded values of one frame.

    Attributes:
      values: [H, W] integers, or [H, W, 3] unsigned RGB.
      stored: [H, W] as stored, with unused bits; else the same array as `values`.
      bits: significant bits of a sample.
      signed: whether grey values may be negative.
    """

    values: np.ndarray
    stored: np.ndarray
    bits: int
    signed: bool


def frame_indices(which: str, count: int) -> range:
    """Returns the indices of the chosen frames.

    Args:
      which: "first", "middle" or "all".
      count: number of frames.
    """
    if which == "all":
        return range(count)
    index = {"first": 0, "middle": count // 2}[which]
    return range(index, index + 1)


def frames(
    data_set: DataSet, layout: Layout, indices: range, max_pixels: int, notes: set[str]
) -> Iterator[Frame]:
    """Yields the frames `indices`, one at a time.

    Args:
      data_set: of the file.
      layout: of its pixel data.
      indices: of the frames.
      max_pixels: limit for a code stream.
      notes: receives contradictions to the header.

    Raises:
      ImageError: too few bytes, or compressed in a way that is broken or not read.
    """
    assert data_set.pixels is not None
    if not data_set.encapsulated:
        syntax = data_set.syntax
        if syntax is not None and syntax in uid.AllTransferSyntaxes and syntax.is_encapsulated:
            notes.add("the transfer syntax (0002,0010) says compressed, the pixel data is not")
        yield from (_native(data_set, data_set.pixels, layout, index, notes) for index in indices)
        return
    for data in _compressed(data_set, data_set.pixels, layout.frames, indices):
        samples = decompress(data, data_set.syntax, layout, max_pixels, notes)
        if samples.values.ndim == 3:
            rgb = _rgb(samples.values, samples.bits) if samples.is_ybr else samples.values
            yield Frame(rgb, rgb, 8 if samples.is_ybr else samples.bits, False)
        else:
            yield Frame(samples.values, samples.values, samples.bits, samples.signed)


def _compressed(
    data_set: DataSet, pixels: memoryview, count: int, indices: range
) -> Iterator[bytes]:
    """Yields the compressed bytes of the frames `indices`."""
    order = "<" if data_set.little_endian else ">"
    tables = [
        element_values(data_set.elements, keyword)
        for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")
    ]
    offsets = None
    if all(len(table) == 1 and isinstance(table[0], bytes) for table in tables):
        offsets = (tables[0][0], tables[1][0])
    num_frames = 0
    try:
        data_of_frames = generate_frames(
            bytes(pixels), number_of_frames=count, extended_offsets=offsets, endianness=order
        )
        for data in itertools.islice(data_of_frames, indices.start, indices.stop):
            num_frames += 1
            yield data
    except (ValueError, IndexError, TypeError) as error:  # pydicom's, of offsets that lead nowhere
        raise ImageError(
            "compressed frames that cannot be told apart: broken offset table"
        ) from error
    if num_frames < len(indices):
        raise ImageError("truncated pixel data: fewer compressed frames than the header announces")


def _native(
    data_set: DataSet, pixels: memoryview, layout: Layout, index: int, notes: set[str]
) -> Frame:
    """Returns a frame that is stored without compression (PS3.5 section 8.1)."""
    subsampled = layout.photometric == "YBR_FULL_422"
    numbers = layout.pixels * layout.samples * 2 // (3 if subsampled else 2)
    need = math.ceil(numbers * layout.frames * layout.allocated / 8)
    if len(pixels) < need:
        raise ImageError(
            "truncated pixel data: fewer bytes than its rows, columns, bits and frames need"
        )
    if subsampled and len(pixels) >= need * 3 // 2:
        notes.add("YBR_FULL_422 in the header, but the colours are not subsampled")
        whole = replace(layout, photometric="YBR_FULL")
        return _native(data_set, pixels, whole, index, notes)
    raw = _numbers(data_set, pixels, layout.allocated, index * numbers, numbers)
    if subsampled:  # Y1 Y2 Cb Cr for two pixels
        pairs = raw.reshape(-1, 4)
        raw = pairs[:, [0, 2, 3, 1, 2, 3]].reshape(-1)
    if layout.samples == 1:
        raw = raw.reshape(layout.rows, layout.columns)
        values = stored_bits(raw, layout.bits, layout.signed)
        stored = raw.view(values.dtype)
        return Frame(values, stored, layout.bits, layout.signed)
    if layout.planar == 1 and not subsampled:
        raw = raw.reshape(3, layout.rows, layout.columns).transpose(1, 2, 0)
    raw = stored_bits(raw.reshape(layout.rows, layout.columns, 3), layout.bits, False)
    if layout.photometric.startswith("YBR_FULL"):
        raw, bits = _rgb(raw, layout.bits), 8
    else:
        bits = layout.bits
    return Frame(raw, raw, bits, False)


def _numbers(
    data_set: DataSet, pixels: memoryview, allocated: int, start: int, count: int
) -> np.ndarray:
    """Returns `count` unsigned numbers of native pixel data, from number `start` on."""
    if allocated == 1:  # packed from the lowest bit on; frames do not begin at whole bytes
        first = start // 8
        packed = np.frombuffer(pixels[first : (start + count + 7) // 8], np.uint8)
        return np.unpackbits(packed, bitorder="little")[start % 8 :][:count]
    if allocated == 8 and not data_set.little_endian and data_set.pixel_vr == b"OW":
        first = start // 2 * 2  # words of two pixels, each with its bytes swapped
        words = np.frombuffer(pixels[first : (start + count + 1) // 2 * 2], ">u2")
        return words.astype("<u2").view(np.uint8)[start - first :][:count]
    kind = np.dtype(f"{'<' if data_set.little_endian else '>'}u{allocated // 8}")
    numbers = np.frombuffer(pixels, kind, count, start * kind.itemsize)
    return numbers.astype(kind.newbyteorder("="), copy=False)


def stored_bits(raw: np.ndarray, bits: int, signed: bool) -> np.ndarray:
    """Returns the lowest `bits` of unsigned numbers, in the dtype of their sign.

    The unused bits may have any value (PS3.5 section 8.1.1). Returns a view if there are none.

    Args:
      raw: unsigned integers of any shape.
      bits: significant ones.
      signed: whether they are in two's complement.
    """
    unused = 8 * raw.dtype.itemsize - bits
    kind = np.dtype(f"{'i' if signed else 'u'}{raw.dtype.itemsize}")
    if not unused:
        return raw.view(kind)
    return (raw << unused).view(kind) >> unused


def _rgb(ybr: np.ndarray, bits: int) -> np.ndarray:
    """Returns [H, W, 3] uint8 RGB of full-range YCbCr (PS3.3 C.7.6.3.1.2, as in JFIF)."""
    height, width, _ = ybr.shape
    in_8_bits = ybr if bits == 8 else np.rint(ybr * (255 / (2**bits - 1)))
    data = np.ascontiguousarray(in_8_bits, np.uint8)
    return np.asarray(Image.frombytes("YCbCr", (width, height), data.tobytes()).convert("RGB"))
