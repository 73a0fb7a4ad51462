"""Checks one image file completely and gives the bytes to store; knows nothing of manifests.

What is stored is always something `tf.io.decode_image(channels=3)` reads as the user saw it: a
8-bit JPEG or PNG, upright, without palette, transparency or more than 8 bits.
"""

import io
import os
import struct
import zlib

import numpy as np
from PIL import Image, ImageOps

# Pillow is told the formats, so that no file is ever handed to, say, its PostScript reader.
FORMATS = ("JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP")
# Pillow's own refusal: twice its default MAX_IMAGE_PIXELS; a photograph of 4,000 x 4,000 has 16e6.
MAX_PIXELS = 178_956_970
JPEG_QUALITY = 95  # of photographs that had to be turned upright, with colour at full resolution
_ORIENTATION = 0x0112  # EXIF tag; 1 is upright
_PNG_END = b"\x00\x00\x00\x00IEND\xaeB`\x82"
_JPEG = ("JPEG", "MPO")  # MPO: a JPEG of some phones, followed by a second picture
# What Pillow raises for broken files, besides OSError: found by flipping bytes, see tests.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)


class ImageError(ValueError):
    """A plain reason why a file cannot be used, e.g. "the file has 0 bytes"."""


def load_encoded(path: str | os.PathLike) -> bytes:
    """Returns the bytes to store for the image file `path`, after decoding all of it once.

    The file's own bytes where it is an upright 8-bit RGB or grey JPEG or PNG (by content, whatever
    the extension); otherwise an 8-bit RGB PNG of its first frame, without loss but for these:
      - transparency is flattened on white, which is what an image viewer showed the annotator;
      - 16-bit grey v becomes round(v / 257), so that 0..65535 fills 0..255 and nothing clips;
      - a JPEG whose EXIF says it is turned is turned, then stored as JPEG (quality 95, 4:4:4).

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
    image = _decode(data)
    orientation = _orientation(image)
    if orientation == 1 and _is_plain(image, data):
        return data
    if orientation != 1:
        image = _upright(image)
        if image.format in _JPEG and image.mode in ("RGB", "L"):
            return encode_jpeg(image, JPEG_QUALITY, subsampling=0)
    buffer = io.BytesIO()
    _to_rgb8(image).save(buffer, "PNG")
    return buffer.getvalue()


def encode_jpeg(image: Image.Image, quality: int, subsampling: int = -1) -> bytes:
    """Returns `image` (mode RGB or L) as JPEG bytes, without metadata."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling=subsampling)
    return buffer.getvalue()


def _decode(data: bytes) -> Image.Image:
    """Returns the first frame of `data`, every pixel decoded."""
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError
        if image.format == "PNG":
            # load() ignores checksums and a missing end, TensorFlow's decoder does not.
            Image.open(io.BytesIO(data), formats=("PNG",)).verify()
            if _PNG_END not in data:
                raise ImageError("truncated image")
        image.load()
    except ImageError:
        raise
    except Image.UnidentifiedImageError as error:
        raise ImageError("not an image (JPEG, PNG, GIF, BMP, TIFF and WebP are read)") from error
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


def _upright(image: Image.Image) -> Image.Image:
    """Returns `image` turned as its EXIF orientation says, with its `format` kept."""
    turned = ImageOps.exif_transpose(image)
    turned.format = image.format
    turned.info.pop("icc_profile", None)
    return turned


def _is_plain(image: Image.Image, data: bytes) -> bool:
    """Says whether `data` can be stored as it is: an 8-bit RGB or grey JPEG or PNG."""
    if image.mode not in ("RGB", "L"):
        return False
    if image.format == "PNG":
        return data[24] == 8  # the bit depth in the header: Pillow shows 2, 4 and 16 as 8
    return image.format in _JPEG


def _to_rgb8(image: Image.Image) -> Image.Image:
    """Returns `image` in mode RGB, 8 bits; see `load_encoded` for what each type becomes."""
    if image.mode.startswith("I"):
        return Image.fromarray(_grey16_to_8(np.asarray(image))).convert("RGB")
    if image.mode == "F":
        raise ImageError("floating-point pixels have no agreed range: store 8 or 16 bits per pixel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def _grey16_to_8(grey: np.ndarray) -> np.ndarray:
    """Returns uint8 [H, W], round(v / 257), of integers [H, W] in 0..65535."""
    if grey.min() < 0 or grey.max() > 65535:
        raise ImageError("32-bit pixels outside 0..65535: store 8 or 16 bits per pixel")
    return np.round(grey / 257.0).astype(np.uint8)
