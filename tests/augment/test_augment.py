"""Augmentation against the reference's outputs, and the distribution of what is drawn."""

import colorsys
import functools
import itertools
import json

import numpy as np
import pytest
import tensorflow as tf

from simclr_med import augment, distribution
from simclr_med.augment import (
    augment_views,
    blur,
    color,
    crop,
    device_ops,
    draws,
    flip,
    rotation,
)

try:
    from tensorflow_addons import image as tfa_image
except ImportError:  # end of life: it does not import on TensorFlow >= 2.16
    tfa_image = None

OPS = [
    *[f"{op}_{f}" for op in ("brightness", "contrast", "saturation") for f in (0.2, 0.6, 1.8)],
    *[f"hue_{h}" for h in (-0.2, -0.07, 0.1, 0.2)],
    "gray",
]


def one(value):
    return tf.constant([value], tf.float32)


def planes(*images):
    """[H, W, C] each -> [n, C, H, W]."""
    return tf.constant(np.stack(images).transpose(0, 3, 1, 2).astype(np.float32))


def pixels(planes):
    """[n, C, H, W] -> [n, H, W, C]."""
    return np.asarray(planes).transpose(0, 2, 3, 1)


def apply(op, image, value):
    change = {
        "brightness": color.adjust_brightness,
        "contrast": color.adjust_contrast,
        "saturation": color.adjust_saturation,
        "hue": color.adjust_hue,
        "gray": lambda images, _: color.to_grey(images),
    }[op]
    return pixels(change(planes(image), one(value)))[0]


@pytest.mark.parametrize("name", OPS)
def test_colour_ops_equal_the_reference(golden, name):
    numbers = np.load(golden / "aug_ops.npz")
    image = numbers["op_input_u8"].astype(np.float32) / 255
    op, _, value = name.partition("_")
    result = apply(op, image, float(value or 0))
    result, expected = result[::5], numbers[name]  # every fifth row is kept
    assert (
        min(np.abs(result - expected).max(), np.abs(result.clip(0, 1) - expected).max()) < 1e-5
    )  # a mean over pixels


@pytest.mark.parametrize("n", [1, 2], ids=["by taps", "by matrices"])
@pytest.mark.parametrize("sigma", ["0.1", "0.3", "1", "2"])
@pytest.mark.parametrize("size", [224, 96, 64, 32])
def test_blur_equals_the_reference(golden, sigma, size, n):
    numbers = np.load(golden / "aug_ops.npz")
    images = planes(*[numbers["op_input_u8"] / 255] * n)
    sigmas = tf.fill([n], float(sigma))
    result = pixels(blur.gaussian_blur(images, sigmas, blur.radius_for(size)))[-1]
    expected = numbers[f"blur_sigma{sigma}_height{size}"]
    np.testing.assert_allclose(result[::5], expected, atol=2e-6)


@pytest.mark.parametrize("batched", [True, False])
def test_jitter_applies_the_four_in_each_images_own_order(batched):
    images = np.random.default_rng(0).uniform(size=(3, 5, 4, 3)).astype(np.float32)
    parameters = {
        "brightness": tf.constant([1.5, 0.6, 1.1]),
        "contrast": tf.constant([0.4, 1.7, 1.2]),
        "saturation": tf.constant([1.6, 0.2, 0.9]),
        "hue": tf.constant([0.1, -0.15, 0.05]),
        "order": tf.constant([[3, 1, 0, 2], [0, 1, 2, 3], [2, 3, 1, 0]]),
    }
    if batched:
        result = pixels(color.jitter(planes(*images), **parameters))
    else:
        parameters_of = [{name: x[i : i + 1] for name, x in parameters.items()} for i in range(3)]
        result = [pixels(color.jitter(planes(images[i]), **parameters_of[i]))[0] for i in range(3)]
    for i in range(3):
        x = images[i]
        for op in parameters["order"].numpy()[i]:
            name = ("brightness", "contrast", "saturation", "hue")[op]
            x = apply(name, x, float(parameters[name][i])).clip(0, 1)
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


@pytest.mark.parametrize("min_area", [0.3, 1.0])
def test_no_crop_covers_less_than_the_smallest_area(min_area):
    # Fails if the range reaches the draw of JPEGs or of windows only, or if a crop is never smaller.
    seeds = tf.stack([tf.range(300), tf.range(300) * 7 + 1], axis=1)
    shape = tf.constant([375, 500, 3])
    draw = tf.function(lambda seed: crop.random_crop_window(shape, seed, min_area=min_area))
    windows = np.stack([draw(seed) for seed in seeds])
    area = windows[:, 2] * windows[:, 3] / (375 * 500)
    assert area.min() > 0.99 * min_area  # whole pixels
    assert min_area == 1.0 or area.min() < 1.2 * min_area


def test_evaluation_crop_equals_the_reference(golden):
    numbers = np.load(golden / "eval_preprocess.npz")
    cases = sorted({name.split("/")[0] for name in numbers.files})
    assert len(cases) == 6
    for case in cases:
        size = int(case.split("to")[1])
        encoded = tf.constant(numbers[f"{case}/input_png"].tobytes())
        result = crop.decode_center_crop(encoded, size, antialias=False)
        assert result.shape == (size, size, 3)
        np.testing.assert_allclose(result[::5], numbers[f"{case}/output"], atol=1e-6, err_msg=case)


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
    result = color.jitter(
        planes(numbers["op_input_u8"] / 255),
        hue=one(0.15),
        contrast=one(1.6),
        brightness=one(1.3),
        saturation=one(0.4),
        order=tf.constant([[color.HUE, color.CONTRAST, color.BRIGHTNESS, color.SATURATION]]),
    )
    expected = numbers["chain_hue.15_contrast1.6_brightness1.3_saturation.4"]
    np.testing.assert_allclose(pixels(result)[0][::5], expected, atol=3e-6)


def test_colour_ops_equal_colorsys_pixel_by_pixel():
    image = np.random.default_rng(1).uniform(size=(3, 4, 3)).astype(np.float32)
    image[0, 0], image[0, 1] = 0.5, 0.0  # grey and black have no hue
    expected = {"hue": np.empty_like(image), "saturation": np.empty_like(image)}
    for index in np.ndindex(3, 4):
        h, s, v = colorsys.rgb_to_hsv(*map(float, image[index]))
        expected["hue"][index] = colorsys.hsv_to_rgb((h + 0.3) % 1, s, v)
        expected["saturation"][index] = colorsys.hsv_to_rgb(h, min(1, s * 1.7), v)
    np.testing.assert_allclose(apply("hue", image, 0.3), expected["hue"], atol=2e-6)
    np.testing.assert_allclose(apply("saturation", image, 1.7), expected["saturation"], atol=2e-6)
    np.testing.assert_allclose(apply("brightness", image, 1.4), 1.4 * image, rtol=1e-6)
    mean = image.mean((0, 1))
    np.testing.assert_allclose(
        apply("contrast", image, 0.3), mean + 0.3 * (image - mean), atol=1e-6
    )
    luma = image @ [0.2989, 0.587, 0.114]
    np.testing.assert_allclose(apply("gray", image, 0), np.dstack([luma] * 3), atol=1e-6)


@pytest.mark.parametrize("n", [1, 3], ids=["by taps", "by matrices"])
def test_blur_equals_a_loop_over_taps(n):
    image = np.random.default_rng(2).uniform(size=(7, 5, 3)).astype(np.float32)
    radius, sigma = 2, 0.8
    taps = np.arange(-radius, radius + 1)
    weights = np.exp(-(taps**2) / (2 * sigma**2))
    weights /= weights.sum()
    padded = np.pad(image, [(radius, radius), (radius, radius), (0, 0)])
    expected = np.zeros_like(image)
    for (i, a), (j, b) in itertools.product(enumerate(weights), repeat=2):
        expected += a * b * padded[i : i + 7, j : j + 5]
    sigmas = tf.constant([0.3, 2.0, sigma][-n:])  # the last one's is looked at
    result = pixels(blur.gaussian_blur(planes(*[image] * n), sigmas, radius))[-1]
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


def rotated_by_tensorflow(image, angle):
    """Returns what tensorflow_addons makes of an image [H, W, 3], or the op that it calls."""
    if tfa_image is not None:
        return tfa_image.rotate(image, angle, interpolation="bilinear", fill_mode="reflect")
    height, width = image.shape[:2]
    cos, sin, x, y = np.cos(angle), np.sin(angle), (width - 1) / 2, (height - 1) / 2
    matrix = [cos, -sin, x - (cos * x - sin * y), sin, cos, y - (sin * x + cos * y), 0, 0]
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=image[np.newaxis],
        transforms=np.array([matrix], np.float32),
        output_shape=[height, width],
        fill_value=0.0,
        interpolation="BILINEAR",
        fill_mode="REFLECT",
    )[0]


ALL = device_ops(color_jitter_strength=1.0, use_blur=True, rotation_degrees=60.0)


def drawn_views(b, views, size=24):
    rng = np.random.default_rng(5)
    coarse = rng.integers(0, 256, (b, views, size // 4, size // 4, 3))
    return tf.constant(coarse.repeat(4, axis=2).repeat(4, axis=3), tf.uint8)


@pytest.mark.parametrize("one_by_one", [True, False], ids=["one by one", "batched"])
@pytest.mark.parametrize("whole_step", [True, False], ids=["in a compiled step", "by itself"])
def test_compiled_by_xla_the_views_are_those_of_plain_ops(monkeypatch, one_by_one, whole_step):
    images, seed = drawn_views(3, 2), tf.constant([5, 6])
    plain = augment_views(images, ALL, seed)  # outside a function nothing is compiled
    assert float(tf.math.reduce_std(plain)) > 0.1
    monkeypatch.setattr(distribution, "on_cpu", lambda: one_by_one)
    step = tf.function(lambda x, seed: augment_views(x, ALL, seed), jit_compile=whole_step)
    np.testing.assert_allclose(step(images, seed), plain, atol=1e-4)  # of the angle's rounding
    assert np.abs(step(images, tf.constant([5, 7])) - plain).max() > 0.1


def test_padding_is_left_out_on_an_accelerator(monkeypatch):
    monkeypatch.setattr(distribution, "on_cpu", lambda: False)
    images, seed = drawn_views(2, 3), tf.constant([7, 8])
    whole = tf.reshape(augment_views(images, ALL, seed), [3, 2, 24, 24, 3])
    step = tf.function(lambda valid: augment_views(images, ALL, seed, valid=valid))
    for counts in ([3, 1], [1, 1], [2, 3]):
        valid = np.arange(3) < np.array(counts)[:, np.newaxis]
        np.testing.assert_allclose(step(tf.constant(valid)), whole.numpy()[valid.T], atol=1e-5)
    assert step.experimental_get_tracing_count() == 1


def test_padding_is_left_out_and_nothing_is_compiled_again_for_another_number():
    images, seed = drawn_views(4, 3), tf.constant([7, 8])
    whole = tf.reshape(augment_views(images, ALL, seed), [3, 4, 24, 24, 3])
    step = tf.function(lambda valid: augment_views(images, ALL, seed, valid=valid))
    for counts in ([3, 1, 2, 1], [1, 1, 1, 1], [3, 3, 3, 3]):
        valid = np.arange(3) < np.array(counts)[:, np.newaxis]  # [b, V]
        expected = whole.numpy()[valid.T]
        np.testing.assert_allclose(step(tf.constant(valid)), expected, atol=1e-4)
        eager = augment_views(images, ALL, seed, valid=tf.constant(valid))
        np.testing.assert_allclose(eager, expected, atol=1e-5)
    assert step.experimental_get_tracing_count() == 1
    graph = step.get_concrete_function(tf.TensorSpec([4, 3], tf.bool)).graph
    calls = [op for op in graph.get_operations() if "PartitionedCall" in op.type]
    shapes = [x.shape for op in calls for x in op.inputs]
    assert calls and all(shape.is_fully_defined() for shape in shapes)  # XLA compiles for a shape


def test_the_compiled_program_is_the_same_whichever_images_are_valid():
    images = tf.reshape(drawn_views(2, 3), [6, 24, 24, 3])
    parameters = {n: draw(tf.constant([1, 2]), 6) for n, (_, draw, _) in ALL.items()}
    compiled = tf.function(functools.partial(augment._one_by_one, ALL), jit_compile=True)

    def program(order, count):
        args = images, parameters, tf.constant(order), tf.constant(count)
        return compiled.experimental_get_compiler_ir(*args)(stage="hlo")

    # An index of a strided slice is a constant of the program, one of a gather its input.
    assert program([0, 1, 2, 3, 4, 5], 6) == program([5, 0, 3, 1, 2, 4], 2)


@pytest.mark.parametrize("shape", [(12, 17), (20, 20)])
def test_each_image_turns_by_its_own_angle_as_tensorflow_turns_it(shape):
    images = np.random.default_rng(6).integers(0, 256, (6, *shape, 3)).astype(np.uint8)
    angles = tf.constant([-1.3, 0.2, 0.0, 0.7, 2.5, np.pi], tf.float32)
    turned = pixels(rotation.rotate(tf.constant(images), angles))
    for image, angle, result in zip(images, angles, turned):
        expected = rotated_by_tensorflow((image / 255).astype(np.float32), float(angle))
        np.testing.assert_allclose(result, expected, atol=1e-4)


def test_a_turn_by_90_degrees_is_counter_clockwise_and_by_0_is_none():
    image = np.random.default_rng(7).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    quarter, none = (
        pixels(rotation.rotate(tf.constant(image[np.newaxis]), one(angle)))[0]
        for angle in (np.pi / 2, 0.0)
    )
    np.testing.assert_allclose(quarter, np.rot90(image) / 255, atol=1e-4)
    np.testing.assert_allclose(none, image / 255, atol=1e-6)


def test_drawn_angles_are_uniform_up_to_the_limit_either_way():
    angles = rotation.draw(tf.constant([1, 2]), 4000, 45.0)["angle"]
    expected = np.radians([-45, -22.5, 0, 22.5, 45])
    quantiles = np.quantile(angles, [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(quantiles, expected, atol=0.05)  # 3.5 standard errors
    assert np.abs(angles).max() <= np.pi / 4


def test_a_flip_mirrors_left_and_right():
    image = np.random.default_rng(8).uniform(size=(4, 5, 3)).astype(np.float32)
    flipped = flip.random_flip(planes(image, image), {"flip": tf.constant([True, False])})
    np.testing.assert_array_equal(pixels(flipped), [image[:, ::-1], image])


@pytest.mark.parametrize("shape", [(7,), (3, 2)])
def test_draws_are_tensorflows_own_and_the_same_compiled(shape):
    seed = tf.constant([3, -4])
    expected = tf.random.stateless_uniform(shape, seed, -0.5, 2.0, alg="philox")
    np.testing.assert_array_equal(draws.uniform(shape, seed, -0.5, 2.0), expected)
    compiled = tf.function(lambda seed: draws.uniform(shape, seed, -0.5, 2.0), jit_compile=True)
    np.testing.assert_allclose(compiled(seed), expected, atol=1e-6)
