"""The input range travels with the weights, from run to run."""

import hashlib
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers import simclr_layout
from helpers.weights_checks import differing, make
from simclr_med import checkpoints
from simclr_med.checkpoints.weights import open_weights
from simclr_med.checkpoints.weights.input_range import resolve
from simclr_med.commands import flags, run_config
from simclr_med.config import Config, fields_that_shape_weights
from simclr_med.errors import UserError
from simclr_med.export import source

pytestmark = pytest.mark.usefixtures("small")


def run_folder(path, **config):
    """Writes what a run leaves behind, as far as weights and their input range go."""
    model = make(encoder=config.get("encoder", "resnet"))
    checkpoint = tf.train.Checkpoint(model=model)
    tf.train.CheckpointManager(checkpoint, str(path), 1).save(0)
    (path / "config.json").write_text(
        json.dumps({"resnet_depth": 50, "antialias": "true", **config})
    )
    return str(path)


def resolved(model_dir=None, **config):
    return resolve(Config().replace(**config), model_dir).model.input_range


@pytest.mark.parametrize(
    ("encoder", "usual"), [("resnet", "unit"), ("bit", "symmetric"), ("keras_resnet", "caffe")]
)
def test_without_weights_it_is_the_encoders_usual(encoder, usual, tmp_path):
    assert resolved(encoder=encoder) == usual
    assert resolved(str(tmp_path / "new"), encoder=encoder) == usual


def test_public_weights_say_it_by_their_kind(tmp_path):
    simclr_layout.write_checkpoint(make(), str(tmp_path / "simclr"))
    assert resolved(checkpoint=str(tmp_path / "simclr")) == "unit"
    root = "resnet/root_block/standardized_conv2d/kernel"
    np.savez(tmp_path / "bit.npz", **{root: np.zeros((7, 7, 3, 64), "float32")})
    assert resolved(checkpoint=str(tmp_path / "bit.npz"), encoder="bit") == "symmetric"


def test_a_run_of_ours_says_it_in_its_config(tmp_path):
    """BiT's weights, or SimCLR's fed with another range: what counts is what the run did."""
    folder = run_folder(tmp_path, encoder="resnet", input_range="symmetric")
    for path in (folder, f"{folder}/ckpt-0"):
        assert resolved(checkpoint=path) == "symmetric"


def test_an_older_run_had_the_usual_range(tmp_path):
    assert resolved(checkpoint=run_folder(tmp_path), encoder="bit") == "unit"


@pytest.mark.parametrize(
    "text",
    [
        '{"encoder": {"layers": 12}, "resnet_depth": 50}',
        '{"encoder": "vit", "resnet_depth": 50}',
        '{"encoder": "resnet", "input_range": "caffe"}',
        '{"encoder": "resnet", "resnet_depth": 50, "input_range": [0, 1]}',
        '["resnet_depth"]',
        '{"encoder": "resn',
    ],
)
def test_a_config_json_of_others_is_not_believed(text, tmp_path):
    tf.train.Checkpoint(model=make()).write(str(tmp_path / "alone"))
    (tmp_path / "config.json").write_text(text)
    weights = open_weights(str(tmp_path / "alone"))
    assert (weights.encoder, weights.input_range) == (None, None)


def test_remote_runs_are_read_with_what_they_say(tmp_path):
    """TensorFlow's file system in memory, whose paths look like those of a cloud."""
    model = make(1)
    folder = run_folder(tmp_path / "run", input_range="caffe")
    tf.train.Checkpoint(model=model).write(f"{folder}/ckpt-0")
    tf.saved_model.save(tf.train.Checkpoint(model=model), f"{folder}/saved_model/7")
    for path in (tmp_path / "run").rglob("*"):
        if path.is_file():
            remote = f"ram://{path.relative_to(tmp_path)}"
            tf.io.gfile.copy(str(path), remote, overwrite=True)
    for path in ("ram://run", "ram://run/saved_model/7", "ram://run/saved_model/7/"):
        weights = open_weights(path)
        assert (weights.encoder, weights.input_range) == ("resnet", "caffe")
        other = make(2)
        checkpoints.load(other, path)
        assert "encoder" not in differing(model, other)


def test_a_checkpoint_alone_says_nothing(tmp_path):
    tf.train.Checkpoint(model=make(encoder="bit")).write(str(tmp_path / "alone"))
    assert resolved(checkpoint=str(tmp_path / "alone"), encoder="bit") == "symmetric"


def test_a_saved_model_of_simclr_med_says_it_too(tmp_path):
    tf.saved_model.save(tf.train.Checkpoint(model=make()), str(tmp_path / "written"))
    text = json.dumps({"encoder": "resnet", "resnet_depth": 50, "input_range": "caffe"})
    for run, subfolder in (("a", "saved_model/7"), ("b", "export/saved_model"), ("c", "copied")):
        folder = tmp_path / run / subfolder
        shutil.copytree(tmp_path / "written", folder)
        beside = folder / "simclr_med.json" if run == "c" else tmp_path / run / "config.json"
        beside.write_text(text)
        assert resolved(checkpoint=str(folder)) == "caffe", subfolder


def test_a_flag_that_differs_counts_and_is_noted(tmp_path, capsys):
    folder = run_folder(tmp_path, encoder="resnet", input_range="symmetric")
    assert resolved(checkpoint=folder, input_range="unit") == "unit"
    out = capsys.readouterr().out
    assert "Note: --input_range=unit" in out and "trained with symmetric" in out
    resolved(checkpoint=folder, input_range="symmetric")
    assert not capsys.readouterr().out


def test_what_a_run_began_with_stays_even_without_its_weights(tmp_path):
    run_folder(tmp_path, encoder="resnet", input_range="symmetric")
    assert resolved(str(tmp_path), checkpoint="/gone") == "symmetric"
    with pytest.raises(UserError, match="/gone: no such file or folder"):
        resolved(str(tmp_path / "new"), checkpoint="/gone")


def test_a_run_older_than_the_flag_can_still_be_resumed(tmp_path):
    """check_same_run takes 'auto' for its range, the field's default."""
    run_folder(tmp_path, encoder="resnet")
    assert resolved(str(tmp_path)) == "auto"


@pytest.mark.parametrize("given", [{"input_range": "unit"}, {"encoder": "keras_resnet"}])
def test_evaluation_refuses_another_range_than_the_runs(tmp_path, given):
    """Every shape would fit, and every number be wrong."""
    folder = run_folder(tmp_path, encoder="resnet", input_range="symmetric", train_mode="finetune")
    with pytest.raises(
        UserError, match="the run in --model_dir was trained with (symmetric|resnet)"
    ):
        run_config.config_of_run({"model_dir": folder, **given}, "eval")
    same = {"input_range": "symmetric", "encoder": "resnet"}
    assert (
        run_config.config_of_run({"model_dir": folder, **same}, "eval").model.input_range
        == "symmetric"
    )


def test_older_runs_are_found_in_their_default_folder():
    """The folder as it was named before these flags came."""
    config = flags.config_from({"dataset": "derm_bags/demo"})
    later = ("encoder", "input_range", "micro_batch", "keep_head", "antialias")
    later += ("same_patient_negatives", "soft_labels", "dicom_frame", "on_missing_image")
    later += ("on_label_conflict", "missing_labels", "label_seed", "split_column", "init_head")
    later += ("simclr_unit", "multi_image_repeats", "layer_decay", "crop_min_area")
    later += ("label_columns",)
    names = [n for n in fields_that_shape_weights() if n not in later]
    first_names = {"projection": "views"}
    identity = ["demo/1.0", *((first_names.get(n, n), config.to_dict()[n]) for n in names)]
    digest = hashlib.sha256(repr(identity).encode()).hexdigest()[:8]
    assert run_config.default_model_dir(config, "demo/1.0").endswith(digest)
    other = config.replace(encoder="bit")
    assert not run_config.default_model_dir(other, "demo/1.0").endswith(digest)


def test_weights_alone_are_exported_with_a_note_of_their_own_image_size(tmp_path, capsys):
    folder = run_folder(tmp_path, encoder="resnet", resnet_depth=18, image_size=448)
    source.weights_only(Config().replace(checkpoint=folder, image_size=448))
    assert not capsys.readouterr().out
    source.weights_only(Config().replace(checkpoint=folder))
    assert "Note: --image_size=224, and" in capsys.readouterr().out
