"""Image files of any bytes: something that training reads, or an error message; in bounds.

Inputs are whole files of every kind, with bytes changed, removed, added, moved, zeroed, cut, numbers
in headers overwritten by extreme ones, and the halves of two files joined.
"""

import datetime
import io
import os
import resource
import warnings

import numpy as np
import pytest
import simplejpeg
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from helpers.lossless_jpeg import lossless_jpeg
from tfds_builders.near_duplicates import thumbnail
from tfds_builders.pixels import ImageError, load_encoded

_SECONDS = 10
_MEBIBYTES = 2000  # beside what the process had before
_NUMBERS = [b"\0", b"\xff", b"\0\0", b"\xff\xff", b"\x7f\xff\xff\xff", b"\xff" * 4, b"\0\0\0\1"]
_NUMBERS += [
    b"\xff\xd8",
    b"\xff\xd9",
    b"\xff\xda",
    b"\xff\xc4",
    b"\xff\xc2",
    b"\0" * 64,
    b"\xff" * 64,
]


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def drawn():
    y, x = np.mgrid[:37, :50]
    pixels = np.stack([x * 5, y * 6, (x + y) * 2 + (x * y) % 7], -1).astype(np.uint8)
    return Image.fromarray(pixels)


def whole_files():
    rgb, grey = drawn(), drawn().convert("L")
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 200)
    exif = Image.Exif()
    exif[0x0112] = 6
    yield from (encode(rgb, "JPEG"), encode(grey, "JPEG"), encode(rgb, "JPEG", exif=exif))
    yield from (encode(rgb, "JPEG", progressive=True), encode(grey, "JPEG", progressive=True))
    yield from (encode(rgb, "JPEG", restart_marker_blocks=2), encode(rgb, "JPEG", optimize=True))
    yield from (encode(rgb.convert("CMYK"), "JPEG"), encode(rgb, "JPEG", keep_rgb=True))
    yield from (lossless_jpeg(np.asarray(rgb)), lossless_jpeg(np.asarray(grey)[..., None]))
    yield encode(rgb, "MPO", save_all=True, append_images=[grey.convert("RGB")])
    yield from (encode(rgb, "PNG", exif=exif), encode(grey, "PNG"), encode(deep, "PNG"))
    yield from (encode(rgb.quantize(32), "PNG"), encode(rgb.convert("RGBA"), "PNG"))
    yield from (encode(rgb.convert("1"), "PNG"), encode(grey.convert("LA"), "PNG"))
    yield from (encode(rgb.quantize(32), "GIF"), encode(rgb, "BMP"), encode(grey, "BMP"))
    yield encode(rgb.quantize(8), "GIF", save_all=True, append_images=[rgb.quantize(4)])
    yield from (encode(rgb, "WEBP"), encode(rgb.convert("RGBA"), "WEBP", lossless=True))
    yield encode(deep, "TIFF")
    for compression in ("raw", "jpeg", "tiff_adobe_deflate", "tiff_lzw", "packbits", "group4"):
        image = rgb.convert("1") if compression == "group4" else rgb
        yield encode(image, "TIFF", compression=compression)


FILES = list(whole_files())


@st.composite
def broken_files(draw):
    """Returns the bytes of a file, changed in a few places."""
    data = bytearray(draw(st.sampled_from(FILES)))
    positions = st.integers(0, 2**16)
    for _ in range(draw(st.integers(0, 4))):
        # Headers are short, and most of what can go wrong is in them.
        offset = draw(positions) % (len(data) if draw(st.booleans()) else min(len(data), 700))
        length = 1 + draw(positions) % 200
        how = draw(st.integers(0, 8))
        if how == 0:
            data[offset] ^= 1 << draw(st.integers(0, 7))
        elif how == 1:
            data[offset] = draw(st.integers(0, 255))
        elif how == 2:
            del data[offset : offset + length]
        elif how == 3:
            data[offset:offset] = draw(st.binary(min_size=1, max_size=40))
        elif how == 4:
            number = draw(st.sampled_from(_NUMBERS))
            data[offset : offset + len(number)] = number
        elif how == 5:
            data[offset : offset + length] = bytes(length)
        elif how == 6:
            to = draw(positions) % len(data)
            data[to : to + length] = data[offset : offset + length]
        elif how == 7:
            del data[max(1, offset) :]
        else:
            data[offset:] = draw(st.sampled_from(FILES))[offset:]
        if not data:
            break
    return bytes(data)


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # MiB


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.filterwarnings("ignore")  # Pillow's, of odd tags
def test_any_bytes_give_an_image_or_an_error_message(tmp_path, monkeypatch):
    """What is stored, TensorFlow decodes whole, and libjpeg says nothing of it."""
    path = tmp_path / "in" / "image"
    path.parent.mkdir()
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    for data in FILES:  # all are whole, and everything that is loaded once is loaded now
        path.write_bytes(data)
        assert load_encoded(path).images
    before = peak()
    outcomes = {"stored": 0, "refused": 0}

    @settings(
        max_examples=9000,
        deadline=datetime.timedelta(seconds=_SECONDS),
        derandomize=True,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(broken_files(), st.sampled_from([0, 0, 0, 24, 9]))
    def check(data, long_side):
        path.write_bytes(data)
        try:
            with warnings.catch_warnings():
                loaded = load_encoded(path, long_side)
        except ImageError as error:
            outcomes["refused"] += 1
            assert str(error) and "\n" not in str(error) and " object at " not in str(error)
            return
        outcomes["stored"] += 1
        (stored,) = loaded.images
        assert tf.io.decode_image(stored, channels=3, expand_animations=False).ndim == 3
        if stored.startswith(b"\xff\xd8"):
            simplejpeg.decode_jpeg(stored)
        else:
            assert stored.startswith(b"\x89PNG")
        thumbnail(stored)

    check()
    assert min(outcomes.values()) > 1000, outcomes
    assert peak() - before < _MEBIBYTES
    assert os.listdir(tmp_path / "here") == [] and os.listdir(path.parent) == ["image"]
