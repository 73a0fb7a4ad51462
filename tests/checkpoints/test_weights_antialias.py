"""How images are reduced (--antialias) travels with the weights, and old runs keep their rule."""

import json

import numpy as np
import pytest
import tensorflow as tf

from helpers import simclr_layout
from helpers.weights_checks import make
from simclr_med import run_folder
from simclr_med.checkpoints.weights import open_weights
from simclr_med.checkpoints.weights.input_range import resolve
from simclr_med.commands import run_config
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.export import source

pytestmark = pytest.mark.usefixtures("small")


def resolved(model_dir=None, **config):
    return resolve(Config().replace(**config), model_dir).augment.antialias


def write_run(path, **config):
    """Writes a run's checkpoint and configuration; without `antialias` one of before the field."""
    path.mkdir(exist_ok=True)
    checkpoint = tf.train.Checkpoint(model=make())
    tf.train.CheckpointManager(checkpoint, str(path), 1).save(0)
    (path / "config.json").write_text(json.dumps({"resnet_depth": 50, **config}))
    return str(path)


def test_without_weights_it_is_on_and_a_flag_counts():
    assert resolved() == "true"
    assert resolved(antialias="false") == "false"


def test_public_weights_keep_to_what_they_were_trained_with(tmp_path, capsys):
    simclr_layout.write_checkpoint(make(), str(tmp_path / "simclr"))
    root = "resnet/root_block/standardized_conv2d/kernel"
    np.savez(tmp_path / "bit.npz", **{root: np.zeros((7, 7, 3, 64), "float32")})
    for path in (str(tmp_path / "simclr"), str(tmp_path / "bit.npz")):
        assert resolved(checkpoint=path) == "false"
        assert f"(--antialias=false), as {path} was trained" in capsys.readouterr().out
        assert resolved(checkpoint=path, antialias="true") == "true"
        assert "Note: --antialias=true, and" in capsys.readouterr().out
    config, _ = source.weights_only(Config().replace(checkpoint=str(tmp_path / "simclr")))
    assert not config.augment.is_antialiased  # what export and embed work with


@pytest.mark.parametrize(
    ("saved_values", "expected"),
    [
        ({}, "false"),
        ({"antialias": "auto"}, "true"),
        ({"antialias": "true"}, "true"),
        ({"antialias": "false"}, "false"),
        ({"antialias": False}, "false"),  # simclr_med.json of an export
        ({"antialias": True}, "true"),
    ],
)
def test_a_run_hands_its_rule_on(tmp_path, saved_values, expected):
    path = write_run(tmp_path / "run", **saved_values)
    assert open_weights(path).antialias == expected
    assert resolved(checkpoint=path) == expected


def test_a_run_of_before_the_field_goes_on_as_it_began(tmp_path, capsys):
    old = Config().replace(input_range="unit").to_dict()
    del old["antialias"]
    folder = tmp_path / "old"
    folder.mkdir()
    saved = {**old, "model_dir": str(folder), "prepared_dataset": "d", "class_names": []}
    (folder / "config.json").write_text(json.dumps(saved))
    config = resolve(Config(), str(folder))
    assert config.augment.antialias == "false"
    assert "began before --antialias existed" in capsys.readouterr().out
    run_folder.check_same_run(str(folder), config, "d", ())
    with pytest.raises(UserError, match="antialias was false, now true"):
        run_folder.check_same_run(str(folder), config.replace(antialias="true"), "d", ())
    run_folder.write_config(str(folder), config, "d", (), 1, None)
    assert resolve(Config(), str(folder)).augment.antialias == "false"
    assert not capsys.readouterr().out  # said once: config.json holds it now


@pytest.mark.parametrize("saved", [{}, {"antialias": "true"}, {"antialias": "false"}])
def test_evaluation_export_and_embedding_refuse_another_rule_than_the_runs(tmp_path, saved):
    (tmp_path / "config.json").write_text(json.dumps(saved))
    own = saved.get("antialias", "false")
    other = {"true": "false", "false": "true"}[own]
    for given in ({}, {"antialias": "auto"}, {"antialias": own}):
        config = run_config.config_of_run({"model_dir": str(tmp_path), **given}, "eval")
        assert config.augment.antialias == own
    with pytest.raises(UserError, match=f"--antialias={other}: .* trained with {own}"):
        run_config.config_of_run({"model_dir": str(tmp_path), "antialias": other}, "export")
