"""One compressed frame of a DICOM -> its samples.

If the code stream contradicts the header around it, the code stream is used, as viewers do, and a
note says so. The sign is special: see `_sign`.
"""

from dataclasses import dataclass

import numpy as np
from pydicom import uid

from tfds_builders.dicom import code_stream
from tfds_builders.dicom.code_stream import CodeStream
from tfds_builders.dicom.decoders import decode, decode_rle, is_ybr
from tfds_builders.dicom.elements import name
from tfds_builders.dicom.layout import Layout
from tfds_builders.errors import ImageError

_NO_DECODER = "decompress it first, for example with 'gdcmconv --raw in.dcm out.dcm'"


@dataclass(frozen=True)
class Samples:
    """The samples of a frame.

    Attributes:
      values: [H, W] integers, with their sign, or [H, W, 3] unsigned.
      bits: significant bits of a sample.
      signed: whether grey values may be negative.
      is_ybr: whether the three samples still are YCbCr.
    """

    values: np.ndarray
    bits: int
    signed: bool
    is_ybr: bool


def decompress(
    frame: bytes, syntax: uid.UID | None, layout: Layout, max_pixels: int, notes: set[str]
) -> Samples:
    """Returns the samples of a compressed frame.

    Args:
      frame: its compressed bytes.
      syntax: transfer syntax; None if the file does not state it.
      layout: according to the header.
      max_pixels: limit for all frames.
      notes: receives contradictions between code stream and header.

    Raises:
      ImageError: broken, of more than `max_pixels`, or of an unsupported compression.
    """
    stream = code_stream.parse(frame)
    if stream is None:
        return _without_stream(frame, syntax, layout)
    _check(stream, syntax, layout, max_pixels, notes)
    try:
        values, is_rgb = decode(stream, layout)
    except ImageError:
        raise
    except Exception as error:  # decoders raise exceptions of any type
        raise ImageError(f"broken or truncated {stream.family} code stream") from error
    if values.ndim == 3:
        return Samples(values, stream.bits, False, not is_rgb and is_ybr(stream, layout))
    values, signed = _sign(values, stream, layout, notes)
    bits = layout.bits
    if stream.bits > bits and (values.max() >> (bits - signed) or values.min() < -(1 << bits - 1)):
        notes.add(f"more bits in the code stream than {name('BitsStored')} says")
        bits = stream.bits
    return Samples(values, bits, signed, False)


def _check(
    stream: CodeStream, syntax: uid.UID | None, layout: Layout, max_pixels: int, notes: set[str]
) -> None:
    """Raises ImageError for implausible streams; notes contradictions between stream and header."""
    if syntax is None or not stream.belongs_to(syntax):
        notes.add(
            f"the transfer syntax (0002,0010) is not that of the code stream ({stream.family})"
        )
    if stream.components not in (1, 3) or not stream.height or not stream.width:
        raise ImageError(
            f"a {stream.family} code stream of {stream.height} rows, {stream.width} columns and "
            f"{stream.components} components"
        )
    if not 1 <= stream.bits <= 16:
        raise ImageError(f"a {stream.family} code stream of {stream.bits} bits: up to 16 are read")
    if (stream.height, stream.width) != (layout.rows, layout.columns):
        if stream.height * stream.width > max(layout.pixels, max_pixels // layout.frames):
            raise ImageError(
                f"a {stream.family} code stream of {stream.height} rows and {stream.width} columns, the "
                f"header says {layout.rows} and {layout.columns}"
            )
        notes.add("the code stream has another size than the header says")
    if stream.components != layout.samples:
        notes.add(f"the code stream contradicts {name('SamplesPerPixel')}")
    elif stream.components == 3:
        header = "YBR" if layout.photometric.startswith("YBR_FULL") else layout.photometric
        if header in ("RGB", "YBR") and stream.colour not in ("", header):
            notes.add(f"the code stream contradicts {name('PhotometricInterpretation')}")


def _sign(
    values: np.ndarray, stream: CodeStream, layout: Layout, notes: set[str]
) -> tuple[np.ndarray, bool]:
    """Returns (grey values with their sign, whether they may be negative).

    Only JPEG 2000 says whether samples are signed; the others leave it to the header. Where its
    stream and the header contradict each other either may be wrong (real files of both kinds are
    known), and the wrong reading tears the picture: neighbours differ by 2**bits. So the reading
    with fewer tears is taken, the stream's if both have as many.
    """
    bits = min(stream.bits, layout.bits) if layout.signed else stream.bits
    if stream.signed is None and layout.signed:
        return _twos_complement(values, bits), True
    if stream.signed is None or stream.signed == layout.signed:
        return values, layout.signed
    notes.add(f"the code stream contradicts {name('PixelRepresentation')}")
    as_stream = (values, stream.signed)
    if layout.signed:
        as_header = (_twos_complement(values, bits), True)
    else:
        as_header = (values.astype(np.int32) & ((1 << bits) - 1), False)
    return min(as_stream, as_header, key=lambda reading: _tears(reading[0], bits))


def _twos_complement(values: np.ndarray, bits: int) -> np.ndarray:
    """Returns int32 of unsigned `values`, the lowest `bits` of them in two's complement."""
    unused = 32 - bits
    return (values.astype(np.int32) << unused) >> unused


def _tears(values: np.ndarray, bits: int) -> int:
    """Returns how many neighbours in [H, W] differ by more than half of 2**bits."""
    limit = 1 << bits - 1
    return sum(
        int((np.abs(np.diff(values.astype(np.int32), axis=axis)) > limit).sum()) for axis in (0, 1)
    )


def _without_stream(frame: bytes, syntax: uid.UID | None, layout: Layout) -> Samples:
    """Returns the samples of a frame that is no JPEG of any family: RLE is supported.

    Raises:
      ImageError: any other compression, with its name.
    """
    if syntax == uid.RLELossless:
        is_ybr_too = layout.samples == 3 and layout.photometric.startswith("YBR_FULL")
        return Samples(decode_rle(frame, layout), layout.bits, layout.signed, is_ybr_too)
    if syntax is None:
        raise ImageError(
            "no transfer syntax (0002,0010), and pixel data compressed in no known way"
        )
    if (
        syntax
        in uid.JPEGTransferSyntaxes + uid.JPEGLSTransferSyntaxes + uid.JPEG2000TransferSyntaxes
    ):
        raise ImageError(
            f"broken DICOM: no code stream in the pixel data, which says {syntax.name!r}"
        )
    named = repr(syntax.name) if syntax.is_valid else "an invalid transfer syntax (0002,0010)"
    if "MPEG" in named or "HEVC" in named:
        raise ImageError(f"a video ({named}): export the pictures to use from it")
    raise ImageError(f"compressed as {named}, which is not read: {_NO_DECODER}")
