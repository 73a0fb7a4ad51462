"""Checks TIFF files for damage that libtiff ignores: in embedded JPEGs and deflated data."""

import zlib
from collections.abc import Iterator, Mapping

from tfds_builders import jpeg
from tfds_builders.errors import ImageError

_COMPRESSION, _TABLES = 259, 347  # tags
_JPEG, _DEFLATE = 7, (8, 32946)
_CHUNK = 2**20


def check(data: bytes, tags: Mapping) -> None:
    """Raises ImageError if a strip or tile is damaged, as far as its compression can show.

    Pixels that are not compressed, or by LZW or PackBits, have no checksum.

    Args:
      data: the file.
      tags: TIFF tag -> value.
    """
    if tags.get(_COMPRESSION) == _JPEG:
        tables = tags.get(_TABLES, b"")  # of all parts, from SOI to EOI: Adobe's Technical Note 2
        for part in _parts(data, tags):
            jpeg.check(tables[:-2] + part[2:] if len(tables) > 4 else part)
    elif tags.get(_COMPRESSION) in _DEFLATE:
        for part in _parts(data, tags):
            _inflate(part)


def _parts(data: bytes, tags: Mapping) -> Iterator[bytes]:
    for offsets_tag, sizes_tag in ((273, 279), (324, 325)):  # of strips, of tiles
        for offset, size in zip(tags.get(offsets_tag, ()), tags.get(sizes_tag, ())):
            yield data[offset : offset + size]


def _inflate(part: bytes) -> None:
    """Inflates to the end, where the checksum is; libtiff stops at the last pixel."""
    inflater = zlib.decompressobj()
    try:
        while part and not inflater.eof:
            inflater.decompress(part, _CHUNK)
            part = inflater.unconsumed_tail
    except zlib.error as error:
        raise ImageError("damaged TIFF (the checksum of its pixels is wrong)") from error
    if not inflater.eof:
        raise ImageError("truncated image")
