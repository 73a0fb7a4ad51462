"""Removes metadata from JPEG and PNG bytes: camera, place, time, names, previews.

Pixels are unchanged: whole segments are copied or left out. Segments that define colours stay.
"""

import zlib

from tfds_builders.jpeg import EOI, segments

_COMMENT, _APP0, _APP15 = 0xFE, 0xE0, 0xEF
# JFIF and Adobe decide whether the components are YCbCr or RGB; ICC is the colour profile.
_JPEG_KEPT = {0xE0: b"JFIF\0", 0xE2: b"ICC_PROFILE\0", 0xEE: b"Adobe"}
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND")  # their checksums are TensorFlow's to check
_PNG_KEPT = (b"cHRM", b"gAMA", b"iCCP", b"sBIT", b"sRGB")


def jpeg_without_metadata(data: bytes) -> bytes | None:
    """Returns the JPEG without EXIF, XMP, IPTC and comments; None if `data` has no end.

    Stray bytes between segments, and bytes after the end, are dropped too.
    """
    parts = [b"\xff\xd8"]
    for marker, begin, end in segments(data):
        segment = data[begin:end]
        describes = _APP0 <= marker <= _APP15 or marker == _COMMENT
        prefix = _JPEG_KEPT.get(marker)
        if prefix and segment[4:].startswith(prefix):
            parts.append(_bare(marker, segment))
        elif not describes:
            parts.append(segment)
    return b"".join(parts) if parts[-1] == EOI else None


def _bare(marker: int, segment: bytes) -> bytes:
    """Returns a kept segment without the preview (JFIF) or the bytes that may follow (Adobe)."""
    if marker == 0xE0 and len(segment) >= 18:  # length 16: id, version, density, no thumbnail
        return segment[:2] + b"\x00\x10" + segment[4:16] + b"\0\0"
    if marker == 0xEE and len(segment) >= 16:  # length 14: id, version, two flags, transform
        return segment[:2] + b"\x00\x0e" + segment[4:16]
    return segment


def png_without_metadata(data: bytes) -> bytes:
    """Returns the PNG (valid, see `pixels`) with the chunks that decide its pixels and colours."""
    parts, offset = [_PNG_SIGNATURE], len(_PNG_SIGNATURE)
    kind = b""
    while kind != b"IEND" and offset < len(data):
        kind = data[offset + 4 : offset + 8]
        end = offset + 12 + int.from_bytes(data[offset : offset + 4], "big")
        if kind in _PNG_CRITICAL or (kind in _PNG_KEPT and _is_whole(data[offset:end])):
            parts.append(data[offset:end])
        offset = end
    return b"".join(parts)


def _is_whole(chunk: bytes) -> bool:
    return zlib.crc32(chunk[4:-4]).to_bytes(4, "big") == chunk[-4:]
