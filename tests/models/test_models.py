"""The encoders and heads: the reference's weights must give the reference's outputs."""

import functools
import json
import math

import numpy as np
import pytest
import tensorflow as tf

from helpers import simclr_layout
from simclr_med.config import ModelConfig
from simclr_med.keras_api import keras
from simclr_med.models import ENCODERS, Model, bit, build_encoder
from simclr_med.models.input_range import to_range


def reference_model(golden, checkpoint):
    config = ModelConfig(resnet_depth=18, num_proj_layers=2, proj_out_dim=64, ft_proj_selector=1)
    model = Model(config, image_size=64, num_classes=10)
    model.build_weights(64)
    reader = tf.train.load_checkpoint(str(checkpoint / "ckpt-0"))
    for key, variable in simclr_layout.checkpoint_keys(model).items():
        variable.assign(reader.get_tensor(key))
    return model, np.load(golden / "model_r18.npz")


def relative_error(value, expected):
    return np.abs(np.asarray(value) - expected).max() / np.abs(expected).max()


def test_inference_equals_the_reference(golden, golden_checkpoint):
    model, numbers = reference_model(golden, golden_checkpoint)
    outputs = model(numbers["input"][..., :3], training=False)
    assert relative_error(outputs["projection"], numbers["eval/proj"]) < 5e-6
    assert relative_error(outputs["logits"], numbers["eval/sup"]) < 5e-6
    encoded = model.encoder(numbers["input"][..., :3], training=False)
    assert relative_error(encoded, numbers["eval/final_avg_pool"]) < 5e-6


def test_training_pass_and_moving_statistics_equal_the_reference(golden, golden_checkpoint):
    model, numbers = reference_model(golden, golden_checkpoint)
    views = np.concatenate([numbers["input"][..., :3], numbers["input"][..., 3:]])
    outputs = model(views, training=True)
    assert relative_error(outputs["projection"], numbers["train/proj"]) < 1e-4
    assert relative_error(outputs["logits"], numbers["train/sup"]) < 1e-4
    first = model.encoder.stem.body[-1].bn
    prefix = "after_train/resnet/batch_norm_relu/sync_batch_normalization"
    assert relative_error(first.moving_mean, numbers[f"{prefix}/moving_mean:0"]) < 1e-5
    assert relative_error(first.moving_variance, numbers[f"{prefix}/moving_variance:0"]) < 1e-5


GOLDEN_NAMES = [f"names_{n}" for n in ("r18_w1", "r50_w1", "r50_w1_sk", "r50_w4", "r152_w2")]


def in_a_graph(make):
    """Calls `make` where variables have a name and a shape and take no memory."""
    with tf.Graph().as_default():
        return make()


def keys_and_variables(document):
    """{SimCLR's checkpoint key: variable} of the model that a golden list describes."""
    options = dict(width_multiplier=document["width"], sk_ratio=document["sk_ratio"])
    config = ModelConfig(resnet_depth=document["depth"], **options)
    model = Model(config, image_size=64, num_classes=1000)
    model.build_weights(64)
    return model, simclr_layout.checkpoint_keys(model)


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_variables_and_shapes_are_those_of_the_reference(golden, name):
    document = json.loads((golden / f"{name}.json").read_text())
    model, named = in_a_graph(lambda: keys_and_variables(document))
    assert set(named) == set(document["checkpoint_keys"])
    assert sorted(tuple(v.shape) for v in named.values()) == sorted(map(tuple, document["shapes"]))
    assert len({id(v) for v in named.values()}) == len(model.variables) == document["n_variables"]
    assert num_parameters(model.encoder) == document["encoder_trainable_params"]
    assert num_parameters(model) == document["trainable_params"]


def num_parameters(layer):
    return sum(v.shape.num_elements() for v in layer.trainable_variables)


# Trainable parameters without the classifier, as published for the standard ResNets
# (torchvision's counts less its 1,000-way head), plus the projection shortcut's convolution and
# BatchNorm that SimCLR's first group of ResNet-18 and -34 has and torchvision's has not.
@pytest.mark.parametrize(
    "name, parameters",
    [
        ("resnet34", 21_797_672 - 513_000 + 64 * 64 + 2 * 64),
        ("resnet101", 44_549_160 - 2_049_000),
        pytest.param("resnet152", 60_192_808 - 2_049_000, marks=pytest.mark.slow),
    ],
)
def test_standard_depths_have_their_published_size(name, parameters):
    assert size(name) == parameters


def test_resnet200_has_66_bottlenecks():
    encoder = build_encoder("resnet200")
    assert [len(group) for group in encoder.groups] == [3, 24, 36, 3]


@pytest.mark.parametrize(
    "name", ["resnet19", "bit_r50", "bit_r18x1", "resnet50x2", "keras_resnet18"]
)
def test_unknown_encoder_is_refused(name):
    with pytest.raises(ValueError, match=name):
        build_encoder(name)


@pytest.mark.parametrize(
    "input_range, of_black, of_red",
    [
        ("unit", [0, 0, 0], [1, 0, 0]),
        ("symmetric", [-1, -1, -1], [1, -1, -1]),
        ("caffe", [-103.939, -116.779, -123.68], [-103.939, -116.779, 131.32]),
    ],
)
def test_input_ranges(input_range, of_black, of_red):
    pixels = to_range(tf.constant([[[[0.0, 0, 0], [1.0, 0, 0]]]]), input_range)
    np.testing.assert_allclose(pixels[0, 0], [of_black, of_red], rtol=1e-6)


def test_caffe_range_is_that_of_keras_applications():
    images = np.random.default_rng(0).random((2, 5, 4, 3), np.float32)
    expected = keras.applications.imagenet_utils.preprocess_input(255 * images, mode="caffe")
    np.testing.assert_allclose(to_range(tf.constant(images), "caffe"), expected, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "keras_resnet50", "bit_r50x1"])
def test_an_encoder_has_its_usual_input_range_or_the_one_given(name):
    usual = {"resnet18": "unit", "keras_resnet50": "caffe", "bit_r50x1": "symmetric"}[name]
    assert build_encoder(name).input_range == usual
    assert build_encoder(name, input_range="symmetric").input_range == "symmetric"


@pytest.mark.parametrize("mode, width", [("none", 512), ("linear", 16), ("nonlinear", 16)])
def test_every_projection_mode_trains(mode, width):
    config = ModelConfig(resnet_depth=18, proj_head_mode=mode, proj_out_dim=16)
    model = Model(config, image_size=16)
    model.build_weights(16)
    with tf.GradientTape() as tape:
        projection = model(tf.random.uniform([4, 16, 16, 3]), training=True)["projection"]
        loss = tf.reduce_sum(projection**3)
    assert projection.shape == (4, width)
    gradients = tape.gradient(loss, model.trainable_variables)
    assert all(g is not None for g in gradients)


def test_small_image_stem_keeps_the_resolution():
    images = tf.zeros([1, 32, 32, 3])
    assert build_encoder("resnet18", small_images=True).stem(images, training=False).shape[1] == 32
    assert build_encoder("resnet18").stem(images, training=False).shape[1] == 8


def test_squeeze_excite_scales_channels_by_a_gate_of_their_means():
    block = build_encoder("resnet18", se_ratio=0.25).groups[0][1]
    x = tf.random.uniform([2, 4, 4, 64])
    y = block.se(x).numpy()
    means = x.numpy().mean((1, 2))
    hidden = np.maximum(means @ block.se.reduce.kernel.numpy()[0, 0], 0)
    gate = 1 / (1 + np.exp(-(hidden @ block.se.expand.kernel.numpy()[0, 0])))
    np.testing.assert_allclose(y, x.numpy() * gate[:, None, None], rtol=1e-5)


def test_labels_cannot_reach_the_encoder_while_pretraining():
    model = Model(ModelConfig(resnet_depth=18), image_size=16, num_classes=3)
    model.build_weights(16)
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(tf.random.uniform([2, 16, 16, 3]), training=True)["logits"])
    gradients = tape.gradient(loss, model.encoder.trainable_variables)
    assert all(g is None for g in gradients)


def test_fine_tuning_builds_only_the_projection_layers_it_uses():
    config = ModelConfig(resnet_depth=18, ft_proj_selector=1)
    model = Model(config, image_size=16, num_classes=3, with_projection=False)
    model.build_weights(16)
    assert len(model.projection_head.blocks) == 1


def test_frozen_groups_keep_weights_and_statistics():
    model = Model(ModelConfig(resnet_depth=18), image_size=16, num_classes=2, with_projection=False)
    model.build_weights(16)
    model.encoder.freeze(2)
    frozen = model.encoder.groups[1][0].body[1].bn
    free = model.encoder.groups[2][0].body[1].bn
    before = frozen.moving_mean.numpy(), free.moving_mean.numpy()
    model(tf.random.uniform([4, 16, 16, 3]), training=True)
    np.testing.assert_array_equal(frozen.moving_mean, before[0])
    assert np.abs(free.moving_mean.numpy() - before[1]).max() > 0
    assert frozen.gamma.ref() not in {v.ref() for v in model.trainable_variables}


def norms_in_order_of_creation(model):
    """The BatchNorms in the reference's numbering: a block's shortcut comes before its body."""
    norms = [model.encoder.stem.body[-1].bn]
    for block in [block for group in model.encoder.groups for block in group]:
        norms += [block.shortcut.norm.bn] if block.shortcut else []
        norms += [layer.bn for layer in block.body if hasattr(layer, "bn")]
    return norms + [block.norm.bn for block in model.projection_head.blocks]


def test_all_moving_statistics_equal_the_reference_after_a_training_pass(golden, golden_checkpoint):
    model, numbers = reference_model(golden, golden_checkpoint)
    model(np.concatenate(np.split(numbers["input"], 2, axis=-1)), training=True)

    def number(name):  # ".../sync_batch_normalization_7/moving_mean:0" -> 7
        return int((name.split("/")[-2].split("_") + ["0"])[3])

    for part in ("moving_mean", "moving_variance"):
        names = [n for n in numbers.files if n.startswith("after_train") and f"/{part}:" in n]
        norms = norms_in_order_of_creation(model)
        assert len(names) == len(norms) == 23
        for name, norm in zip(sorted(names, key=number), norms):
            assert relative_error(getattr(norm, part), numbers[name]) < 2e-5, name


# As published with a classifier of 1,000 classes (timm's resnetv2_*_bit; the paper, section 4.3:
# 382M for R101x3), less that classifier.
@pytest.mark.parametrize(
    "name, with_classifier",
    [
        ("bit_r50x1", 25_549_352),
        ("bit_r50x3", 217_319_080),
        pytest.param("bit_r101x1", 44_541_480, marks=pytest.mark.slow),
        pytest.param("bit_r101x3", 387_934_888, marks=pytest.mark.slow),
        pytest.param("bit_r152x4", 936_533_224, marks=pytest.mark.slow),
    ],
)
def test_bit_encoders_have_their_published_size(name, with_classifier):
    classifier = (shapes(name)[1] + 1) * 1000
    assert size(name) == with_classifier - classifier


def bit_parameters(units_per_group, width):
    """The same by counting: kernels, and two weights a channel of what GroupNorm sees."""
    channels = 64 * width
    total = 7 * 7 * 3 * channels
    for group, units in enumerate(units_per_group):
        inner = 64 * width * 2**group
        for unit in range(units):
            total += 2 * channels + channels * inner  # a
            total += 2 * inner + 9 * inner * inner  # b
            total += 2 * inner + inner * 4 * inner  # c
            total += channels * 4 * inner if unit == 0 else 0
            channels = 4 * inner
    return total + 2 * channels


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name.startswith("bit_r50") else pytest.mark.slow)
        for name in ENCODERS
        if name.startswith("bit")
    ],
)
def test_bit_encoders_have_the_size_that_counting_gives(name):
    depth, width = map(int, name.removeprefix("bit_r").split("x"))
    parameters = bit_parameters(bit.UNITS_PER_GROUP[depth], width)
    assert size(name) == parameters


@functools.cache
def shapes(name):
    """Shapes of the trainable variables of an encoder, and its width."""

    def build():
        encoder = build_encoder(name)
        encoder(tf.zeros([1, 64, 64, 3]), training=False)
        return [tuple(v.shape) for v in encoder.trainable_variables], encoder.num_features

    return in_a_graph(build)


def size(name):
    return sum(math.prod(shape) for shape in shapes(name)[0])


@pytest.mark.parametrize("depth", [50, pytest.param(101, marks=pytest.mark.slow)])
def test_keras_style_has_the_weights_of_keras_applications_less_the_biases(depth):
    reference = in_a_graph(
        lambda: getattr(keras.applications, f"ResNet{depth}")(include_top=False, weights=None)
    )
    biases = [v for v in reference.trainable_variables if "conv/bias" in v.name]
    assert len(biases) == depth + 3  # a block group's shortcut has one too, the classifier is out
    expected = [v.shape for v in reference.trainable_variables if "conv/bias" not in v.name]
    assert sorted(map(tuple, expected)) == sorted(shapes(f"keras_resnet{depth}")[0])


def test_squeeze_excite_adds_two_convolutions_to_each_block():
    plain, gated = build_encoder("resnet18"), build_encoder("resnet18", se_ratio=0.25)
    for encoder in (plain, gated):
        encoder(tf.zeros([1, 16, 16, 3]), training=False)
    assert len(gated.trainable_variables) - len(plain.trainable_variables) == 8 * 4
