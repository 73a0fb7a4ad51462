"""Random crops of encoded images: what is decoded in part looks as if it were not."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from simclr_med.augment import crop


def structured(height, width, channels, noise, seed=0):
    """Returns a picture, uint8 [height, width, channels], with structure of many sizes."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, channels), 128.0)
    for cells, amplitude in ((3, 60), (12, 30), (50, 15)):
        drawn = amplitude * rng.normal(size=(cells, cells, channels))
        image += tf.image.resize(drawn, [height, width], method="bicubic").numpy()
    image += noise * rng.normal(size=image.shape)
    return image.clip(0, 255).astype(np.uint8)


def encode(pixels, kind="JPEG", mode=None, **options):
    image = Image.fromarray(pixels.squeeze())
    buffer = io.BytesIO()
    (image.convert(mode) if mode else image).save(buffer, kind, **options)
    return buffer.getvalue()


def cut_at(monkeypatch, boxes):
    """Lets the windows be `boxes`, (top, left, height, width), which the seeds count."""
    boxes = tf.constant(boxes)
    monkeypatch.setattr(crop, "random_crop_window", lambda shape, seed, *rest: boxes[seed[0]])
    return tf.stack([tf.range(len(boxes)), tf.zeros(len(boxes), tf.int32)], axis=1)


def cut_and_resize(pixels, box, size, **options):
    """Returns what box (top, left, height, width) of decoded pixels looks like, 0..255."""
    window = tf.cast(tf.image.crop_to_bounding_box(pixels, *box), tf.float32)
    return tf.clip_by_value(tf.image.resize(window, [size, size], "bicubic", **options), 0, 255)


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize(
    "box", [(0, 0, 96, 128), (5, 7, 40, 53), (10, 3, 80, 60), (20, 20, 24, 32)]
)
def test_crop_and_resize_equal_the_reference(golden, monkeypatch, box, size):
    numbers = np.load(golden / "aug_ops.npz")
    encoded = tf.io.encode_png(numbers["op_input_u8"])
    result = crop.decode_random_crops(encoded, cut_at(monkeypatch, [box]), size, False)[0]
    expected = numbers["cropresize_{}_{}_{}_{}_to{}".format(*box, size)]
    difference = tf.cast(result, tf.float32)[::5] - 255 * expected.clip(
        0, 1
    )  # it clips later than we
    assert np.abs(difference).max() < 0.501  # rounded to the nearest


@pytest.mark.parametrize(
    "options", [{}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"mode": "L"}]
)
def test_jpegs_are_cropped_as_if_they_were_decoded_whole(monkeypatch, options):
    encoded = encode(structured(149, 203, 3, noise=20), quality=80, **options)
    whole = tf.io.decode_jpeg(encoded, channels=3)
    pairs = [
        [(0, 0, 149, 203), (40, 17, 50, 33)],
        [(70, 90, 61, 64), (81, 77, 44, 81)],
        [(3, 100, 146, 103), (148, 202, 1, 1)],
        [(97, 30, 52, 173), (100, 121, 49, 82)],
    ]
    for boxes in pairs:
        result = crop.decode_random_crops(encoded, cut_at(monkeypatch, boxes), 80, False)
        for view, box in zip(result, boxes):
            difference = tf.cast(view, tf.float32) - cut_and_resize(whole, box, 80)
            assert np.abs(difference).max() < 0.501


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "CMYK"])
def test_all_kinds_of_pixels_are_shown_in_three_channels(mode):
    pixels = structured(40, 50, 1 if mode == "I;16" else 3, noise=10)
    if mode == "I;16":
        encoded = encode(pixels.astype(np.uint16) * 257, "PNG")
    else:
        encoded = encode(pixels, "JPEG" if mode == "CMYK" else "PNG", mode)
    rgb = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    seeds = tf.constant([[4, 1], [5, 1]])
    for view, seed in zip(crop.decode_random_crops(encoded, seeds, 48, False), seeds):
        box = crop.random_crop_window(tf.shape(rgb), seed)
        difference = tf.cast(view, tf.float32) - cut_and_resize(rgb, tf.unstack(box), 48)
        assert np.abs(difference).max() < 0.501


def test_the_pixels_of_a_smaller_jpeg_stand_where_the_whole_ones_stood(monkeypatch):
    y, x = np.mgrid[:720, :960]
    encoded = encode(np.rint(np.stack([x / 4, y / 3, 0 * x], -1)).astype(np.uint8), quality=98)
    box = (40, 80, 600, 840)  # 600 is 10 times 60: at a quarter
    view = crop.decode_random_crops(encoded, cut_at(monkeypatch, [box]), 60)[0].numpy()
    centers = np.arange(60) + 0.5
    off = [
        view[30, :, 0] - ((80 + centers * 840 / 60) - 0.5) / 4,
        view[:, 30, 1] - ((40 + centers * 600 / 60) - 0.5) / 3,
    ]
    assert np.abs(np.mean(off, axis=1)).max() < 0.3  # half a pixel of the quarter is 0.5 and 0.7
