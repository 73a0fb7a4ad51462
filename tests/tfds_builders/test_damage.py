"""What decoders forgive, or do not agree on: refused, or stored so that training reads it."""

import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
import simplejpeg
import tensorflow as tf
from PIL import Image

from helpers import ROOT
from helpers.lossless_jpeg import lossless_jpeg
from tfds_builders import jpeg
from tfds_builders.pixels import ImageError, load_encoded


def photo(height=120, width=160, seed=0):
    """Soft colours with grain, as RGB."""
    rng = np.random.default_rng(seed)
    coarse = rng.normal(size=(height // 8 + 2, width // 8 + 2, 3)).cumsum(0).cumsum(1)
    coarse = (coarse - coarse.min()) / np.ptp(coarse) * 255
    soft = Image.fromarray(coarse.astype(np.uint8)).resize((width, height), Image.BICUBIC)
    return Image.fromarray(
        np.clip(np.asarray(soft) + rng.normal(size=(height, width, 1)) * 5, 0, 255).astype(np.uint8)
    )


def encode(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def loaded(tmp_path, data, **options):
    (tmp_path / "image").write_bytes(data)
    return load_encoded(tmp_path / "image", **options)


PHOTO = photo()
GREY = PHOTO.convert("L")
JPEGS = {
    "baseline": encode(PHOTO, "JPEG"),
    "full colour": encode(PHOTO, "JPEG", quality=95, subsampling=0),
    "grey": encode(GREY, "JPEG"),
    "progressive": encode(PHOTO, "JPEG", progressive=True),
    "progressive grey": encode(GREY, "JPEG", progressive=True),
    "restarts": encode(PHOTO, "JPEG", restart_marker_blocks=4),
    "optimised": encode(PHOTO, "JPEG", optimize=True),
    "CMYK": encode(PHOTO.convert("CMYK"), "JPEG"),
    "RGB": encode(PHOTO, "JPEG", keep_rgb=True),
}


def damaged(data, how, rng):
    data, size = bytearray(data), len(data)
    offset, length = rng.integers(size // 4, size // 2), rng.integers(40, size // 8)
    if how == "bytes missing":
        del data[offset : offset + length]
    elif how == "most missing":
        del data[size * 35 // 100 : -2]
    elif how == "zeroed":
        data[offset : offset + length] = bytes(length)
    elif how == "swapped":
        later = offset + size // 4
        data[offset : offset + length], data[later : later + length] = (
            data[later : later + length],
            data[offset : offset + length],
        )
    elif how == "bytes added":
        data[offset:offset] = rng.bytes(length)
    elif how == "bytes before the end":
        data[-2:-2] = b"some stray bytes"  # libjpeg passes over up to 7
    elif how == "no end":
        del data[-2:]
    elif how == "cut":
        del data[offset:]
    return bytes(data)


HOWS = ("bytes missing", "most missing", "zeroed", "swapped", "bytes added")
HOWS += ("bytes before the end", "no end", "cut")


@pytest.mark.parametrize("kind", JPEGS)
def test_damaged_jpegs_are_refused_or_without_a_warning(tmp_path, kind):
    """A full strict decode and TensorFlow's are the judges of whatever is stored."""
    rng = np.random.default_rng(0)
    refused = dict.fromkeys(HOWS, 0)
    for how in HOWS:
        for _ in range(12):
            try:
                (stored,) = loaded(tmp_path, damaged(JPEGS[kind], how, rng)).images
            except ImageError as error:
                assert "truncated" in str(error) or "damaged JPEG (" in str(error), str(error)
                refused[how] += 1
                continue
            simplejpeg.decode_jpeg(stored, "RGB")
            assert tf.io.decode_image(stored, channels=3).shape == (120, 160, 3)
    always = ("most missing", "zeroed", "bytes before the end", "no end", "cut")
    assert {how: refused[how] for how in always} == dict.fromkeys(always, 12)
    assert refused["bytes missing"] >= 9 and refused["bytes added"] >= 11, refused
    if "progressive" in kind:
        assert refused["swapped"] == 12  # of some baseline code, any order is valid


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("long_side", [0, 100, 70, 39, 19])
def test_pixels_of_whole_jpegs_are_pillows(tmp_path, kind, long_side):
    """Slow and obvious: decoded by Pillow, reduced by Pillow, in the order of before."""
    (stored,) = loaded(tmp_path, JPEGS[kind], long_side=long_side).images
    image = Image.open(io.BytesIO(JPEGS[kind]))
    if long_side:
        size = long_side, round(long_side * 120 / 160)
        image.draft(None, (2 * size[0], 2 * size[1]))
        image = image.convert("L" if image.mode == "L" else "RGB")
        image = image.resize(size, Image.Resampling.LANCZOS)
        expected = encode(image, "JPEG", quality=95, subsampling=0)
    elif kind == "CMYK":
        expected = encode(image.convert("RGB"), "JPEG", quality=95, subsampling=0)
    else:
        expected = JPEGS[kind]
    assert stored == expected


@pytest.mark.parametrize("channels", [1, 3])
def test_lossless_jpeg_is_stored_as_png(tmp_path, channels):
    """Pillow reads it, TensorFlow does not."""
    pixels = np.asarray(PHOTO)[..., :channels]
    (stored,) = loaded(tmp_path, lossless_jpeg(pixels)).images
    decoded = tf.io.decode_image(stored, channels=channels)
    np.testing.assert_array_equal(decoded, pixels)
    assert stored.startswith(b"\x89PNG")


def test_progressive_jpeg_without_its_last_scans(tmp_path):
    """libjpeg shows what there is, and does not even warn."""
    whole = JPEGS["progressive"]
    begin = [begin for marker, begin, _ in jpeg.segments(whole) if marker == 0xDA]
    for offset in begin[1:]:
        data = whole[:offset] + jpeg.EOI
        simplejpeg.decode_jpeg(data)
        with pytest.raises(ImageError, match="truncated"):
            loaded(tmp_path, data)


def test_jpeg_without_the_scan_of_a_colour(tmp_path):
    """One scan for each component, as jpegtran can write it; the last is left out."""
    whole = JPEGS["progressive"]
    frame = jpeg.read_frame(whole)
    assert len(frame.scans) > 3 and not jpeg._lacks_scans(frame)
    separate = [bytes([1, c, 0, 0, 63, 0]) for c in frame.components]
    baseline = {**vars(frame), "kind": 0xC0}
    assert not jpeg._lacks_scans(jpeg.Frame(**(baseline | {"scans": tuple(separate)})))
    assert jpeg._lacks_scans(jpeg.Frame(**(baseline | {"scans": tuple(separate[:2])})))


@pytest.mark.parametrize("value", [0, 128, 255])
@pytest.mark.parametrize("options", [{}, {"optimize": True}, {"progressive": True}], ids=str)
def test_zeros_that_mean_something_are_not_taken_for_damage(tmp_path, value, options):
    """The code of an empty block may be all zeros: a picture with a large even background."""
    pixels = np.full((400, 640), value, np.uint8)
    pixels[:20, :20] = np.arange(20) * 12
    data = encode(Image.fromarray(pixels), "JPEG", **options)
    assert loaded(tmp_path, data).images == (data,)


def test_many_scans_end_soon(tmp_path):
    """Each goes through all pixels: 60,000 of them in 0.5 MB would take hours."""
    whole = JPEGS["progressive grey"]
    begin, end = next((b, e) for m, b, e in jpeg.segments(whole) if m == 0xDA)
    data = whole[:end] + whole[begin:end] * 3000 + whole[end:]
    with pytest.raises(ImageError, match="passes"):
        loaded(tmp_path, data)


def test_jpeg_of_12_bits_says_so(tmp_path):
    whole = bytearray(JPEGS["grey"])
    offset = whole.index(b"\xff\xc0")
    whole[offset + 1], whole[offset + 4] = 0xC1, 12
    with pytest.raises(ImageError, match="12 bits per sample"):
        loaded(tmp_path, bytes(whole))


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


@pytest.mark.parametrize("colour, channels", [(0, 1), (2, 3), (6, 4), (3, 1)])
@pytest.mark.parametrize("depth", [8, 16])
def test_png_without_its_last_rows(tmp_path, colour, channels, depth):
    """All checksums are right; Pillow leaves the missing rows black."""
    if (colour, depth) == (3, 16):
        return  # there is no such PNG
    size = 20 * channels * depth // 8
    rows = [b"\0" + bytes(range(size)) for _ in range(10)]
    header = struct.pack(">IIBBBBB", 20, 10, depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(range(256)) * 3) if colour == 3 else b""

    def png(rows):
        parts = [chunk(b"IHDR", header), palette, chunk(b"IDAT", zlib.compress(b"".join(rows)))]
        return b"\x89PNG\r\n\x1a\n" + b"".join([*parts, chunk(b"IEND", b"")])

    assert loaded(tmp_path, png(rows)).images
    for data in (png(rows[:4]), png(rows[:9])):
        with pytest.raises(ImageError, match="damaged PNG|truncated"):
            loaded(tmp_path, data)


@pytest.mark.parametrize("compression", ["jpeg", "tiff_adobe_deflate"])
def test_tiff_whose_parts_are_damaged(tmp_path, compression):
    """libtiff forgives what libjpeg does, and stops before the checksum of deflated pixels."""
    whole = encode(PHOTO, "TIFF", compression=compression)
    assert loaded(tmp_path, whole).notes == ()
    rng = np.random.default_rng(0)
    for _ in range(20):
        with pytest.raises(ImageError):
            loaded(tmp_path, damaged(whole, "zeroed", rng))


# Nothing to be seen


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
@pytest.mark.parametrize(
    "colour, note",
    [((255,) * 3, "all white"), ((0,) * 3, "all black"), ((200, 30, 90), "all of one colour")],
)
def test_constant_pictures_have_a_note(tmp_path, kind, colour, note):
    image = Image.new("RGB", (90, 60), colour)
    assert loaded(tmp_path, encode(image, kind)).notes == (note,)
    assert loaded(tmp_path, encode(image, kind), long_side=40).notes == (note,)
    image.paste((10, 200, 50) if colour[0] else (255, 255, 255), (70, 40, 74, 44))
    assert loaded(tmp_path, encode(image, kind)).notes == ()


def test_even_on_average_is_not_constant(tmp_path):
    """At an eighth of its size, as the check decodes it, a fine pattern is one grey."""
    pixels = np.indices((64, 64)).sum(0) % 2 * 100 + 50
    data = encode(Image.fromarray(pixels.astype(np.uint8)), "JPEG", quality=95)
    assert loaded(tmp_path, data) == load_encoded(tmp_path / "image")
    assert loaded(tmp_path, data).notes == ()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("size, tiny", [((1, 1), 1), ((8, 8), 1), ((8, 40), 1), ((9, 9), 0)])
def test_tiny_pictures_have_a_note(tmp_path, kind, size, tiny):
    notes = loaded(tmp_path, encode(PHOTO.crop((0, 0, *size)), kind)).notes
    assert ("8 px or less on its shorter side" in notes) == bool(tiny)


DEVICES = """
import sys, tensorflow as tf
from tfds_builders.pixels import load_encoded
for path in sys.argv[1:]:
    load_encoded(path)
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
assert len(tf.config.list_logical_devices("CPU")) == 2
"""


@pytest.mark.slow
def test_asking_tensorflow_leaves_its_devices_alone(tmp_path):
    """Training configures GPUs and workers after its data is built, in the same process."""
    paths = []
    for kind in ("JPEG", "PNG"):
        paths.append(tmp_path / kind)
        paths[-1].write_bytes(encode(PHOTO, kind))
    done = subprocess.run(
        [sys.executable, "-c", DEVICES, *paths], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Traceback" not in done.stderr  # of what TensorFlow frees at exit
