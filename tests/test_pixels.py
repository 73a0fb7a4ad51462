"""derm_bags.images: whatever file a user has, TensorFlow then reads what the user saw."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfds_builders.pixels import ImageError, load_encoded

H, W = 20, 30
RGB = np.stack(np.broadcast_arrays(np.arange(H)[:, None] * 12, np.arange(W) * 8, 77), -1).astype(
    "u1"
)
GREY = RGB[..., 0]


def encode(image, kind, **options):
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width, height, depth, colour, rows):
    """A PNG made by hand, for what Pillow does not write; `rows` are bytes of each row."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = (chunk(b"IHDR", header), chunk(b"IDAT", body), chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def load(tmp_path, data, name="image.jpg"):
    (tmp_path / name).write_bytes(data)
    return load_encoded(tmp_path / name)


def seen(data):
    """uint8 [H, W, 3] as training will read it."""
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def grey3(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, -1)


@pytest.mark.parametrize(
    "data",
    [
        encode(RGB, "JPEG"),
        encode(GREY, "JPEG"),
        encode(RGB, "JPEG", progressive=True) + b"trailing bytes of a camera",
        encode(RGB, "PNG"),
        encode(GREY, "PNG"),
    ],
    ids=["jpeg", "grey jpeg", "progressive", "png named .jpg", "grey png named .jpg"],
)
def test_plain_files_are_stored_byte_for_byte(tmp_path, data):
    assert load(tmp_path, data) == data
    assert seen(data).shape == (H, W, 3)


def alpha(mode):
    """The test image, its left third transparent with junk colours underneath."""
    image = Image.fromarray(RGB if mode == "RGBA" else GREY).convert(mode)
    opacity = np.full((H, W), 255, np.uint8)
    opacity[:, : W // 3] = 0
    image.putalpha(Image.fromarray(opacity))
    return image


def on_white(image):
    flat = image.copy()
    flat[:, : W // 3] = 255
    return flat


PALETTE = Image.fromarray(RGB).quantize(16)
BLACK_WHITE = Image.fromarray(GREY > 100)
DEEP = np.arange(H * W).reshape(H, W) * 65535 // (H * W - 1)  # all of 0..65535
DEEP8 = grey3(np.round(DEEP / 257))


@pytest.mark.parametrize(
    "data, expected",
    [
        (encode(PALETTE, "PNG"), np.asarray(PALETTE.convert("RGB"))),
        (encode(PALETTE, "GIF"), np.asarray(PALETTE.convert("RGB"))),
        (encode(alpha("RGBA"), "PNG"), on_white(RGB)),
        (encode(alpha("LA"), "PNG"), on_white(grey3(GREY))),
        (encode(alpha("RGBA"), "WEBP", lossless=True), on_white(RGB)),
        (encode(BLACK_WHITE, "PNG"), grey3((GREY > 100) * 255)),
        (encode(DEEP.astype("u2"), "PNG"), DEEP8),
        (encode(DEEP.astype("u2"), "TIFF"), DEEP8),
        (encode(DEEP.astype("i4"), "TIFF"), DEEP8),
        (encode(RGB, "TIFF"), RGB),
        (encode(RGB, "BMP"), RGB),
        (png(2, 1, 16, 2, [struct.pack(">6H", 0, 300, 65535, 257, 40000, 1)]),
         np.array([[[0, 1, 255], [1, 156, 0]]])),
        (png(4, 1, 2, 0, [bytes([0b00_01_10_11])]), grey3([[0, 85, 170, 255]])),
    ],
    ids=["palette", "gif", "RGBA", "LA", "webp", "1-bit", "16-bit-png",
         "16-bit-tiff", "I", "tiff", "bmp", "48-bit", "2-bit"],
)  # fmt: skip
def test_other_types_become_8_bit_rgb_png(tmp_path, data, expected):
    stored = load(tmp_path, data)
    assert Image.open(io.BytesIO(stored)).format == "PNG" and stored[24] == 8
    np.testing.assert_array_equal(seen(stored), expected)


def test_first_frame_of_several(tmp_path):
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (10, 200)]
    for kind in ("GIF", "TIFF"):
        stored = load(tmp_path, encode(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert seen(stored).shape == (8, 8, 3) and seen(stored).max() == 10


def test_cmyk_jpeg(tmp_path):
    stored = load(tmp_path, encode(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=100))
    assert np.abs(seen(stored).astype(int) - RGB).mean() < 6


@pytest.mark.parametrize("orientation, turns", [(3, 2), (6, 3), (8, 1)])
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_exif_orientation_is_applied(tmp_path, kind, orientation, turns):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    stored = load(tmp_path, encode(RGB, kind, exif=exif, **options))
    opened = Image.open(io.BytesIO(stored))
    assert opened.format == kind and 0x0112 not in opened.getexif()
    upright = np.rot90(RGB, turns).astype(int)  # counter-clockwise
    assert np.abs(seen(stored) - upright).mean() < 2
    if kind == "JPEG":
        assert opened.layer[0][1:3] == opened.layer[1][1:3]  # 4:4:4: colour at full resolution


def test_upright_exif_is_left_alone(tmp_path):
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 1, "camera"
    data = encode(RGB, "JPEG", exif=exif)
    assert load(tmp_path, data) == data


def test_large_photograph(tmp_path):
    data = encode(Image.new("RGB", (4298, 4300), "pink"), "JPEG")
    assert load(tmp_path, data) == data


JPEG, PNG = encode(RGB, "JPEG"), encode(RGB, "PNG")


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "the file has 0 bytes"),
        (b"hello", "not an image"),
        (pickle.dumps(RGB), "not an image"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not an image"),
        (JPEG[: len(JPEG) // 2], "truncated image"),
        (JPEG[:-2], "truncated image"),
        (PNG[: len(PNG) // 2], "truncated image|broken image"),
        (PNG[:-4], "truncated image"),
        (PNG[:-12], "truncated image"),
        (PNG[:45] + bytes([PNG[45] ^ 1]) + PNG[46:], "broken image"),
        (PNG[:-13] + bytes([PNG[-13] ^ 1]) + PNG[-12:], "broken image"),  # a wrong checksum
        (png(20000, 20000, 1, 0, []), "more than 178 million pixels"),
        (encode(np.float32(RGB[..., 0]), "TIFF"), "floating-point"),
        (encode(np.int32(RGB[..., 0]) - 5, "TIFF"), "32-bit"),
    ],
)
def test_unusable_files_say_why(tmp_path, data, reason):
    with pytest.raises(ImageError, match=reason):
        load(tmp_path, data)


def test_missing_file(tmp_path):
    with pytest.raises(ImageError, match="cannot be read"):
        load_encoded(tmp_path / "nowhere.jpg")


@pytest.mark.parametrize("whole", [JPEG, PNG, encode(GREY, "JPEG", progressive=True)])
def test_what_is_accepted_tensorflow_reads(tmp_path, whole):
    """Flips bytes and cuts ends: a plain reason, or something that trains; never another error."""
    rng = np.random.default_rng(0)
    for _ in range(150):
        data = bytearray(whole[: rng.integers(len(whole) - 20, len(whole) + 1)])
        for place in rng.integers(0, len(data), rng.integers(0, 3)):
            data[place] = rng.integers(256)
        try:
            stored = load(tmp_path, bytes(data))
        except ImageError:
            continue
        assert seen(stored).ndim == 3
