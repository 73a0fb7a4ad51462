"""The encoders and heads: the reference's weights must give the reference's outputs."""

import json

import numpy as np
import pytest
import tensorflow as tf

from simclr_med.config import ModelConfig
from simclr_med.models import Model, build_encoder, simclr_tf2


def reference_model(golden):
    config = ModelConfig(resnet_depth=18, num_proj_layers=2, proj_out_dim=64, ft_proj_selector=1)
    model = Model(config, image_size=64, num_classes=10)
    model.build_weights(64)
    reader = tf.train.load_checkpoint(str(golden / "ckpt" / "r18_proj2" / "ckpt-0"))
    for key, variable in simclr_tf2.checkpoint_keys(model).items():
        variable.assign(reader.get_tensor(key))
    return model, np.load(golden / "model_r18_proj2.npz")


def relative_error(value, expected):
    return np.abs(np.asarray(value) - expected).max() / np.abs(expected).max()


def test_inference_equals_the_reference(golden):
    model, numbers = reference_model(golden)
    outputs = model(numbers["input"][..., :3], training=False)
    assert relative_error(outputs["projection"], numbers["eval/proj"]) < 5e-6
    assert relative_error(outputs["logits"], numbers["eval/sup"]) < 5e-6
    encoded = model.encoder(numbers["input"][..., :3], training=False)
    assert relative_error(encoded, numbers["eval/final_avg_pool"]) < 5e-6


def test_training_pass_and_moving_statistics_equal_the_reference(golden):
    model, numbers = reference_model(golden)
    views = np.concatenate([numbers["input"][..., :3], numbers["input"][..., 3:]])
    outputs = model(views, training=True)
    assert relative_error(outputs["projection"], numbers["train/proj"]) < 1e-4
    assert relative_error(outputs["logits"], numbers["train/sup"]) < 1e-4
    first = model.encoder.stem.body[-1].bn
    at = "after_train/resnet/batch_norm_relu/sync_batch_normalization"
    assert relative_error(first.moving_mean, numbers[f"{at}/moving_mean:0"]) < 1e-5
    assert relative_error(first.moving_variance, numbers[f"{at}/moving_variance:0"]) < 1e-5


@pytest.mark.parametrize("name", ["names_r18_w1", "names_r50_w1", "names_r50_w1_sk"])
def test_variables_are_those_of_the_reference(golden, name):
    document = json.loads((golden / f"{name}.json").read_text())
    config = ModelConfig(
        resnet_depth=document["depth"],
        width_multiplier=document["width"],
        sk_ratio=document["sk_ratio"],
    )
    model = Model(config, image_size=64, num_classes=1000)
    model.build_weights(64)
    expected = {
        key
        for key in document["checkpoint_keys"]
        if key.startswith("model/") and "OPTIMIZER_SLOT" not in key
    }
    assert set(simclr_tf2.checkpoint_keys(model)) == expected
    count = sum(int(np.prod(v.shape)) for v in model.encoder.trainable_variables)
    assert count == document["encoder_trainable_params"]


# Trainable parameters without the classifier, as published for the standard ResNets
# (torchvision's counts less its 1,000-way head), plus the projection shortcut's convolution and
# BatchNorm that SimCLR's first group of ResNet-18 and -34 has and torchvision's has not.
@pytest.mark.parametrize(
    "name, parameters",
    [
        ("resnet34", 21_797_672 - 513_000 + 64 * 64 + 2 * 64),
        ("resnet101", 44_549_160 - 2_049_000),
        ("resnet152", 60_192_808 - 2_049_000),
    ],
)
def test_standard_depths_have_their_published_size(name, parameters):
    encoder = build_encoder(name)
    encoder(tf.zeros([1, 32, 32, 3]), training=False)
    assert sum(int(np.prod(v.shape)) for v in encoder.trainable_variables) == parameters


def test_resnet200_has_66_bottlenecks():
    encoder = build_encoder("resnet200")
    assert [len(group) for group in encoder.groups] == [3, 24, 36, 3]


def test_unknown_encoder_is_refused():
    with pytest.raises(ValueError, match="resnet19"):
        build_encoder("resnet19")


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
    found = [model.encoder.stem.body[-1].bn]
    for block in [block for group in model.encoder.groups for block in group]:
        found += [block.shortcut.norm.bn] if block.shortcut else []
        found += [layer.bn for layer in block.body if hasattr(layer, "bn")]
    return found + [block.norm.bn for block in model.projection_head.blocks]


def test_all_moving_statistics_equal_the_reference_after_a_training_pass(golden):
    model, numbers = reference_model(golden)
    model(np.concatenate(np.split(numbers["input"], 2, axis=-1)), training=True)

    def number(name):  # ".../sync_batch_normalization_7/moving_mean:0" -> 7
        return int((name.split("/")[-2].split("_") + ["0"])[3])

    for part in ("moving_mean", "moving_variance"):
        names = [n for n in numbers.files if n.startswith("after_train") and f"/{part}:" in n]
        norms = norms_in_order_of_creation(model)
        assert len(names) == len(norms) == 23
        for name, norm in zip(sorted(names, key=number), norms):
            assert relative_error(getattr(norm, part), numbers[name]) < 2e-5, name


@pytest.mark.parametrize("name", ["names_r18_w1", "names_r50_w1", "names_r50_w1_sk"])
def test_shapes_are_those_of_the_reference(golden, name):
    document = json.loads((golden / f"{name}.json").read_text())
    options = dict(width_multiplier=document["width"], sk_ratio=document["sk_ratio"])
    model = Model(
        ModelConfig(resnet_depth=document["depth"], **options), image_size=64, num_classes=1000
    )
    model.build_weights(64)
    expected = sorted(tuple(shape) for _, shape in document["variables"])
    named = simclr_tf2.checkpoint_keys(model)
    assert sorted(tuple(v.shape) for v in named.values()) == expected
    assert len({v.ref() for v in named.values()}) == len(model.variables) == len(expected)


def parameters_by_hand(encoder):
    """Counts trainable weights from the layers' settings, nothing built (2 GB for 152, 2x)."""

    def chain(layers, channels):
        total = 0
        for layer in layers:
            if hasattr(layer, "conv2d"):
                size, filters = layer.conv2d.kernel_size, layer.conv2d.filters
                total += size[0] * size[1] * channels * filters
                channels = filters
            elif hasattr(layer, "bn"):
                total += 2 * channels  # gamma and beta
        return total, channels

    total, channels = chain(encoder.stem.body, 3)
    for block in [block for group in encoder.groups for block in group]:
        if block.shortcut:
            total += chain([block.shortcut.conv, block.shortcut.norm], channels)[0]
        body, channels = chain(block.body, channels)
        total += body
    return total


@pytest.mark.parametrize("depth, width, parameters", [(50, 4, 375_378_176), (152, 2, 232_253_568)])
def test_wide_encoders_have_the_size_of_the_reference(depth, width, parameters):
    assert parameters_by_hand(build_encoder(f"resnet{depth}", width)) == parameters


def test_counting_by_hand_equals_counting_variables():
    encoder = build_encoder("resnet18", 2)
    encoder(tf.zeros([1, 16, 16, 3]), training=False)
    built = sum(int(np.prod(v.shape)) for v in encoder.trainable_variables)
    assert parameters_by_hand(encoder) == built


def test_squeeze_excite_adds_two_convolutions_to_each_block():
    plain, gated = build_encoder("resnet18"), build_encoder("resnet18", se_ratio=0.25)
    for encoder in (plain, gated):
        encoder(tf.zeros([1, 16, 16, 3]), training=False)
    assert len(gated.trainable_variables) - len(plain.trainable_variables) == 8 * 4
