"""Checks JPEG files for damage that decoders silently ignore.

libjpeg, which Pillow, TensorFlow and browsers use, fills missing pixels with grey and only warns.
Pillow and TensorFlow drop the warnings; simplejpeg raises them. JPEG has no checksum: damage that
happens to be valid code cannot be detected, except for runs of zeros.
"""

import dataclasses
import re
from collections.abc import Iterator, Mapping

import numpy as np
import simplejpeg

from tfds_builders.errors import ImageError

EOI = b"\xff\xd9"
_RST0, _SOI, _EOI, _SOS, _DHT = 0xD0, 0xD8, 0xD9, 0xDA, 0xC4
_ZRL = 0xF0  # 16 zero coefficients, and more to come
_HOLE = bytes(32)
_NO_FRAME = (0xC4, 0xC8, 0xCC)  # of C0..CF, these are tables
_BASELINE, _EXTENDED, _PROGRESSIVE = 0xC0, 0xC1, 0xC2
_LOSSLESS = (0xC3, 0xCB)
_ARITHMETIC = (0xC9, 0xCA)
_ALL = 0xFF  # bits of a coefficient that no scan has brought
# libjpeg goes through all pixels once a scan: 64,000 scans of nothing take hours. Encoders use ten.
MAX_SCANS = 100
MAX_SCANNED = 4 * 10**9  # scans times pixels
# In the coded pixels FF is followed by 00, by a restart marker, or by another FF (padding).
_NEXT_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


@dataclasses.dataclass(frozen=True)
class Frame:
    """The headers of a JPEG (ITU-T T.81, section B.2)."""

    kind: int  # the second byte of its SOF marker
    bits: int  # per sample
    height: int
    width: int
    components: tuple[int, ...]  # their ids
    scans: tuple[bytes, ...]  # the header of each, from the number of its components on
    first_scan_end: int
    has_hole: bool  # zero bytes where no encoder writes any

    @property
    def is_lossless(self) -> bool:
        return self.kind in _LOSSLESS

    @property
    def is_usual(self) -> bool:
        """Whether it is of a kind that every decoder reads: Huffman, DCT."""
        return self.kind in (_BASELINE, _EXTENDED, _PROGRESSIVE)

    @property
    def is_progressive(self) -> bool:
        return self.kind in (_PROGRESSIVE, 0xCA)


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, begin, end) of each segment after SOI; the coded pixels belong to their SOS.

    The last is EOI, unless the file has none. Stray bytes between segments are skipped, as in every
    decoder; the iteration ends at bytes that cannot be interpreted.
    """
    position = 2
    while (position := data.find(b"\xff", position)) >= 0:
        marker = data[position + 1] if position + 1 < len(data) else 0
        if marker in (0x00, 0xFF):  # a stray FF; padding
            position += 1
            continue
        if marker == _EOI:
            yield marker, position, position + 2
            return
        if marker < 0xC0 or _RST0 <= marker <= _SOI:  # has no length, and no place here
            return
        end = position + 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        if marker == _SOS:  # its segment is followed by coded pixels, up to the next marker
            next_marker = _NEXT_MARKER.search(data, end)
            if not next_marker:
                return
            end = next_marker.start()
        yield marker, position, end
        position = end


def read_frame(data: bytes) -> Frame | None:
    """Returns the headers of a JPEG; None if they end before the first frame and scan."""
    frame, scans, first_scan_end, has_hole = None, [], 0, False
    first_codes: dict[int, int] = {}  # AC table -> the symbol whose code is all zeros
    for marker, begin, end in segments(data):
        if 0xC0 <= marker <= 0xCF and marker not in _NO_FRAME and frame is None:
            frame = marker, data[begin + 4 : end]
        elif marker == _DHT:
            first_codes |= _first_ac_codes(data[begin + 4 : end])
        elif marker == _SOS:
            scans.append(data[begin + 4 : begin + 2 + data[begin + 3]])
            first_scan_end = first_scan_end or end
            if not has_hole and data.find(_HOLE, begin, end) >= 0:
                has_hole = not _may_be_zeros(scans[-1], first_codes)
    if not frame or not scans or len(frame[1]) < 6:
        return None
    kind, header = frame
    return Frame(
        kind=kind,
        bits=header[0],
        height=int.from_bytes(header[1:3], "big"),
        width=int.from_bytes(header[3:5], "big"),
        components=tuple(header[6::3]),
        scans=tuple(scans),
        first_scan_end=first_scan_end,
        has_hole=has_hole,
    )


def _first_ac_codes(tables: bytes) -> dict[int, int]:
    """Returns {table: symbol of its first code} of the AC tables in a DHT segment (B.2.4.2)."""
    symbols = {}
    while len(tables) > 17:
        if tables[0] >> 4 == 1:
            symbols[tables[0] & 15] = tables[17]
        tables = tables[17 + sum(tables[1:17]) :]
    return symbols


def _may_be_zeros(scan: bytes, first_codes: Mapping[int, int]) -> bool:
    """Returns whether a scan may hold a run of zero bytes: if they mean blocks without detail.

    That is so if the all-zeros code of every AC table means "end of block". With the tables of
    Annex K, for one, zeros mean that every coefficient of every block is -1.
    """
    number = scan[0] if scan else 0
    if len(scan) != 4 + 2 * number or scan[-2] == 0:  # malformed, which libjpeg reports; DC only
        return True
    symbols = [first_codes.get(table & 15, 0) for table in scan[2 : 2 + 2 * number : 2]]
    return all(symbol & 15 == 0 and symbol != _ZRL for symbol in symbols)


def check_headers(frame: Frame) -> None:
    """Raises ImageError for a JPEG that neither libjpeg nor TensorFlow reads, or that lacks scans."""
    if frame.bits != 8:
        raise ImageError(
            f"JPEG of {frame.bits} bits per sample, which few programs read: export it with 8, or "
            "as PNG or TIFF of 16"
        )
    if frame.has_hole and frame.is_usual:
        raise ImageError("damaged JPEG (part of its pixels is overwritten with zeros)")
    num_scans = len(frame.scans)
    if num_scans > MAX_SCANS or num_scans * frame.height * frame.width > MAX_SCANNED:
        raise ImageError(f"damaged JPEG (its pixels are said to come in {num_scans} passes)")
    if _lacks_scans(frame):
        raise ImageError("truncated image (a JPEG without its last passes over the pixels)")


def _lacks_scans(frame: Frame) -> bool:
    """Returns whether a component, or (progressive) some bits of a coefficient, is in no scan."""
    missing = {component: np.full(64, _ALL, np.uint8) for component in frame.components}
    for scan in frame.scans:
        number = scan[0] if scan else 0
        first, last, bits = scan[-3:] if len(scan) == 4 + 2 * number else (0, 63, 0)
        whole = slice(first, last + 1) if frame.is_progressive else slice(None)
        for component in scan[1 : 1 + 2 * number : 2]:
            if component in missing:
                missing[component][whole] = bits & 15 if frame.is_progressive else 0
    return any(of_component.any() for of_component in missing.values())


def decode(data: bytes, frame: Frame, colour: str = "", size: tuple[int, int] = (1, 1)):
    """Returns uint8 [h, w, channels], decoded without a warning.

    Args:
      data: a JPEG from SOI to EOI.
      frame: its headers.
      colour: "RGB", "GRAY" or "CMYK"; "": whichever is fastest for a check.
      size: least (width, height): decoded at the smallest n/8 of the full size that reaches it.

    Raises:
      ImageError: libjpeg warned or failed.
    """
    if not colour:
        colour = {1: "GRAY", 4: "CMYK"}.get(
            len(frame.components), "RGB" if frame.is_lossless else "GRAY"
        )
    if frame.is_lossless:
        size = frame.width, frame.height
    try:
        return simplejpeg.decode_jpeg(data, colour, min_width=size[0], min_height=size[1])
    except ValueError as error:
        reason = str(error).removeprefix("Corrupt JPEG data: ").rstrip(".")
        raise ImageError(f"damaged JPEG ({reason})") from error


def check(data: bytes) -> None:
    """Checks a JPEG that is embedded in another file by decoding all of it.

    Raises:
      ImageError: it is truncated or damaged.
    """
    if (frame := read_frame(data)) is None:
        raise ImageError("truncated image")
    check_headers(frame)
    decode(data, frame)
