"""Keras applications' ResNets from .h5: the same features as Keras's own model gives."""

import h5py
import numpy as np
import pytest
import tensorflow as tf

from simclr_med import checkpoints
from simclr_med.checkpoints.weights import open_weights
from simclr_med.config import ModelConfig
from simclr_med.errors import UserError
from simclr_med.keras_api import keras
from simclr_med.models import Model


@pytest.fixture(scope="module")
def original():
    """ResNet50 of Keras applications with random values, biases and BatchNorm's statistics too."""
    model = keras.applications.ResNet50(weights=None, include_top=False, pooling="avg")
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.shape.rank == 1:
            low = 0.5 if "gamma" in variable.name or "variance" in variable.name else -0.5
            variable.assign(rng.uniform(low, low + 1, variable.shape))
    return model


@pytest.fixture(scope="module")
def files(original, tmp_path_factory):
    """{layout: path} of the layouts that Keras 2 writes."""
    folder = tmp_path_factory.mktemp("h5")
    paths = {name: str(folder / f"{name}.h5") for name in ("weights", "whole", "top")}
    original.save_weights(paths["weights"])
    original.save(paths["whole"], include_optimizer=False)
    features = original.output
    top = keras.layers.Dense(7, name="predictions")(features)
    keras.Model(original.input, top).save_weights(paths["top"])
    return paths


@pytest.fixture(scope="module")
def own_model():
    """A model of that architecture; whoever needs other weights than some has to set them."""
    model = Model(ModelConfig(encoder="keras_resnet"), image_size=64)
    model.build_weights(64)
    return model


@pytest.mark.parametrize("layout", ["weights", "whole", "top"])
def test_features_equal_those_of_keras(layout, original, files, own_model):
    model = own_model
    for variable in model.variables:
        variable.assign(tf.zeros_like(variable))
    summary = checkpoints.load(model, files[layout])
    count = len(model.encoder.variables)
    assert f"encoder {count}/{count}" in summary
    pixels = np.random.default_rng(1).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    expected = original(keras.applications.resnet.preprocess_input(pixels.copy()), training=False)
    features = model.encoder(tf.constant(pixels / 255), training=False)
    scale = np.abs(expected).max()
    assert np.abs(features - expected).max() <= 1e-5 * scale


def test_a_bias_lowers_the_moving_mean(files):
    weights = open_weights(files["weights"])
    assert (weights.encoder, weights.input_range) == ("keras_resnet", "caffe")
    with h5py.File(files["weights"]) as file:
        mean = file["conv2_block1_0_bn/conv2_block1_0_bn/moving_mean:0"][()]
        bias = file["conv2_block1_0_conv/conv2_block1_0_conv/bias:0"][()]
    read = weights.entries["encoder/groups/0/0/shortcut/norm/bn/moving_mean"].read()
    assert np.abs(bias).max() > 0.1
    np.testing.assert_allclose(read, mean - bias, rtol=1e-6, atol=1e-7)


def test_simclrs_resnet_is_no_place_for_them(files):
    """Names and shapes would fit, and the strides would be elsewhere: plausible, and wrong."""
    model = Model(ModelConfig(resnet_depth=50), image_size=64)
    model.build_weights(64)
    with pytest.raises(UserError, match="--encoder=keras_resnet --resnet_depth=50"):
        checkpoints.load(model, files["weights"])


def test_another_depth_is_refused_with_its_flags(files):
    model = Model(ModelConfig(encoder="keras_resnet", resnet_depth=101), image_size=64)
    model.build_weights(64)
    with pytest.raises(UserError, match="Keras ResNet-50, width 1: give --resnet_depth=50 "):
        checkpoints.load(model, files["weights"])


def write(path, layers):
    with h5py.File(path, "w") as file:
        for name in layers:
            file[f"{name}/{name}/gamma:0"] = np.zeros(4, "float32")


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (["conv1_conv", "conv2_block1_preact_bn"], "is a ResNet V2 of Keras applications"),
        (["dense", "dense_1"], "holds no ResNet of Keras applications"),
        ([], "among its 0 arrays"),
    ],
)
def test_other_h5_files_are_refused(layers, words, own_model, tmp_path):
    write(tmp_path / "some.h5", layers)
    with pytest.raises(UserError, match=words):
        checkpoints.load(own_model, str(tmp_path / "some.h5"))


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_a_file_cut_short_is_refused(share, files, own_model, tmp_path):
    with open(files["weights"], "rb") as file:
        content = file.read()
    (tmp_path / "cut.h5").write_bytes(content[: int(share * len(content))])
    with pytest.raises(UserError, match="damaged or was cut short"):
        checkpoints.load(own_model, str(tmp_path / "cut.h5"))
