"""One window looks the same on every path and in every file format, as a slow computation has it."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers.slow_resize import centre, show, slow_resize
from simclr_med.augment import crop
from simclr_med.augment.resize import resize
from simclr_med.export import matrices

# Of a JPEG that is decoded at a half, a quarter or an eighth, in grey levels: mean and maximum, the
# rounding to 8 bits (0.25 and 0.5) included.
# The maximum is at hard edges, here of 50 and more.
MEAN, MAXIMUM = 1.0, 12.0
ROUNDED = 0.501


def picture(height, width, seed=0):
    """Returns noise on shapes, uint8 [height, width, 3]: what aliases, and what may not move."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    waves = 100 + 30 * np.sin(x / 5)
    image = np.stack([40 + x * 100 / width, 40 + y * 100 / height, waves], -1)  # clips nowhere
    image[(x - width / 3) ** 2 + (y - height / 2) ** 2 < (min(height, width) / 4) ** 2] += 50
    return (image + rng.normal(0, 10, (height, width, 1))).clip(0, 255).astype(np.uint8)


def encode(pixels, kind, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def file_of(pixels, kind):
    """Returns (bytes of a file, what is in it by Pillow's decoder, uint8 [H, W, 3])."""
    grey = pixels[..., 0]
    encoded = {
        "jpeg": lambda: encode(pixels, "JPEG", quality=95),
        "jpeg 4:4:4": lambda: encode(pixels, "JPEG", quality=95, subsampling=0),
        "progressive": lambda: encode(pixels, "JPEG", quality=90, progressive=True),
        "grey jpeg": lambda: encode(grey, "JPEG", quality=95),
        "png": lambda: encode(pixels, "PNG"),
        "grey png": lambda: encode(grey, "PNG"),
        "rgba png": lambda: encode(np.dstack([pixels, 255 - grey]), "PNG"),
        "16-bit png": lambda: encode(grey.astype(np.uint16) * 257, "PNG"),
        "bmp": lambda: encode(pixels, "BMP"),
        "gif": lambda: encode(pixels, "GIF"),
    }[kind]()
    if kind == "16-bit png":
        return encoded, np.dstack([grey] * 3)
    return encoded, np.array(Image.open(io.BytesIO(encoded)).convert("RGB"))


def train_shows(monkeypatch, encoded, windows, size, antialias=True):
    """Returns what training sees of windows, [V, size, size, 3] in 0..255."""
    fixed = tf.constant(windows)
    monkeypatch.setattr(crop, "random_crop_window", lambda shape, seed, *rest: fixed[seed[0]])
    seeds = tf.stack([tf.range(len(windows)), tf.zeros(len(windows), tf.int32)], axis=1)
    return crop.decode_random_crops(encoded, seeds, size, antialias).numpy().astype(float)


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize(
    "height, width, size",
    [
        (97, 61, 32),
        (61, 97, 64),
        (40, 40, 40),
        (1, 1, 16),
        (3, 200, 16),
        (20, 33, 48),
        (65, 64, 64),
    ],
)
def test_resize_equals_a_loop_over_pixels(height, width, size, dtype, antialias):
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(dtype)
    expected = slow_resize(pixels, size, antialias)
    resized = resize(tf.constant(pixels[np.newaxis]), size, antialias)[0]
    np.testing.assert_allclose(np.clip(resized, 0, 255), expected, atol=2e-3)
    resized = matrices.resize(tf.constant(pixels[np.newaxis].astype(np.float32)), size, antialias)[
        0
    ]
    np.testing.assert_allclose(np.clip(resized, 0, 255), expected, atol=2e-3)


@pytest.mark.parametrize("height, width, size", [(301, 222, 56), (150, 203, 64), (50, 44, 64)])
@pytest.mark.parametrize(
    "kind",
    [
        *("jpeg", "jpeg 4:4:4", "progressive", "grey jpeg", "png", "grey png", "rgba png"),
        *("16-bit png", "bmp", "gif"),
    ],
)
def test_every_path_and_format_shows_the_window(monkeypatch, kind, height, width, size):
    """Training, evaluation, an exported graph's uint8 and uint16 input, ONNX's matrices."""
    encoded, inside = file_of(picture(height, width), kind)
    window = centre(height, width)
    expected = show(inside, window, size)
    views = {
        "evaluation": crop.decode_center_crop(encoded, size) * 255,
        "uint8": crop.evaluation_view(tf.constant(inside), size) * 255,
        "uint16": crop.evaluation_view(tf.constant(inside.astype(np.uint16) * 257), size) * 255,
    }
    top, left, side, _ = window
    cut = inside[np.newaxis, top : top + side, left : left + side].astype(np.float32)
    views["onnx"] = np.clip(matrices.resize(tf.constant(cut), size, True)[0], 0, 255)
    for path, pixels in views.items():
        # Pillow's and TensorFlow's libjpeg may round a pixel's colours differently.
        of_file = path == "evaluation" and kind in ("jpeg", "jpeg 4:4:4", "progressive")
        error = np.abs(pixels - expected)
        assert error.max() < (1.0 if of_file else 2e-2) and error.mean() < 0.05, path
    trained = train_shows(monkeypatch, encoded, [window], size)[0]
    assert np.abs(trained - np.array(views["evaluation"])).max() < ROUNDED


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_a_jpeg_decoded_smaller_shows_the_same_within_the_tolerance(monkeypatch, factor, channels):
    """One view's window is that of evaluation, or near it; the other is off the grid by a pixel."""
    monkeypatch.setattr(
        crop, "_LEAST", 0
    )  # as at 128 px and more; the smaller, the faster this test
    size = 32
    side = 2 * factor * size + 8 * factor
    pixels = picture(side + 171, side + 93)
    encoded = encode(pixels[..., 0] if channels == 1 else pixels, "JPEG", quality=95)
    inside = tf.io.decode_jpeg(encoded, channels=3, dct_method="INTEGER_ACCURATE").numpy()
    on_grid = [(2 * factor, factor, side, side - factor), (0, 3 * factor, side - factor, side)]
    calls = []
    decode = crop._decode_jpeg
    monkeypatch.setattr(crop, "_decode_jpeg", lambda *a: calls.append(int(a[2])) or decode(*a))
    for windows, halvings in (
        (on_grid, int(np.log2(factor))),
        ([on_grid[0], (1, 5, side, side)], 0),
        ([on_grid[0], (0, 0, 2 * size - 1, 2 * size)], 0),
    ):
        views = train_shows(monkeypatch, encoded, windows, size)
        assert calls.pop() == halvings
        for view, window in zip(views, windows):
            error = np.abs(view - show(inside, window, size))
            assert error.max() < (MAXIMUM if halvings else ROUNDED)
            assert error.mean() < MEAN
            bias = (view - show(inside, window, size)).mean()
            assert abs(bias) < 0.2  # brightness is no cue to the file format


def test_a_photograph_looks_the_same_as_jpeg_and_as_png():
    """The crops drawn of large files are the same, at the same places, whatever the format."""
    size = 32
    pixels = picture(701, 900)
    jpeg, png = encode(pixels, "JPEG", quality=97, subsampling=0), encode(pixels, "PNG")
    seeds = tf.stack([tf.range(12), tf.range(12) + 5], axis=1)
    of_jpeg, of_png = (
        crop.decode_random_crops(e, seeds, size).numpy().astype(float) for e in (jpeg, png)
    )
    assert np.abs(of_jpeg - of_png).mean() < 1.0
    contrast = [np.abs(np.diff(views, axis=2)).mean() for views in (of_jpeg, of_png)]
    assert contrast[0] == pytest.approx(contrast[1], rel=0.02)
    aliased = [crop.decode_random_crops(e, seeds, size, False).numpy() for e in (jpeg, png)]
    assert np.abs(np.diff(aliased[0].astype(float), axis=2)).mean() > 1.3 * contrast[0]


def test_large_crops_are_drawn_where_a_jpeg_can_be_decoded_smaller():
    grids = set()
    for i in range(40):
        size, seed = 24 + 4 * i, tf.constant([i, 3])
        shape = tf.constant([903 + 60 * (40 - i), 999 + 50 * (40 - i), 3])
        exact = crop.random_crop_window(shape, seed).numpy()
        window = crop.random_crop_window(shape, seed, size, True).numpy()
        grid = max(f for f in (1, 2, 4, 8) if f == 1 or exact[2:].min() >= max(2 * size, 256) * f)
        np.testing.assert_array_equal(window, exact // grid * grid)
        np.testing.assert_array_equal(crop.random_crop_window(shape, seed, size, False), exact)
        assert window[2:].min() >= min(max(2 * size, 256) * grid, exact[2:].min())
        grids.add(grid)
    assert grids == {1, 2, 4, 8}


def test_without_antialias_a_large_jpeg_is_decoded_whole_and_bicubic(monkeypatch):
    pixels = picture(600, 640)
    encoded = encode(pixels, "JPEG", quality=95)
    inside = tf.io.decode_jpeg(encoded, channels=3).numpy()
    window = (8, 16, 512, 576)
    view = train_shows(monkeypatch, encoded, [window], 32, antialias=False)[0]
    assert np.abs(view - show(inside, window, 32, antialias=False)).max() < ROUNDED
    evaluated = crop.decode_center_crop(encoded, 48, antialias=False) * 255
    expected = show(inside, centre(600, 640), 48, antialias=False)
    np.testing.assert_allclose(evaluated, expected, atol=2e-2)
    assert np.abs(expected - show(inside, centre(600, 640), 48)).mean() > 3
