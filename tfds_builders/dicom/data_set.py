"""Bytes of a DICOM file -> the elements that affect its picture; nothing else is parsed.

Files without preamble or transfer syntax are read by their first elements, as viewers do. The values
stay pydicom's elements.
"""

import struct
import zlib
from dataclasses import dataclass

from pydicom import datadict, uid
from pydicom.dataset import Dataset

from tfds_builders.dicom.walk import LONG, SHORT, Walk
from tfds_builders.errors import ImageError


@dataclass(frozen=True)
class DataSet:
    """What was read of one file.

    Attributes:
      elements: a pydicom Dataset of the needed elements, except `PixelData`.
      kind: the SOP class, "" where the file states none.
      pixels: the value of PixelData, or None where there is none. Encapsulated: its items.
      pixel_vr: VR of PixelData, b"" if implicit.
      encapsulated: whether PixelData comes in items (a compressed transfer syntax).
      syntax: the transfer syntax that the file states, None where it states none.
      little_endian: byte order of the elements and of native pixel data.
      damage: why reading stopped before the end, "" if it did not.
    """

    elements: Dataset
    kind: uid.UID
    pixels: memoryview | None
    pixel_vr: bytes
    encapsulated: bool
    syntax: uid.UID | None
    little_endian: bool
    damage: str


def is_dicom(data: bytes) -> bool:
    """Returns whether `data` is a DICOM file (PS3.10 section 7.1), or a data set without its preamble."""
    return data[128:132] == b"DICM" or _starts_like_a_data_set(data)


def read(data: bytes, max_bytes: int) -> DataSet:
    """Returns the needed elements of a DICOM file, with or without preamble.

    Args:
      data: the file.
      max_bytes: of a deflated data set once it is inflated.

    Raises:
      ImageError: more than `max_bytes` or MAX_ELEMENTS, or broken before any element was read.
    """
    start = 132 if data[128:132] == b"DICM" else 0
    meta = Walk(data, little=True)
    meta_elements, start = meta.data_set(start, len(data), implicit=False, group=2)
    stated = meta_elements.get("TransferSyntaxUID")
    syntax = uid.UID(str(stated).strip(" \0")) if stated else None
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        data, start = _inflate(memoryview(data)[start:], max_bytes), 0
    implicit, little = _encoding(data[start : start + 6], syntax)
    walk = Walk(data, little)
    elements, _ = walk.data_set(start, len(data), implicit)
    elements.set_original_encoding(implicit, little)
    kind = elements.get("SOPClassUID") or meta_elements.get("MediaStorageSOPClassUID")
    return DataSet(
        elements,
        uid.UID(str(kind or "")),
        walk.pixels,
        walk.pixel_vr,
        walk.encapsulated,
        syntax,
        little,
        meta.damage or walk.damage,
    )


def _inflate(deflated: memoryview, max_bytes: int) -> bytes:
    """Returns the data set of transfer syntax Deflated Explicit VR Little Endian (PS3.5 A.5)."""
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        inflated = inflater.decompress(deflated, max_bytes)
    except zlib.error as error:
        raise ImageError("broken DICOM: its deflated data set cannot be inflated") from error
    if inflater.unconsumed_tail:
        raise ImageError(
            f"a deflated DICOM of more than {max_bytes >> 20} MB once inflated, which is more than a "
            "picture of the allowed size needs"
        )
    return inflated


def _encoding(first: bytes, syntax: uid.UID | None) -> tuple[bool, bool]:
    """Returns (implicit VR, little endian), from the first element where the file does not say."""
    explicit = first[4:6] in LONG | SHORT
    if syntax is None or syntax.is_private or not syntax.is_transfer_syntax:
        big = explicit and len(first) == 6 and struct.unpack(">H", first[:2])[0] < 0x0100
        return not explicit, not big
    return not explicit and syntax != uid.ExplicitVRBigEndian, syntax.is_little_endian


def _starts_like_a_data_set(data: bytes) -> bool:
    """Returns whether `data` begins with two elements of group 2 or 8, of valid tag, VR and length."""
    if data[:2] not in (b"\x02\x00", b"\x08\x00", b"\x00\x08"):
        return False
    implicit, little = _encoding(data[:6], None)
    if data[:2] == b"\x00\x08" and little:
        return False
    walk, offset, last = Walk(data, little), 0, -1
    for _ in range(2):
        if offset + 8 > len(data):
            return False
        tag, _, length, offset, _ = walk.header(offset, implicit)
        known = tag & 0xFFFF == 0 or datadict.dictionary_has_tag(tag)
        if not known or tag <= last or length > len(data) - offset:
            return False
        offset, last = offset + length, tag
    return True
