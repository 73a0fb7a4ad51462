"""Augmentation against the reference's outputs, and the distribution of what is drawn."""

import colorsys
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

from simclr_med.augment import augment_views, blur, color, crop, device_ops, image_ops

OPS = [
    *[f"{op}_{f}" for op in ("brightness", "contrast", "saturation") for f in (0.2, 0.6, 1.8)],
    *[f"hue_{h}" for h in (-0.2, -0.07, 0.1, 0.2)],
    "gray",
]


def one(value):
    return tf.constant([value], tf.float32)


def apply(op, image, value):
    images = image[np.newaxis]
    if op == "brightness":
        return color.adjust_brightness(images, one(value))
    if op == "contrast":
        return color.adjust_contrast(images, one(value))
    if op == "saturation":
        return color.adjust_hsv(images, one(0.0), one(value))
    if op == "hue":
        return color.adjust_hsv(images, one(value), one(1.0))
    return color.to_grey(images)


@pytest.mark.parametrize("name", OPS)
def test_colour_ops_equal_the_reference(golden, name):
    numbers = np.load(golden / "aug_ops.npz")
    image = numbers["op_input_u8"].astype(np.float32) / 255
    op, _, value = name.partition("_")
    result = apply(op, image, float(value or 0))[0].numpy()
    expected = numbers[name]
    assert (
        min(np.abs(result - expected).max(), np.abs(result.clip(0, 1) - expected).max()) < 1e-5
    )  # a mean over pixels


@pytest.mark.parametrize("sigma", ["0.1", "0.3", "1", "2"])
@pytest.mark.parametrize("size", [224, 96, 64, 32])
def test_blur_equals_the_reference(golden, sigma, size):
    numbers = np.load(golden / "aug_ops.npz")
    image = tf.constant(numbers["op_input_u8"][np.newaxis].astype(np.float32) / 255)
    result = blur.gaussian_blur(image, one(float(sigma)), blur.radius_for(size))[0]
    np.testing.assert_allclose(result, numbers[f"blur_sigma{sigma}_height{size}"], atol=2e-6)


def test_jitter_applies_the_four_in_each_images_own_order():
    rng = np.random.default_rng(0)
    images = rng.uniform(size=(3, 5, 4, 3)).astype(np.float32)
    parameters = {
        "brightness": tf.constant([1.5, 0.6, 1.1]),
        "contrast": tf.constant([0.4, 1.7, 1.2]),
        "saturation": tf.constant([1.6, 0.2, 0.9]),
        "hue": tf.constant([0.1, -0.15, 0.05]),
        "order": tf.constant([[3, 1, 0, 2], [0, 1, 2, 3], [2, 3, 1, 0]]),
    }
    result = color.jitter(tf.constant(images), **parameters).numpy()
    for i in range(3):
        x = images[i]
        for op in parameters["order"].numpy()[i]:
            name = ("brightness", "contrast", "saturation", "hue")[op]
            x = apply(name, x, float(parameters[name][i]))[0].numpy().clip(0, 1)
        np.testing.assert_allclose(result[i], x, atol=2e-6)


def test_drawn_colours_are_distributed_as_in_the_reference(golden):
    stats = json.loads((golden / "aug_stats.json").read_text())["s1.0"]
    drawn = color.draw(tf.constant([1, 2]), 4000, 1.0, 0.2)
    assert np.mean(drawn["jitter"]) == pytest.approx(0.8, abs=0.03)
    assert np.mean(drawn["grey"]) == pytest.approx(0.2, abs=0.03)
    quantiles = [0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1]
    for name in ("brightness", "contrast", "saturation", "hue"):
        expected = stats[f"{name}_q"]
        spread = expected[-1] - expected[0]
        np.testing.assert_allclose(
            np.quantile(drawn[name], quantiles), expected, atol=0.04 * spread, err_msg=name
        )
    orders = {tuple(order) for order in drawn["order"].numpy()}
    assert len(orders) == 24


def test_crop_windows_are_distributed_as_in_the_reference(golden):
    stats = json.loads((golden / "aug_stats.json").read_text())["s1.0"]
    seeds = tf.stack([tf.range(2000), tf.range(2000) * 7 + 1], axis=1)
    shape = tf.constant([375, 500, 3])
    draw = tf.function(lambda seed: crop.random_crop_window(shape, seed))
    windows = np.stack([draw(seed) for seed in seeds])
    area = windows[:, 2] * windows[:, 3] / (375 * 500)
    aspect = windows[:, 3] / windows[:, 2]
    quantiles = [0, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 1]
    np.testing.assert_allclose(np.quantile(area, quantiles), stats["area_q"], atol=0.04)
    np.testing.assert_allclose(np.quantile(aspect, quantiles), stats["aspect_q"], atol=0.04)
    assert (windows[:, 0] + windows[:, 2] <= 375).all()
    assert (windows[:, 1] + windows[:, 3] <= 500).all()


def test_evaluation_crop_equals_the_reference(golden):
    numbers = np.load(golden / "eval_preprocess.npz")
    cases = sorted({name.split("/")[0] for name in numbers.files})
    assert cases
    for case in cases:
        size = int(case.split("to")[1])
        encoded = tf.io.encode_png(numbers[f"{case}/input_u8"])
        result = crop.decode_center_crop(encoded, size)
        np.testing.assert_allclose(result, numbers[f"{case}/output"], atol=1e-6, err_msg=case)


def test_a_jpeg_is_cropped_as_if_it_were_decoded_whole():
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 255, (12, 10, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    jpeg = tf.io.encode_jpeg(pixels, quality=95)
    png = tf.io.encode_png(tf.io.decode_jpeg(jpeg))
    for s in range(4):
        seed = tf.constant([s, 1])
        a, b = (crop.decode_random_crop(e, seed, 24).numpy() for e in (jpeg, png))
        assert np.abs(a - b).mean() < 0.02  # the decoder smooths chroma across the crop's edge


def test_rotation_by_90_degrees_is_counter_clockwise(monkeypatch):
    image = np.random.default_rng(0).uniform(size=(8, 8, 3)).astype(np.float32)
    with_provider = image_ops.rotate(tf.constant(image), tf.constant(np.pi / 2, tf.float32))
    monkeypatch.setattr(image_ops, "tfa_image", None)
    core = image_ops.rotate(tf.constant(image), tf.constant(np.pi / 2, tf.float32))
    np.testing.assert_allclose(core, np.rot90(image), atol=1e-4)
    np.testing.assert_allclose(with_provider, core, atol=1e-4)


def test_replicas_augment_their_rows_of_the_global_batch():
    rng = np.random.default_rng(0)
    images = tf.constant(rng.integers(0, 256, (6, 2, 20, 20, 3)), tf.uint8)
    ops = device_ops(color_jitter_strength=1.0, use_blur=True)
    seed = tf.constant([3, 4])
    whole = tf.reshape(augment_views(images, ops, seed), [2, 6, 20, 20, 3])
    for replica in range(3):
        rows = images[2 * replica : 2 * replica + 2]
        part = augment_views(rows, ops, seed, replica=replica, num_replicas=3)
        expected = whole[:, 2 * replica : 2 * replica + 2]
        part = tf.reshape(part, expected.shape)
        np.testing.assert_allclose(part, expected, atol=1e-6)  # kernels round by batch size
    assert 0.0 <= float(tf.reduce_min(whole)) <= float(tf.reduce_max(whole)) <= 1.0


def test_ops_that_are_off_are_absent():
    off = dict(color_jitter_strength=0.0, use_blur=False, grayscale_probability=0.0)
    assert list(device_ops(**off)) == ["flip"]


def test_flip_mirrors_half_of_the_views():
    images = tf.tile(tf.constant([[[[[0], [255]]]]], tf.uint8), [400, 1, 2, 1, 3])
    ops = device_ops(color_jitter_strength=0.0, use_blur=False, grayscale_probability=0.0)
    flipped = augment_views(images, ops, tf.constant([0, 1]))[:, 0, 0, 0]
    assert float(tf.reduce_mean(flipped)) == pytest.approx(0.5, abs=0.1)


def test_a_chain_of_jitters_equals_the_reference(golden):
    numbers = np.load(golden / "aug_ops.npz")
    image = tf.constant(numbers["op_input_u8"][np.newaxis].astype(np.float32) / 255)
    result = color.jitter(
        image,
        hue=one(0.15),
        contrast=one(1.6),
        brightness=one(1.3),
        saturation=one(0.4),
        order=tf.constant([[color.HUE, color.CONTRAST, color.BRIGHTNESS, color.SATURATION]]),
    )
    expected = numbers["chain_hue.15_contrast1.6_brightness1.3_saturation.4"]
    np.testing.assert_allclose(result[0], expected, atol=3e-6)


@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize(
    "box", [(0, 0, 96, 128), (5, 7, 40, 53), (10, 3, 80, 60), (20, 20, 24, 32)]
)
def test_crop_and_resize_equal_the_reference(golden, monkeypatch, box, size):
    numbers = np.load(golden / "aug_ops.npz")
    monkeypatch.setattr(crop, "random_crop_window", lambda shape, seed: tf.constant(box))
    encoded = tf.io.encode_png(numbers["op_input_u8"])
    result = crop.decode_random_crop(encoded, tf.constant([0, 0]), size)
    expected = numbers["cropresize_{}_{}_{}_{}_to{}".format(*box, size)]
    np.testing.assert_allclose(result, expected.clip(0, 1), atol=1e-6)  # it clips later than we


def test_colour_ops_equal_colorsys_pixel_by_pixel():
    image = np.random.default_rng(1).uniform(size=(3, 4, 3)).astype(np.float32)
    image[0, 0], image[0, 1] = 0.5, 0.0  # grey and black have no hue
    expected = {"hue": np.empty_like(image), "saturation": np.empty_like(image)}
    for at in np.ndindex(3, 4):
        h, s, v = colorsys.rgb_to_hsv(*map(float, image[at]))
        expected["hue"][at] = colorsys.hsv_to_rgb((h + 0.3) % 1, s, v)
        expected["saturation"][at] = colorsys.hsv_to_rgb(h, min(1, s * 1.7), v)
    np.testing.assert_allclose(apply("hue", image, 0.3)[0], expected["hue"], atol=2e-6)
    np.testing.assert_allclose(
        apply("saturation", image, 1.7)[0], expected["saturation"], atol=2e-6
    )
    np.testing.assert_allclose(apply("brightness", image, 1.4)[0], 1.4 * image, rtol=1e-6)
    mean = image.mean((0, 1))
    np.testing.assert_allclose(
        apply("contrast", image, 0.3)[0], mean + 0.3 * (image - mean), atol=1e-6
    )
    luma = image @ [0.2989, 0.587, 0.114]
    np.testing.assert_allclose(apply("gray", image, 0)[0], np.dstack([luma] * 3), atol=1e-6)


def test_blur_equals_a_loop_over_taps():
    image = np.random.default_rng(2).uniform(size=(7, 5, 3)).astype(np.float32)
    radius, sigma = 2, 0.8
    taps = np.arange(-radius, radius + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(image, [(radius, radius), (radius, radius), (0, 0)])
    expected = np.zeros_like(image)
    for (i, a), (j, b) in itertools.product(enumerate(weights), repeat=2):
        expected += a * b * padded[i : i + 7, j : j + 5]
    result = blur.gaussian_blur(tf.constant(image[np.newaxis]), one(sigma), radius)[0]
    np.testing.assert_allclose(result, expected, atol=1e-6)


def test_drawn_blurs_are_distributed_as_in_the_reference(golden):
    stats = json.loads((golden / "aug_stats.json").read_text())["blur"]
    drawn = blur.draw(tf.constant([3, 4]), 4000)
    assert np.mean(drawn["blur"]) == pytest.approx(0.5, abs=0.03)  # 4 standard errors
    quantiles = np.quantile(drawn["sigma"], [0, 0.05, 0.25, 0.5, 0.75, 0.95, 1])
    np.testing.assert_allclose(quantiles, stats["sigma_q"], atol=0.08)


def test_evaluation_crop_without_resizing_is_a_slice():
    pixels = np.random.default_rng(3).integers(0, 256, (64, 80, 3)).astype(np.uint8)
    result = crop.decode_center_crop(tf.io.encode_png(pixels), 56)  # 0.875 * 64: nothing to resize
    np.testing.assert_allclose(result, pixels[4:60, 12:68] / 255, atol=1e-6)


@pytest.mark.parametrize("provider", ["found", "core"])
def test_rotation_by_0_changes_nothing_and_by_180_reverses(monkeypatch, provider):
    if provider == "core":
        monkeypatch.setattr(image_ops, "tfa_image", None)
    image = np.random.default_rng(4).uniform(size=(6, 9, 3)).astype(np.float32)
    still = image_ops.rotate(tf.constant(image), tf.constant(0.0))
    turned = image_ops.rotate(tf.constant(image), tf.constant(np.pi, tf.float32))
    np.testing.assert_allclose(still, image, atol=1e-6)
    np.testing.assert_allclose(turned, np.rot90(image, 2), atol=1e-4)


def test_both_rotation_providers_agree_at_any_angle(monkeypatch):
    if image_ops.tfa_image is None:
        pytest.skip("tensorflow_addons does not import here (TensorFlow >= 2.16)")
    image = tf.random.stateless_uniform([12, 17, 3], [1, 2])
    for angle in (-1.3, 0.2, 0.7, 2.5):
        with monkeypatch.context() as patched:
            addons = image_ops.rotate(image, tf.constant(angle))
            patched.setattr(image_ops, "tfa_image", None)
            core = image_ops.rotate(image, tf.constant(angle))
        np.testing.assert_allclose(core, addons, atol=1e-4)
