"""Checks one image file completely and gives the bytes to store; knows nothing of manifests.

What is stored is always something `tf.io.decode_image(channels=3)` reads as the user saw it: an
8-bit JPEG or PNG, upright, without palette, transparency or more than 8 bits, and without any
description of the picture: EXIF (camera, place, time), texts, the header of a DICOM.
"""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image

from tfds_builders.dicom import dicom_pictures, is_dicom
from tfds_builders.errors import ImageError
from tfds_builders.grey import inverted, through_own_range, to_8_bits
from tfds_builders.metadata import jpeg_without_metadata, png_without_metadata

# Pillow is told the formats, so that no file is ever handed to, say, its PostScript reader.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
# Pillow's own refusal: twice its default MAX_IMAGE_PIXELS; a photograph of 4,000 x 4,000 has 16e6.
MAX_PIXELS = 178_956_970
JPEG_QUALITY = 95  # of JPEGs that have to be encoded anew, with colour at full resolution
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
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG = ("JPEG", "MPO")  # MPO: a JPEG of some phones, followed by a second picture
# What Pillow raises for broken files, besides OSError: found by flipping bytes, see tests.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


def load_encoded(path: str | os.PathLike, long_side: int = 0) -> bytes:
    """Returns the bytes to store for the image file `path`, after decoding all of it once.

    The file's own bytes, less its metadata, where it is an upright 8-bit RGB or grey JPEG or PNG
    (by content, whatever the extension) that need not be resized. Otherwise its first frame anew:
      - a JPEG as JPEG (quality 95, 4:4:4), everything else as PNG, grey where it was grey: what
        came without loss stays so, and a PNG of a JPEG would be five times its size for nothing;
      - transparency is flattened on white, which is what an image viewer showed the annotator;
      - grey of more than 8 bits is seen through its own range or, in a DICOM, its window: see
        grey.py and dicom.py (48-bit colour keeps its upper 8 bits);
      - a picture whose EXIF says it is turned is turned.

    Args:
      path: JPEG, PNG, GIF, BMP, TIFF, WebP or DICOM.
      long_side: where the longer side has more pixels, it is resized to this (Lanczos, from the
        full depth); 0 keeps every size.

    Raises:
      ImageError: the file is unreadable, empty, truncated, broken, not an image of FORMATS, larger
        than MAX_PIXELS, or of a pixel type with no agreed meaning in 8 bits.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        raise ImageError(f"the file cannot be read ({error.strerror})") from error
    if not data:
        raise ImageError("the file has 0 bytes")
    if is_dicom(data):
        [picture] = dicom_pictures(data, MAX_PIXELS).pictures
        return _encode(_shrunk(picture, long_side), "PNG")
    image = _decode(data, long_side)
    turn = _TURNS.get(_orientation(image))
    if turn is None and not _is_larger(image, long_side) and _is_plain(image, data):
        stored = (
            png_without_metadata(data) if image.format == "PNG" else jpeg_without_metadata(data)
        )
        if stored is not None:
            return stored
    seen = _as_seen(image)
    if turn is not None:
        seen = seen.transpose(turn)
    return _encode(_shrunk(seen, long_side), "JPEG" if image.format in _JPEG else "PNG")


def encode_jpeg(image: Image.Image, quality: int, subsampling: int = -1) -> bytes:
    """Returns `image` (mode RGB or L) as JPEG bytes, without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def _encode(image: Image.Image, kind: str) -> bytes:
    """Returns `image` (mode RGB, L, or F in 0..255) as 8-bit JPEG or PNG, without metadata."""
    if image.mode == "F":
        image = to_8_bits(image)
    bare = Image.fromarray(np.asarray(image))  # Pillow would write comments and texts along
    if kind == "JPEG":
        return encode_jpeg(bare, JPEG_QUALITY, subsampling=0)
    buffer = io.BytesIO()
    bare.save(buffer, "PNG", compress_level=PNG_LEVEL)
    return buffer.getvalue()


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


def _decode(data: bytes, long_side: int) -> Image.Image:
    """Returns the first frame of `data`, every pixel decoded.

    A JPEG more than twice as large as `long_side` asks for comes at 1/2, 1/4 or 1/8 of its size,
    never less than that twice: all of it is still checked, in a third of the time.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        if image.format == "PNG":
            # load() ignores checksums and a missing end, TensorFlow's decoder does not.
            Image.open(io.BytesIO(data), formats=("PNG",)).verify()
            if _PNG_END not in data:
                raise ImageError("truncated image")
        if _is_larger(image, long_side):
            width, height = _size(image, long_side)
            image.draft(None, (2 * width, 2 * height))
        image.load()
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
    return image


def _orientation(image: Image.Image) -> int:
    """Returns the EXIF orientation, 1 (upright) where there is none or the EXIF block is broken."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except _BROKEN:  # the pixels are fine, and every viewer ignores such a block
        return 1
    return value if value in range(1, 9) else 1


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Says whether the pixels in `data` can be stored as they are: 8-bit RGB or grey, opaque."""
    if image.mode not in ("RGB", "L") or image.has_transparency_data:
        return False
    if image.format == "PNG":
        return data[24] == 8  # the bit depth in the header: Pillow shows 2, 4 and 16 as 8
    return image.format in _JPEG


def _as_seen(image: Image.Image) -> Image.Image:
    """Returns mode L, RGB, or F in 0..255 (deep grey); see `load_encoded` for what becomes what."""
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
    seen = through_own_range(values)
    tags = getattr(image, "tag_v2", {})
    return inverted(seen) if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else seen
