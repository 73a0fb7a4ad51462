"""Checks that a lossless JPEG was decoded from all of its code: pylibjpeg-libjpeg invents missing pixels.

The samples determine the code: how many bits a correct encoder writes for them follows from the Huffman
tables (ITU-T T.81 annex H). If bytes are missing or changed, a decoder reaches the last sample too early
or too late, and the numbers differ.
"""

import dataclasses
import struct

import numpy as np

from tfds_builders import jpeg
from tfds_builders.errors import ImageError

_SLACK = 16  # bits: the last byte is filled up, and an encoder may add one
_STRIP = 1 << 20  # samples at a time


@dataclasses.dataclass(frozen=True)
class _Scan:
    """Header of the only scan of a lossless JPEG, and the number of its coded bits."""

    # by component: bits of the code of each of the 17 categories, 0: none
    lengths: list[np.ndarray]
    predictor: int  # 1 to 7, table H.1
    transform: int  # low bits that are not coded
    num_bits: int


def check_length(data: bytes, bits: int, values: np.ndarray) -> None:
    """Compares the bits of a lossless JPEG with those that its samples need.

    Streams with restart intervals or several scans are not checked.

    Args:
      data: the JPEG.
      bits: of a sample.
      values: [H, W] or [H, W, C], as decoded from it.

    Raises:
      ImageError: they differ.
    """
    scan = _scan(data)
    samples = values[..., None] if values.ndim == 2 else values
    if scan is None or len(scan.lengths) != samples.shape[2]:
        return
    needed = 0
    for channel, lengths in enumerate(scan.lengths):
        cost = _cost(lengths)
        step = max(1, _STRIP // samples.shape[1])
        for start in range(0, len(samples), step):
            rows = samples[max(0, start - 1) : start + step, :, channel].astype(np.int32)
            difference = _differences(rows >> scan.transform, start == 0, bits, scan)
            needed += int(cost[difference & 0xFFFF].sum(dtype=np.int64))
    if not 0 <= scan.num_bits - needed < _SLACK:
        raise ImageError("damaged lossless JPEG code stream (part of it is missing or overwritten)")


def _scan(data: bytes) -> _Scan | None:
    tables: dict[int, np.ndarray] = {}
    scan = None
    for marker, begin, end in jpeg.segments(data):
        body = data[begin + 4 : end]
        if marker == 0xC4:
            tables |= _huffman(body)
        elif marker == 0xDD and body[:2] != b"\0\0":
            return None
        elif marker == 0xDA:
            if scan is not None:
                return None
            (length,) = struct.unpack(">H", data[begin + 2 : begin + 4])
            number = body[0]
            ids = [body[2 + 2 * i] >> 4 for i in range(number)]
            if any(i not in tables for i in ids):
                return None
            predictor, _, transform = body[1 + 2 * number : 4 + 2 * number]
            coded = data[begin + 2 + length : end]
            stuffed = coded.count(b"\xff\x00")
            scan = _Scan(
                [tables[i] for i in ids], predictor, transform & 15, 8 * (len(coded) - stuffed)
            )
    return scan if scan is not None and 1 <= scan.predictor <= 7 else None


def _huffman(body: bytes) -> dict[int, np.ndarray]:
    """Returns {table: bits of the code of each category} of a DHT segment (B.2.4.2), class 0."""
    tables, offset = {}, 0
    while offset + 17 <= len(body):
        counts = body[offset + 1 : offset + 17]
        symbols = body[offset + 17 : offset + 17 + sum(counts)]
        lengths = np.zeros(17, np.int64)
        bits = (length for length, count in enumerate(counts, 1) for _ in range(count))
        for symbol, length in zip(symbols, bits):
            if symbol <= 16:
                lengths[symbol] = length
        if body[offset] >> 4 == 0:
            tables[body[offset] & 15] = lengths
        offset += 17 + sum(counts)
    return tables


def _cost(lengths: np.ndarray) -> np.ndarray:
    """Returns the bits of each difference modulo 2**16: code of its category, and as many as that."""
    difference = np.arange(65536)
    size = np.where(difference <= 32768, difference, 65536 - difference)
    category = np.frexp(size.astype(np.float64))[1]
    category[0] = 0
    return lengths[category] + np.where(category == 16, 0, category)


def _differences(rows: np.ndarray, is_top: bool, bits: int, scan: _Scan) -> np.ndarray:
    """Returns samples less their predictions (H.1.2.1), without the row above the strip."""
    above = np.vstack([rows[:1], rows[:-1]])  # of the first row not used
    left = np.roll(rows, 1, axis=1)
    corner = np.roll(above, 1, axis=1)
    predicted = {
        1: lambda: left,
        2: lambda: above,
        3: lambda: corner,
        4: lambda: left + above - corner,
        5: lambda: left + ((above - corner) >> 1),
        6: lambda: above + ((left - corner) >> 1),
        7: lambda: (left + above) >> 1,
    }[scan.predictor]()
    predicted[:, 0] = above[:, 0]
    if is_top:
        predicted[0] = left[0]
        predicted[0, 0] = 1 << (bits - scan.transform - 1)
    difference = rows - predicted
    return difference if is_top else difference[1:]
