"""pixels: whatever file a user has, TensorFlow then reads what the user saw."""

import io
import pickle
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageCms, PngImagePlugin

from tfds_builders.pixels import ImageError, load_encoded

H, W = 20, 30
RGB = np.stack(np.broadcast_arrays(np.arange(H)[:, None] * 12, np.arange(W) * 8, 77), -1).astype(
    "u1"
)
GREY = RGB[..., 0]
SRGB = ImageCms.createProfile("sRGB")


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
    return load_encoded(tmp_path / name).images[0]


def load_encoded_at(tmp_path, data, long_side):
    (tmp_path / "image").write_bytes(data)
    return load_encoded(tmp_path / "image", long_side=long_side).images[0]


def decoded(data):
    """uint8 [H, W, 3] as training will read it."""
    return tf.io.decode_image(data, channels=3, expand_animations=False).numpy()


def grey3(grey):
    return np.repeat(np.asarray(grey, np.uint8)[..., None], 3, -1)


@pytest.mark.parametrize(
    "data",
    [
        encode(RGB, "JPEG"),
        encode(GREY, "JPEG"),
        encode(RGB, "JPEG", progressive=True),
        encode(RGB, "PNG"),
        encode(GREY, "PNG"),
    ],
    ids=["jpeg", "grey jpeg", "progressive", "png named .jpg", "grey png named .jpg"],
)
def test_plain_files_are_stored_byte_for_byte(tmp_path, data):
    assert load(tmp_path, data) == data
    assert decoded(data).shape == (H, W, 3)


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


def transparent_corner():
    """RGB where its first pixel's colour is declared transparent."""
    flat = RGB.copy()
    flat[0, 0] = 255
    return flat


PALETTE = Image.fromarray(RGB).quantize(16)
BLACK_WHITE = Image.fromarray(GREY > 100)
DEEP = np.arange(H * W).reshape(H, W) * 65535 // (H * W - 1)  # all of 0..65535
DEEP8 = grey3(np.round(DEEP / 257))
TWELVE = 300 + np.arange(H * W).reshape(H, W) * 3  # 300..2097, of a detector's 12 bits
TWELVE8 = grey3(np.round((TWELVE - 300) / 1797 * 255))
WHITE_IS_ZERO = {"tiffinfo": {262: 0}}


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
        (encode(TWELVE.astype("u2"), "PNG"), TWELVE8),
        (encode(TWELVE.astype("u2"), "TIFF"), TWELVE8),
        (encode(TWELVE.astype("u2"), "TIFF", **WHITE_IS_ZERO), 255 - TWELVE8),
        (encode(np.full((H, W), 7, "u2"), "PNG"), grey3(np.zeros((H, W)))),
        (encode(RGB, "PNG", transparency=(0, 0, 77)), transparent_corner()),
        (encode(RGB, "TIFF"), RGB),
        (encode(RGB, "BMP"), RGB),
        (png(2, 1, 16, 2, [struct.pack(">6H", 0, 300, 65535, 257, 40000, 1)]),
         np.array([[[0, 1, 255], [1, 156, 0]]])),
        (png(4, 1, 2, 0, [bytes([0b00_01_10_11])]), grey3([[0, 85, 170, 255]])),
    ],
    ids=["palette", "gif", "RGBA", "LA", "webp", "1-bit", "16-bit-png",
         "16-bit-tiff", "I", "12-bit png", "12-bit tiff", "12-bit tiff, white is zero", "constant",
         "transparent colour", "tiff", "bmp", "48-bit", "2-bit"],
)  # fmt: skip
def test_other_types_become_8_bit_png(tmp_path, data, expected):
    stored = load(tmp_path, data)
    image = Image.open(io.BytesIO(stored))
    assert image.format == "PNG" and stored[24] == 8
    grey_source = Image.open(io.BytesIO(data)).mode in ("1", "L", "I;16", "I")
    assert image.mode == ("L" if grey_source else "RGB")
    np.testing.assert_array_equal(decoded(stored), expected)


def test_48_bit_tiff(tmp_path):
    """Pillow writes none: one strip of [2, 1, 3] uint16, made by hand."""
    pixels = struct.pack("<6H", 0, 300, 65535, 257, 40000, 1)
    entries = [(256, 2), (257, 1), (258, 16), (259, 1), (262, 2), (273, 8), (277, 3), (278, 1)]
    entries += [(279, len(pixels))]
    table = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries)
    table = table.replace(struct.pack("<HHII", 258, 4, 1, 16), struct.pack("<HHII", 258, 3, 3, 20))
    data = b"II*\0" + struct.pack("<I", 26) + pixels + struct.pack("<3H", 16, 16, 16)
    data += struct.pack("<H", len(entries)) + table + bytes(4)
    np.testing.assert_array_equal(decoded(load(tmp_path, data)), [[[0, 1, 255], [1, 156, 0]]])


def test_first_frame_of_several(tmp_path):
    frames = [Image.fromarray(np.full((8, 8, 3), v, np.uint8)) for v in (10, 200)]
    for kind in ("GIF", "TIFF"):
        stored = load(tmp_path, encode(frames[0], kind, save_all=True, append_images=frames[1:]))
        assert decoded(stored).shape == (8, 8, 3) and decoded(stored).max() == 10


def test_cmyk_jpeg(tmp_path):
    stored = load(tmp_path, encode(Image.fromarray(RGB).convert("CMYK"), "JPEG", quality=100))
    assert np.abs(decoded(stored).astype(int) - RGB).mean() < 6


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
    assert np.abs(decoded(stored) - upright).mean() < 2
    if kind == "JPEG":
        assert opened.layer[0][1:3] == opened.layer[1][1:3]  # 4:4:4: colour at full resolution


# Metadata

SECRET = b"Jane Doe"


def described(kind):
    """RGB as JPEG or PNG with a name in every place Pillow can put one, and after the end."""
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 1, SECRET.decode()
    options = {"exif": exif, "icc_profile": ImageCms.ImageCmsProfile(SRGB).tobytes()}
    if kind == "JPEG":
        options.update(comment=SECRET, xmp=SECRET, progressive=True)
    else:
        options["pnginfo"] = PngImagePlugin.PngInfo()
        options["pnginfo"].add_text("Comment", SECRET.decode())
        options["pnginfo"].add_itxt("XML:com.adobe.xmp", SECRET.decode())
    return encode(RGB, kind, **options) + SECRET


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_metadata_is_left_out_and_pixels_are_not_touched(tmp_path, kind):
    data = described(kind)
    assert data.count(SECRET) == 4
    stored = load(tmp_path, data)
    assert SECRET not in stored
    before, after = (Image.open(io.BytesIO(bytes_)) for bytes_ in (data, stored))
    assert after.format == kind and after.info["icc_profile"] == before.info["icc_profile"]
    np.testing.assert_array_equal(np.asarray(after), np.asarray(before))
    np.testing.assert_array_equal(decoded(stored), decoded(data))
    plain = encode(RGB, kind, **({"progressive": True} if kind == "JPEG" else {}))
    np.testing.assert_array_equal(decoded(stored), decoded(plain))


@pytest.mark.parametrize("kind, long_side", [("JPEG", 15), ("PNG", 15)])
def test_metadata_is_left_out_of_what_is_resized(tmp_path, kind, long_side):
    stored = load_encoded_at(tmp_path, described(kind), long_side)
    assert SECRET not in stored and Image.open(io.BytesIO(stored)).format == kind


def test_jpeg_whose_colours_hang_on_the_adobe_segment(tmp_path):
    """Components are RGB, not YCbCr: only APP14 says so."""
    data = encode(RGB, "JPEG", keep_rgb=True, quality=100)
    assert b"Adobe" in data
    stored = load(tmp_path, data)
    np.testing.assert_array_equal(decoded(stored), decoded(data))
    assert np.abs(decoded(stored).astype(int) - RGB).max() < 6


def test_a_preview_inside_the_jfif_segment_is_left_out(tmp_path):
    data = encode(RGB, "JPEG", quality=95)
    assert data[2:4] == b"\xff\xe0" and data[6:11] == b"JFIF\0"
    preview = (SECRET * 40)[: 3 * 8 * 8]
    segment = data[6:18] + b"\x08\x08" + preview  # 8 x 8 px of RGB
    described_so = data[:4] + (2 + len(segment)).to_bytes(2, "big") + segment + data[20:]
    assert decoded(described_so).shape == RGB.shape and SECRET in described_so
    stored = load(tmp_path, described_so)
    assert SECRET not in stored
    np.testing.assert_array_equal(decoded(stored), decoded(data))


def test_jpeg_with_stray_bytes_is_encoded_anew(tmp_path):
    data = encode(RGB, "JPEG", quality=95)
    stored = load(tmp_path, data[:20] + b"stray" + data[20:])
    assert b"stray" not in stored
    assert np.abs(decoded(stored).astype(int) - decoded(data)).mean() < 2


# Size


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(600, 400), (400, 600), (600, 1), (160, 90), (159, 20)])
def test_long_side(tmp_path, kind, size):
    """A smooth picture, at an eighth of its size and less, is the same function of place."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    pixels = (np.stack([x, y, x * y], -1) * 255).astype("u1")
    data = encode(pixels, kind, quality=95)
    stored = load_encoded_at(tmp_path, data, long_side=160)
    image = Image.open(io.BytesIO(stored))
    assert image.format == kind
    if max(size) <= 160:
        assert stored == data
    elif min(size) > 1:
        width, height = image.size
        assert max(width, height) == 160 and abs(width / height - size[0] / size[1]) < 0.01
        x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
        expected = np.stack([x, y, x * y], -1) * 255
        assert np.abs(np.asarray(image) - expected).mean() < 1.5
    else:
        assert image.size == (160, 1)


def test_shrinking_keeps_the_depth_of_16_bits(tmp_path):
    """Every pixel of the picture repeated 4 x 4, then shrunk by 4: the picture again."""
    deep = np.repeat(np.repeat(TWELVE, 4, 0), 4, 1).astype("u2")
    stored = load_encoded_at(tmp_path, encode(deep, "PNG"), long_side=W)
    assert Image.open(io.BytesIO(stored)).size == (W, H)
    difference = np.abs(decoded(stored).astype(int) - TWELVE8)[
        2:-2, 2:-2
    ]  # a step back at a border
    assert np.median(difference) <= 1


def test_turned_and_shrunk(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = load_encoded_at(tmp_path, encode(RGB, "PNG", exif=exif), long_side=15)
    assert Image.open(io.BytesIO(stored)).size == (10, 15)


def test_truncated_large_jpeg_is_found_though_decoded_small(tmp_path):
    data = encode(Image.new("RGB", (1600, 1200), "pink"), "JPEG")
    assert len(load_encoded_at(tmp_path, data, 100)) < 3000
    with pytest.raises(ImageError, match="truncated"):
        load_encoded_at(tmp_path, data[:-200], 100)


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
        assert decoded(stored).ndim == 3
