"""JPEG files whole or damaged: what a decoder forgives, and says nobody, is an error here.

libjpeg, which Pillow, TensorFlow and browsers decode with, fills what is missing with grey and only
warns. Pillow and TensorFlow drop the warnings; simplejpeg raises them. Nothing in the coded pixels is
a checksum: damage that happens to be valid code cannot be told, but for runs of zeros.
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
    """What the headers of a JPEG say (ITU-T T.81, section B.2)."""

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
        """Says whether it is of a kind that every decoder reads: Huffman, DCT."""
        return self.kind in (_BASELINE, _EXTENDED, _PROGRESSIVE)

    @property
    def is_progressive(self) -> bool:
        return self.kind in (_PROGRESSIVE, 0xCA)


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yields (marker, begin, end) of each segment after SOI; the coded pixels belong to their SOS.

    The last is EOI, unless the file has none. Stray bytes between segments are passed over, as
    every decoder does; where it cannot be said what the bytes are, there is no further segment.
    """
    at = 2
    while (at := data.find(b"\xff", at)) >= 0:
        marker = data[at + 1] if at + 1 < len(data) else 0
        if marker in (0x00, 0xFF):  # a stray FF; padding
            at += 1
            continue
        if marker == _EOI:
            yield marker, at, at + 2
            return
        if marker < 0xC0 or _RST0 <= marker <= _SOI:  # has no length, and no place here
            return
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == _SOS:  # its segment is followed by coded pixels, up to the next marker
            found = _NEXT_MARKER.search(data, end)
            if not found:
                return
            end = found.start()
        yield marker, at, end
        at = end


def read_frame(data: bytes) -> Frame | None:
    """Returns what the headers say; None where they do not get as far as a frame and a scan."""
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
    found = {}
    while len(tables) > 17:
        if tables[0] >> 4 == 1:
            found[tables[0] & 15] = tables[17]
        tables = tables[17 + sum(tables[1:17]) :]
    return found


def _may_be_zeros(scan: bytes, first_codes: Mapping[int, int]) -> bool:
    """Says whether a scan may hold a run of zero bytes: if they mean blocks without detail.

    That is so if the all-zeros code of every AC table means "end of block". With the tables of
    Annex K, for one, zeros mean that every coefficient of every block is -1.
    """
    number = scan[0] if scan else 0
    if len(scan) != 4 + 2 * number or scan[-2] == 0:  # malformed, which libjpeg says; DC only
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
    """Says whether a component, or (progressive) some bits of a coefficient, is in no scan."""
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
      frame: what its headers say.
      colour: "RGB", "GRAY" or "CMYK"; "" takes what is quickest for a check: grey.
      size: least (width, height): the smallest of n/8 of the picture's size that is not below.

    Raises:
      ImageError: libjpeg warned, or gave up.
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
    """Decodes all of a JPEG that is stored inside something else.

    Raises:
      ImageError: it is truncated or damaged.
    """
    if (frame := read_frame(data)) is None:
        raise ImageError("truncated image")
    check_headers(frame)
    decode(data, frame)
