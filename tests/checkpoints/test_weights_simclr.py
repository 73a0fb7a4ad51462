"""Weights of SimCLR's TF 2 code and of our own runs: what the files hold is what the model gets."""

import json
import os

import numpy as np
import pytest
import tensorflow as tf

from helpers import simclr_layout
from helpers.weights_checks import differing, make
from simclr_med import checkpoints
from simclr_med.checkpoints.weights import open_weights
from simclr_med.checkpoints.weights.object_graph import names_of_variables
from simclr_med.checkpoints.weights.simclr_tf2 import pools_shortcuts, translate_names
from simclr_med.config import ModelConfig
from simclr_med.models import Model
from simclr_med.optim import make_optimizer

pytestmark = pytest.mark.usefixtures("small")

VARIANTS = [
    dict(resnet_depth=18),
    dict(resnet_depth=18, se_ratio=0.25, image_size=32),
    dict(resnet_depth=18, sk_ratio=0.25, image_size=64),  # a ResNet-D shortcut on small blocks
    dict(resnet_depth=50, width_multiplier=2),
    dict(resnet_depth=50, sk_ratio=0.0625, se_ratio=0.25),
    dict(resnet_depth=50, sk_ratio=0.25, image_size=32),
]


def write(kind, model, tmp_path):
    """Writes a model as SimCLR or we do; returns the path to load."""
    path = str(tmp_path / "file")
    if kind == "SimCLR checkpoint":
        simclr_layout.write_checkpoint(model, path, global_step=tf.Variable(7))
    elif kind == "SimCLR SavedModel":
        simclr_layout.write_saved_model(model, path)
    elif kind == "our SavedModel":
        root = tf.train.Checkpoint(model=model)
        root.variables = list(model.variables)  # nearer to the root than by any name
        tf.saved_model.save(root, path)
    else:
        optimizer = make_optimizer("lars", 0.1, momentum=0.9, weight_decay=0.0, model=model)
        optimizer.build(model.trainable_variables)
        with checkpoints.RunCheckpoints(path, model, optimizer, 1) as saved:
            saved.save()
    return path


@pytest.mark.parametrize("options", VARIANTS, ids=str)
@pytest.mark.parametrize(
    "kind", ["SimCLR checkpoint", pytest.param("SimCLR SavedModel", marks=pytest.mark.slow)]
)
def test_each_variable_of_simclr_finds_its_place(kind, options, tmp_path):
    source = make(1, num_classes=5, **options)
    path = write(kind, source, tmp_path)
    model = make(2, num_classes=5, **options)
    assert differing(source, model) == {"encoder", "projection_head", "supervised_head"}
    summary = checkpoints.load(model, path)
    assert differing(source, model) == {"supervised_head"}
    count = len(source.encoder.variables)
    assert f"encoder {count}/{count}, projection head 9/9" in summary and "SimCLR TF2" in summary
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    np.testing.assert_array_equal(source(images)["projection"], model(images)["projection"])


@pytest.mark.parametrize(
    "kind", ["our run", pytest.param("our SavedModel", marks=pytest.mark.slow)]
)
@pytest.mark.parametrize(
    "options", [dict(resnet_depth=18), dict(encoder="bit"), dict(encoder="keras_resnet")], ids=str
)
def test_weights_of_simclr_med_come_back(kind, options, tmp_path, capsys):
    source, model = make(1, **options), make(2, num_classes=3, **options)
    summary = checkpoints.load(model, write(kind, source, tmp_path))
    assert differing(source, model) == {"supervised_head"} and "of simclr_med" in summary
    shown = capsys.readouterr().out
    assert "has seen labels" in shown and "not needed" in shown


def test_other_classes_and_no_projection_head_are_no_obstacle(tmp_path):
    source = make(1, num_classes=10, proj_head_mode="none")
    path = write("SimCLR SavedModel", source, tmp_path)
    model = make(2, num_classes=2)
    summary = checkpoints.load(model, path)
    assert "projection head new" in summary
    np.testing.assert_array_equal(
        source.encoder.stem.body[0].conv2d.kernel, model.encoder.stem.body[0].conv2d.kernel
    )


def test_fine_tuning_takes_the_lower_layers_of_the_projection_head(tmp_path):
    source = make(1, num_proj_layers=3, ft_proj_selector=1)
    path = write("SimCLR checkpoint", source, tmp_path)
    model = make(2, num_proj_layers=3, ft_proj_selector=1, with_projection=False)
    summary = checkpoints.load(model, path)
    assert "projection head 5/5" in summary
    block, original = model.projection_head.blocks[0], source.projection_head.blocks[0]
    np.testing.assert_array_equal(block.dense.kernel, original.dense.kernel)
    np.testing.assert_array_equal(block.norm.bn.moving_mean, original.norm.bn.moving_mean)


def test_a_projection_head_of_other_depth_stays_new(tmp_path, capsys):
    """Two of three layers would fit by shape: as wide as the encoder, but for a beta."""
    options = dict(resnet_depth=18, proj_out_dim=512)
    source, model = make(1, num_proj_layers=3, **options), make(2, num_proj_layers=2, **options)
    assert source.encoder.num_features == 512
    before = model.projection_head.blocks[0].dense.kernel.numpy()
    summary = checkpoints.load(model, write("SimCLR checkpoint", source, tmp_path))
    assert "projection head new" in summary and "new:" in capsys.readouterr().out
    np.testing.assert_array_equal(before, model.projection_head.blocks[0].dense.kernel)


def test_golden_checkpoint_gives_the_references_outputs(golden, golden_checkpoint, monkeypatch):
    from simclr_med.models import resnet

    monkeypatch.setitem(resnet.BLOCKS_PER_GROUP, 18, (2, 2, 2, 2))
    numbers = np.load(golden / "model_r18.npz")
    model = make(resnet_depth=18, proj_out_dim=64)
    folder = golden_checkpoint
    for path in (folder, folder / "ckpt-0", folder / "ckpt-0.index"):
        for variable in model.variables:
            variable.assign(tf.zeros_like(variable))
        checkpoints.load(model, str(path))
        images = numbers["input"][..., :3]
        for value, expected in (
            (model.encoder(images, training=False), numbers["eval/final_avg_pool"]),
            (model(images)["projection"], numbers["eval/proj"]),
        ):
            assert np.abs(value - expected).max() <= 1e-5 * np.abs(expected).max()


FULL = {18: (2, 2, 2, 2), 50: (3, 4, 6, 3), 152: (3, 8, 36, 3)}


@pytest.mark.parametrize(
    "name", ["names_r18_w1", "names_r50_w1", "names_r50_w1_sk", "names_r50_w4", "names_r152_w2"]
)
def test_all_names_of_the_reference_are_names_here(golden, name, monkeypatch):
    """Whatever the width: names do not depend on it."""
    from simclr_med.models import resnet

    document = json.loads((golden / f"{name}.json").read_text())
    depth = document["depth"]
    monkeypatch.setitem(resnet.BLOCKS_PER_GROUP, depth, FULL[depth])
    model = Model(
        ModelConfig(resnet_depth=depth, sk_ratio=document["sk_ratio"]),
        image_size=64,
        num_classes=2,
    )
    model.build_weights(64)
    suffix = simclr_layout.SUFFIX
    reference = [
        key.removesuffix(suffix).removeprefix("model/") for key in document["checkpoint_keys"]
    ]
    names = translate_names(reference)
    assert set(names.values()) == set(names_of_variables(model)) and len(reference) == len(
        set(reference)
    )
    assert len(set(names.values())) == len(reference)
    assert pools_shortcuts(reference) == (document["sk_ratio"] > 0)


def test_a_layer_that_we_have_not_is_no_silent_loss():
    """It keeps a name below the encoder, so the encoder counts as another."""
    path = "resnet_model/block_groups/0/layers/0/novel_layer/kernel"
    assert translate_names([path])[path] == "encoder/groups/0/0/novel_layer/kernel"
    assert translate_names(["resnet_model/novel/kernel"]) == {
        "resnet_model/novel/kernel": "encoder/resnet_model/novel/kernel"
    }


def test_nothing_is_executed(tmp_path):
    """The graph of a SavedModel may do anything; only its variables are read."""
    path = write("SimCLR SavedModel", make(1), tmp_path)
    with open(os.path.join(path, "saved_model.pb"), "wb") as file:
        file.write(b"no graph")
    assert open_weights(path).encoder == "resnet"
    checkpoints.load(make(2), path)
