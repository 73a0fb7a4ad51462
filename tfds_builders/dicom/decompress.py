"""One compressed frame of a DICOM -> its samples.

Where the code stream contradicts the header around it, the code stream is believed, as viewers do,
and a note says so. The sign is special: see `_sign`. The decoder depends on the stream alone, never
on what else is installed: Pillow for JPEG of 8 bits and JPEG 2000, pydicom for RLE; of the extra
[dicom], CharLS for JPEG-LS, libjpeg for lossless JPEG and JPEG of 12 bits.
"""

import importlib
import io
from dataclasses import dataclass
from types import ModuleType

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from tfds_builders import jpeg
from tfds_builders.dicom import code_stream, lossless_jpeg
from tfds_builders.dicom.code_stream import CodeStream
from tfds_builders.dicom.elements import name
from tfds_builders.dicom.layout import Layout
from tfds_builders.errors import ImageError

EXTRA = 'pip install "simclr_med[dicom]" (in a clone: pip install ".[dicom]")'
_NOT_HERE = "compressed as {}, which this installation cannot read"
_NO_DECODER = "decompress it first, for example with 'gdcmconv --raw in.dcm out.dcm'"


@dataclass(frozen=True)
class Samples:
    """The samples of a frame.

    Attributes:
      values: [H, W] integers, signed as they are meant, or [H, W, 3] unsigned.
      bits: how many of each sample count.
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

    Raises:
      ImageError: broken, of more than `max_pixels`, or of a compression that is not read.
    """
    stream = code_stream.parse(frame)
    if stream is None:
        return _without_stream(frame, syntax, layout)
    _check(stream, syntax, layout, max_pixels, notes)
    try:
        values, is_rgb = _decoded(stream, layout)
    except ImageError:
        raise
    except Exception as error:  # decoders raise whatever they like, in words of their own
        raise ImageError(f"broken or truncated {stream.family} code stream") from error
    if values.ndim == 3:
        return Samples(values, stream.bits, False, not is_rgb and _is_ybr(stream, layout))
    values, signed = _sign(values, stream, layout, notes)
    bits = layout.bits
    if stream.bits > bits and (values.max() >> (bits - signed) or values.min() < -(1 << bits - 1)):
        notes.add(f"more bits in the code stream than {name('BitsStored')} says")
        bits = stream.bits
    return Samples(values, bits, signed, False)


def _check(
    stream: CodeStream, syntax: uid.UID | None, layout: Layout, max_pixels: int, notes: set[str]
) -> None:
    """Refuses streams that no picture needs; notes where stream and header contradict each other."""
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


def _decoded(stream: CodeStream, layout: Layout) -> tuple[np.ndarray, bool]:
    """Returns (samples as decoded, whether they are RGB in any case)."""
    if stream.family == "JPEG" and stream.bits == 8:
        return _jpeg_of_8_bits(stream, layout), stream.components == 3
    if stream.family == "JPEG-LS":
        return _jpeg_ls(stream), False
    if stream.family in ("JPEG 2000", "HTJ2K"):
        return _jpeg2000(stream), False
    code_stream.check_end(stream)
    kind = "JPEG of 12 bits" if stream.family == "JPEG" else stream.family
    libjpeg = _module("libjpeg", _NOT_HERE.format(kind))
    data = libjpeg.decode_pixel_data(stream.data, version=2)
    values = _array(data, stream)
    if stream.family == "lossless JPEG":
        lossless_jpeg.check_length(stream.data, stream.bits, values)
    return values, False


def _jpeg_of_8_bits(stream: CodeStream, layout: Layout) -> np.ndarray:
    jpeg.check(stream.data)  # what Pillow forgives
    image = Image.open(io.BytesIO(stream.data), formats=("JPEG",))
    told = stream.names == b"RGB" or "adobe_transform" in image.info
    if stream.components == 3 and not _is_ybr(stream, layout) and not told:
        image.draft("YCbCr", image.size)  # libjpeg would take the components for YCbCr
    return np.asarray(image)


def _is_ybr(stream: CodeStream, layout: Layout) -> bool:
    """Says whether three components are YCbCr: the stream decides, where it is silent the header."""
    if stream.colour:
        return stream.colour == "YBR"
    if layout.samples == 3:
        return layout.photometric.startswith("YBR_FULL")
    return stream.family == "JPEG"  # a header of grey: what decoders assume


def _jpeg2000(stream: CodeStream) -> np.ndarray:
    """Returns the samples as Pillow decodes them, less what Pillow's Jpeg2KDecode.c adds.

    It shifts samples of n bits up to 8 or 16, and signed ones by half their range. Colour of more
    than 8 bits it cuts to 8, and some streams it refuses: those are left to pylibjpeg.
    """
    if stream.components == 3 and stream.bits > 8:
        return _openjpeg(
            stream, _NOT_HERE.format(f"{stream.family} of {stream.bits} bits a colour")
        )
    refused = f"a {stream.family} code stream that Pillow refuses: it is broken, or this reads it"
    try:
        image = Image.open(io.BytesIO(stream.data), formats=("JPEG2000",))
        image.load()
        values = np.asarray(image)
    except (OSError, ValueError, SyntaxError):
        return _openjpeg(stream, refused)
    if image.mode not in (("L", "I;16") if stream.components == 1 else ("RGB", "YCbCr")):
        return _openjpeg(stream, refused)
    values = values >> (8 * values.dtype.itemsize - stream.bits)
    if stream.signed and values.ndim == 2:
        return values.astype(np.int32) - (1 << stream.bits - 1)
    return values


def _openjpeg(stream: CodeStream, why: str) -> np.ndarray:
    """Returns the samples as pylibjpeg-openjpeg decodes them.

    Args:
      why: what is to be said where it is not installed.
    """
    return _array(_module("openjpeg", why).decode_pixel_data(stream.data, version=2), stream)


def _jpeg_ls(stream: CodeStream) -> np.ndarray:
    """Returns the samples as CharLS decodes them; pylibjpeg-libjpeg makes up what is missing."""
    data, info = _module("jpeg_ls", _NOT_HERE.format("JPEG-LS")).decode_pixel_data(stream.data)
    if stream.components == 3 and info["interleave_mode"] == 0:  # one colour after the other
        planes = np.frombuffer(data, np.uint8 if stream.bits <= 8 else "<u2")
        return planes.reshape(3, stream.height, stream.width).transpose(1, 2, 0)
    return _array(data, stream)


def _module(name: str, why: str) -> ModuleType:
    """Returns a decoder of the extra; `why` begins the error message where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImageError(f"{why}: {EXTRA}") from error


def _array(data: bytes | bytearray, stream: CodeStream) -> np.ndarray:
    """Returns [H, W] or [H, W, 3] of samples that follow one another."""
    size = 1 if stream.bits <= 8 else 2
    kind = np.dtype(f"<{'i' if stream.signed else 'u'}{size}")
    shape = (stream.height, stream.width, stream.components)[: 2 if stream.components == 1 else 3]
    return np.frombuffer(data, kind).reshape(shape)


def _sign(
    values: np.ndarray, stream: CodeStream, layout: Layout, notes: set[str]
) -> tuple[np.ndarray, bool]:
    """Returns (grey values with the sign they are meant to have, whether they may be negative).

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
    """Returns the samples of what is no JPEG of any family: RLE is read.

    Raises:
      ImageError: anything else, named.
    """
    if syntax == uid.RLELossless:
        return _rle(frame, layout)
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


def _rle(frame: bytes, layout: Layout) -> Samples:
    """Returns the samples of an RLE frame, by pydicom's own decoder.

    pylibjpeg-rle panics in Rust at broken frames: no Exception, and a backtrace on stderr.
    """
    try:
        values, _ = get_decoder(uid.RLELossless).as_array(
            encapsulate([frame], has_bot=False),
            index=0,
            raw=True,
            decoding_plugin="pydicom",
            rows=layout.rows,
            columns=layout.columns,
            number_of_frames=1,
            samples_per_pixel=layout.samples,
            photometric_interpretation="RGB" if layout.samples == 3 else "MONOCHROME2",
            planar_configuration=0,
            bits_allocated=layout.allocated,
            bits_stored=layout.bits,
            pixel_representation=int(layout.signed),
            pixel_keyword="PixelData",
        )
    except (
        Exception
    ) as error:  # the segments of a broken frame make NumPy and pydicom raise anything
        raise ImageError("broken or truncated RLE frame") from error
    is_ybr = layout.samples == 3 and layout.photometric.startswith("YBR_FULL")
    return Samples(values, layout.bits, layout.signed, is_ybr)
