"""Checks one image file completely and returns the bytes to store.

What is stored is always something that `tf.io.decode_image(channels=3)` reads as the user saw it: an
8-bit JPEG or PNG, upright, without palette, transparency or more than 8 bits, and without metadata:
EXIF (camera, place, time), texts, the header of a DICOM.
"""

import contextlib
import dataclasses
import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

from tfds_builders import jpeg, looks, tf_decoder, tiff
from tfds_builders.dicom import dicom_pictures, is_dicom
from tfds_builders.errors import DataError, ImageError
from tfds_builders.grey import inverted, through_own_range, to_8_bits
from tfds_builders.metadata import jpeg_without_metadata, png_without_metadata

# Pillow only tries these formats, so that no file reaches, say, its PostScript reader.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
# Pillow's own refusal: twice its default MAX_IMAGE_PIXELS; a photograph of 4,000 x 4,000 has 16e6.
MAX_PIXELS = 178_956_970
JPEG_QUALITY = 95  # of JPEGs that have to be encoded again, with colour at full resolution
PNG_LEVEL = (
    4  # as small as Pillow's 6 (a radiograph of 3000 x 2500: 2.9 MB), in a third of the time
)
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # TIFF tag; Pillow heeds it for 8 bits only
_PNG_TEXTS = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")  # chunks that may hold an orientation
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG_START = b"\xff\xd8\xff"
_JPEG = ("JPEG", "MPO")  # MPO: a JPEG of some phones, followed by a second picture
# What Pillow raises for broken files, besides OSError: found by flipping bytes, see tests.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


DICOM_FRAMES = ("first", "middle", "all")


@dataclasses.dataclass(frozen=True)
class Loaded:
    """What is stored of one file: its images, encoded, and notes on them."""

    images: tuple[bytes, ...]  # one, or the frames of a DICOM
    notes: tuple[str, ...] = ()  # short, without names of files or people, so that they are counted


def load_encoded(path: str | os.PathLike, long_side: int = 0, dicom_frame: str = "first") -> Loaded:
    """Returns what to store of the image file `path`, after decoding all of it once.

    The file's own bytes, less its metadata, where it is an upright 8-bit RGB or grey JPEG or PNG
    (by content, whatever the extension) that need not be resized and that TensorFlow's decoder
    reads. Otherwise its first frame, encoded again:
      - a JPEG as JPEG (quality 95, 4:4:4), everything else, also a lossless JPEG, as PNG, grey images
        as grey: lossless sources stay lossless, and a PNG of a JPEG would only be five times as
        large;
      - transparency is flattened on white, which is what an image viewer showed the annotator;
      - grey of more than 8 bits is mapped from its own range or, in a DICOM, its window: see grey.py
        and dicom/ (48-bit colour keeps its upper 8 bits);
      - a picture whose EXIF says it is turned is turned.

    Args:
      path: JPEG, PNG, GIF, BMP, TIFF, WebP or DICOM.
      long_side: where the longer side has more pixels, it is resized to this (Lanczos, from the
        full depth); 0 keeps every size.
      dicom_frame: "first", "middle" or "all": which frames of a DICOM of several are stored.

    Raises:
      NotAPicture: a DICOM object without a picture.
      ImageError: the file is unreadable, empty, truncated, broken, damaged in a way that decoders
        only warn of, not an image of FORMATS, larger than MAX_PIXELS, or of a pixel type with no
        agreed meaning in 8 bits.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ImageError(f"the file cannot be read ({error.strerror})") from error
    if not data:
        raise ImageError("the file has 0 bytes")
    if is_dicom(data):
        dicom = dicom_pictures(data, MAX_PIXELS, dicom_frame)
        encoded = [_encode(_shrunk(picture, long_side), "PNG") for picture in dicom.pictures]
        looks_notes = dict.fromkeys(note for of_picture in encoded for note in of_picture.notes)
        return Loaded(tuple(loaded.images[0] for loaded in encoded), (*dicom.notes, *looks_notes))
    with _plain_reasons():
        image = _open(data)
        turn = _TURNS.get(_orientation(image, data))
        unchanged = turn is None and not _is_larger(image, long_side)
        if image.format in _JPEG:
            kind, stored = _from_jpeg(data, image, long_side, unchanged)
        elif image.format == "PNG":
            kind, stored = "PNG", _from_png(data, image, unchanged)
        else:
            kind, stored = "PNG", _from_other(data, image)
    if isinstance(stored, Loaded):
        return stored
    return _encode(_shrunk(stored if turn is None else stored.transpose(turn), long_side), kind)


def frame_salt(dicom_frame: str) -> str:
    """Returns what the choice of frames adds to the salt of the fingerprint: "" by default.

    Raises:
      DataError: it is none of DICOM_FRAMES.
    """
    if dicom_frame not in DICOM_FRAMES:
        raise DataError(f"dicom_frame is {dicom_frame!r}: use one of {', '.join(DICOM_FRAMES)}.")
    return "" if dicom_frame == "first" else f" frame {dicom_frame}"


def encode_jpeg(image: Image.Image, quality: int, subsampling: int = -1) -> bytes:
    """Returns an image as JPEG bytes, without metadata.

    Args:
      image: mode RGB or L.
      quality: of Pillow, 1 to 95.
      subsampling: of colours, 0 (4:4:4) to 2 (4:2:0); -1: as `quality` implies.
    """
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def _encode(image: Image.Image, kind: str) -> Loaded:
    """Returns `image` (mode RGB, L, or F in 0..255) as 8-bit JPEG or PNG, without metadata."""
    if image.mode == "F":
        image = to_8_bits(image)
    pixels = np.asarray(image)
    bare = Image.fromarray(pixels)  # Pillow would write comments and texts along
    if kind == "JPEG":
        return Loaded((encode_jpeg(bare, JPEG_QUALITY, subsampling=0),), looks.notes(pixels))
    buffer = io.BytesIO()
    bare.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return Loaded((buffer.getvalue(),), looks.notes(pixels))


def _is_larger(image: Image.Image, long_side: int) -> bool:
    return 0 < long_side < max(image.size)


def _size(image: Image.Image, long_side: int) -> tuple[int, int]:
    """Returns (width, height) at which the longer side of `image` is `long_side`."""
    scale = long_side / max(image.size)
    width, height = (max(1, round(side * scale)) for side in image.size)
    return width, height


def _shrunk(image: Image.Image, long_side: int) -> Image.Image:
    if not _is_larger(image, long_side):
        return image
    return image.resize(_size(image, long_side), Image.Resampling.LANCZOS)


@contextlib.contextmanager
def _plain_reasons():
    """Turns what Pillow raises into an ImageError."""
    try:
        yield
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError(
            "not an image (JPEG, PNG, GIF, BMP, TIFF, WebP and DICOM are read)"
        ) from error
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than {MAX_PIXELS // 10**6} million pixels") from error
    except _BROKEN as error:
        cut = "truncated" in str(error).lower()
        raise ImageError("truncated image" if cut else f"broken image ({error})") from error


def _open(data: bytes) -> Image.Image:
    """Returns the picture in `data`, of which the headers alone are read."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.UnidentifiedImageError:
        if data.startswith(_JPEG_START):
            if (frame := jpeg.read_frame(data)) is None:
                raise ImageError("truncated image") from None
            jpeg.check_headers(frame)
        raise
    if image.width * image.height > MAX_PIXELS:
        raise Image.DecompressionBombError
    return image


def _from_jpeg(
    data: bytes, image: Image.Image, long_side: int, unchanged: bool
) -> tuple[str, Loaded | Image.Image]:
    """Returns how to store a JPEG, and what: its own bytes, or the picture to encode.

    All of it is decoded, at an eighth of its size if it is stored `unchanged`. One that is more than
    twice as large as `long_side` is decoded at 1/2, 1/4 or 1/8 of its size, never below twice that.
    Modes other than RGB and grey are decoded by Pillow, whose libjpeg does not report damage.
    """
    whole = jpeg_without_metadata(data) or b""
    frame = jpeg.read_frame(whole) if whole else None
    if whole is None or frame is None:
        raise ImageError("truncated image")
    jpeg.check_headers(frame)
    colour = {"RGB": "RGB", "L": "GRAY"}.get(image.mode, "")
    if colour and unchanged and frame.is_usual:
        small = jpeg.decode(whole, frame)
        if tf_decoder.reads_jpeg(whole, frame):
            if looks.is_constant(small):
                small = jpeg.decode(whole, frame, colour, image.size)
            return "JPEG", Loaded((whole,), looks.notes(small, min(image.size)))
    kind = "PNG" if frame.is_lossless else "JPEG"
    if _is_larger(image, long_side):
        width, height = _size(image, long_side)
        image.draft(None, (2 * width, 2 * height))
    if colour:
        pixels = jpeg.decode(whole, frame, colour, image.size)
        return kind, Image.fromarray(pixels[..., 0] if colour == "GRAY" else pixels)
    jpeg.decode(whole, frame)
    image.load()
    return kind, _to_displayed(image)


def _from_png(data: bytes, image: Image.Image, unchanged: bool) -> Loaded | Image.Image:
    """Returns a PNG's own bytes, or the picture to encode; TensorFlow decodes it either way.

    Pillow ignores checksums, a missing end, and rows that are missing from the pixels.
    """
    if data.rfind(_PNG_END) < 0:
        raise ImageError("truncated image")
    bits = data[24]  # in the header: Pillow shows 2, 4 and 16 as 8
    pixels = tf_decoder.decode_png(data, bits)
    if pixels is None:
        Image.open(io.BytesIO(data), formats=("PNG",)).verify()  # which may know the reason
        image.load()
        raise ImageError("damaged PNG (not all of its pixels are there)")
    if image.mode in ("RGB", "L") and bits == 8 and not image.has_transparency_data:
        pixels = pixels[..., 0] if image.mode == "L" else pixels
        if unchanged:
            return Loaded((png_without_metadata(data),), looks.notes(pixels))
        return Image.fromarray(pixels)
    image.load()
    return _to_displayed(image)


def _from_other(data: bytes, image: Image.Image) -> Image.Image:
    image.load()
    if image.format == "TIFF":
        tiff.check(data, image.tag_v2)
    return _to_displayed(image)


def _orientation(image: Image.Image, data: bytes) -> int:
    """Returns the EXIF orientation, 1 (upright) where there is none or the EXIF block is broken."""
    if image.format == "PNG" and not any(chunk in data for chunk in _PNG_TEXTS):
        return 1  # Pillow would decode all of it to see
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _BROKEN:  # the pixels are fine, and every viewer ignores such a block
        return 1
    return value if value in range(1, 9) else 1


def _to_displayed(image: Image.Image) -> Image.Image:
    """Returns mode L, RGB, or F in 0..255 (deep grey); see `load_encoded` for the conversions."""
    if image.mode.startswith("I"):
        return _deep_grey(image)
    if image.mode == "F":
        raise ImageError("floating-point pixels have no agreed range: store 8 or 16 bits per pixel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("L" if image.mode in ("1", "L") else "RGB")


def _deep_grey(image: Image.Image) -> Image.Image:
    values = np.asarray(image)  # [H, W], uint16 or int32
    if values.min() < 0 or values.max() > 65535:
        raise ImageError("32-bit pixels outside 0..65535: store 8 or 16 bits per pixel")
    grey = through_own_range(values)
    tags = getattr(image, "tag_v2", {})
    return inverted(grey) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else grey
