"""--keep_head: the classifier of a file is loaded as it is, or refused by name; see `weights/head.py`."""

import json

import numpy as np
import pytest
import tensorflow as tf

from helpers import simclr_layout
from helpers.weights_checks import differing, make, values
from simclr_med import checkpoints
from simclr_med.checkpoints.weights import Classes, open_weights
from simclr_med.checkpoints.weights.content import Entry, Weights
from simclr_med.errors import UserError

pytestmark = pytest.mark.usefixtures("small")
CLASSES = Classes(("akiec", "bcc", "mel"))
OPTIONS = dict(resnet_depth=18, num_proj_layers=3)


def written(tmp_path, config=None, **options):
    """Writes a model, as a run with what config.json says, or as SimCLR; returns it and the path."""
    model = make(1, **{**OPTIONS, **options})
    path = str(tmp_path / "w")
    if config is None:
        return model, simclr_layout.write_checkpoint(model, path)
    tf.train.Checkpoint(model=model).write(path)
    config = {"resnet_depth": 18, "class_names": CLASSES.names, "ft_proj_selector": 0, **config}
    (tmp_path / "config.json").write_text(json.dumps(config))
    if "several_labels" in config:
        data = {"several_labels": config.pop("several_labels")}
        (tmp_path / "data.json").write_text(json.dumps(data))
        (tmp_path / "config.json").write_text(json.dumps(config))
    return model, path


@pytest.mark.parametrize("selector", [0, 1, -1])
@pytest.mark.parametrize("kind", ["SimCLR", "run"])
def test_a_kept_head_gives_the_logits_of_the_file(kind, selector, tmp_path, capsys):
    options = dict(ft_proj_selector=selector, with_projection=False)
    config = None if kind == "SimCLR" else {"ft_proj_selector": selector, "several_labels": False}
    source, path = written(tmp_path, config, **options)
    model = make(2, **OPTIONS, **options)
    assert "head 2/2, 3 classes" in checkpoints.load(model, path, CLASSES)
    assert not differing(source, model)
    images = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
    np.testing.assert_array_equal(source(images)["logits"], model(images)["logits"])
    shown = capsys.readouterr().out
    assert ("Assumed: its 3 classes are the dataset's, in this order: akiec, bcc, mel; and it sees "
            f"--ft_proj_selector={selector}" in shown) == (kind == "SimCLR")  # fmt: skip
    assert ("Note:" in shown) == (kind == "SimCLR")
    assert "has seen labels" not in shown


def test_without_the_flag_the_head_is_new(tmp_path, capsys):
    source, path = written(tmp_path)
    model = make(2, **OPTIONS)
    checkpoints.load(model, path)
    assert differing(source, model) == {"supervised_head"}
    assert "has seen labels (--keep_head)" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.parametrize("ones", [(1, 1), ()], ids=["BiT", "Keras"])
def test_heads_of_other_layers_are_read_as_dense(ones):
    """BiT's is a convolution of 1 x 1, conv2d; Keras's a layer 'predictions': both `HEAD` + part."""
    source, model = make(1, **OPTIONS), make(2, **OPTIONS)
    entries = {
        name: Entry(value.shape, lambda value=value: value)
        for name, value in values(source).items()
        if not name.startswith("supervised_head/")
    }
    width = source.supervised_head.dense.kernel.shape[0]  # of a short encoder
    shape = (*ones, width, 3)
    kernel = np.random.default_rng(0).random(shape, np.float32)
    bias = np.array([1, 2, 3], np.float32)
    entries["supervised_head/kernel"] = Entry(shape, lambda: kernel)
    entries["supervised_head/bias"] = Entry((3,), lambda: bias)
    weights = Weights("file", "a test's", entries, encoder="resnet", input_range="unit")
    checkpoints.load(model, weights, CLASSES)
    np.testing.assert_array_equal(model.supervised_head.dense.kernel, kernel.reshape(width, 3))
    np.testing.assert_array_equal(model.supervised_head.dense.bias, bias)


SAID = {"several_labels": False}


@pytest.mark.parametrize(
    ("in_file", "config", "in_model", "classes", "words"),
    [
        ({"num_classes": 4}, None, {}, CLASSES, "has 4 classes, and the dataset 3 (akiec, bcc, mel)"),
        ({"num_classes": 0}, None, {}, CLASSES, "holds no head that classifies"),
        ({}, SAID, {}, Classes(("akiec", "mel", "bcc")), "number 2 is 'bcc' there and 'mel' here"),
        ({}, SAID, {}, Classes(CLASSES.names, True), "trained for one class a case (softmax)"),
        ({}, {"several_labels": True}, {}, CLASSES, "trained for several labels a case"),
        ({"ft_proj_selector": 1}, {"ft_proj_selector": 1}, {}, CLASSES, "(--ft_proj_selector=1), and"),
        ({"ft_proj_selector": -1}, None, {}, CLASSES, "sees 16 features, and --ft_proj_selector=0"),
        ({"num_proj_layers": 1, "proj_out_dim": 512, "ft_proj_selector": 1}, None,
         {"ft_proj_selector": 1}, CLASSES, "a layer of its projection head, which does not fit"),
    ],
)  # fmt: skip
def test_a_head_that_does_not_fit_is_refused(in_file, config, in_model, classes, words, tmp_path):
    _, path = written(tmp_path, config, **in_file)
    model = make(2, **{**OPTIONS, **in_model})
    before = values(model)
    with pytest.raises(UserError) as error:
        checkpoints.load(model, path, classes)
    assert words in str(error.value) and str(error.value).startswith("--keep_head: ")
    assert all(np.array_equal(before[name], value) for name, value in values(model).items())


def test_an_export_of_a_pretraining_names_no_classes(tmp_path):
    tf.train.Checkpoint(model=make(1, **OPTIONS)).write(str(tmp_path / "w"))
    exported = {"resnet_depth": 18, "class_names": [], "several_labels": None}
    (tmp_path / "simclr_med.json").write_text(json.dumps(exported))
    weights = open_weights(str(tmp_path / "w"))
    assert weights.class_names is None and weights.multilabel is None
