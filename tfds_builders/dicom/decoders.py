"""Chooses the decoder of a compressed DICOM frame by its stream, not by what is installed.

Pillow: JPEG of 8 bits, JPEG 2000; pydicom: RLE. Of the extra [dicom], CharLS: JPEG-LS; libjpeg:
lossless JPEG and JPEG of 12 bits; OpenJPEG: JPEG 2000 of deep colour, and what Pillow refuses.
"""

import importlib
import io
from types import ModuleType

import numpy as np
from PIL import Image
from pydicom import uid
from pydicom.encaps import encapsulate
from pydicom.pixels import get_decoder

from tfds_builders import jpeg
from tfds_builders.dicom import code_stream, lossless_jpeg
from tfds_builders.dicom.code_stream import CodeStream
from tfds_builders.dicom.layout import Layout
from tfds_builders.errors import NOT_INSTALLED, ImageError

EXTRA = 'pip install "simclr_med[dicom]" (in a clone: pip install ".[dicom]")'
_NOT_HERE = "compressed as {}, " + NOT_INSTALLED


def decode(stream: CodeStream, layout: Layout) -> tuple[np.ndarray, bool]:
    """Returns (samples [H, W] or [H, W, 3], whether these are RGB whatever the header states).

    Args:
      stream: of one frame.
      layout: according to the header.

    Raises:
      ImageError: damaged, or the decoder is not installed.
      Exception: whatever a decoder raises.
    """
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
    jpeg.check(stream.data)  # Pillow ignores damage
    image = Image.open(io.BytesIO(stream.data), formats=("JPEG",))
    is_marked = stream.names == b"RGB" or "adobe_transform" in image.info
    if stream.components == 3 and not is_ybr(stream, layout) and not is_marked:
        image.draft("YCbCr", image.size)  # libjpeg would take the components for YCbCr
    return np.asarray(image)


def is_ybr(stream: CodeStream, layout: Layout) -> bool:
    """Returns whether three components are YCbCr, by the stream or, if it does not say, by the header.

    Args:
      stream: of three components.
      layout: according to the header.
    """
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
    reason = f"a {stream.family} code stream that Pillow refuses: it is broken, or this reads it"
    try:
        image = Image.open(io.BytesIO(stream.data), formats=("JPEG2000",))
        image.load()
        values = np.asarray(image)
    except (OSError, ValueError, SyntaxError):
        return _openjpeg(stream, reason)
    if image.mode not in (("L", "I;16") if stream.components == 1 else ("RGB", "YCbCr")):
        return _openjpeg(stream, reason)
    values = values >> (8 * values.dtype.itemsize - stream.bits)
    if stream.signed and values.ndim == 2:
        return values.astype(np.int32) - (1 << stream.bits - 1)
    return values


def _openjpeg(stream: CodeStream, reason: str) -> np.ndarray:
    """Returns the samples as pylibjpeg-openjpeg decodes them.

    Args:
      stream: of one frame.
      reason: beginning of the error message if it is not installed.
    """
    return _array(_module("openjpeg", reason).decode_pixel_data(stream.data, version=2), stream)


def _jpeg_ls(stream: CodeStream) -> np.ndarray:
    """Returns the samples as CharLS decodes them; pylibjpeg-libjpeg would invent missing ones."""
    data, info = _module("jpeg_ls", _NOT_HERE.format("JPEG-LS")).decode_pixel_data(stream.data)
    if stream.components == 3 and info["interleave_mode"] == 0:  # one colour after the other
        planes = np.frombuffer(data, np.uint8 if stream.bits <= 8 else "<u2")
        return planes.reshape(3, stream.height, stream.width).transpose(1, 2, 0)
    return _array(data, stream)


def _module(name: str, reason: str) -> ModuleType:
    """Returns a decoder of the extra; `reason` begins the error message if it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImageError(f"{reason}: {EXTRA}") from error


def _array(data: bytes | bytearray, stream: CodeStream) -> np.ndarray:
    """Returns [H, W] or [H, W, 3] of samples that follow one another."""
    size = 1 if stream.bits <= 8 else 2
    kind = np.dtype(f"<{'i' if stream.signed else 'u'}{size}")
    shape = (stream.height, stream.width, stream.components)[: 2 if stream.components == 1 else 3]
    return np.frombuffer(data, kind).reshape(shape)


def decode_rle(frame: bytes, layout: Layout) -> np.ndarray:
    """Returns the samples of an RLE frame, [H, W] or [H, W, 3], by pydicom's own decoder.

    Args:
      frame: its compressed bytes.
      layout: according to the header.

    Raises:
      ImageError: it is broken.

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
    except Exception as error:  # broken segments make NumPy and pydicom raise anything
        raise ImageError("broken or truncated RLE frame") from error
    return values
