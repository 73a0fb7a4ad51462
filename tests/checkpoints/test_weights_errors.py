"""Paths that cannot be loaded: an error message each that says what is there and what to do."""

import functools
import json
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers import simclr_layout
from helpers.weights_checks import make, values
from simclr_med import checkpoints, transient
from simclr_med.checkpoints.weights import open_weights
from simclr_med.checkpoints.weights.content import translate_read_errors
from simclr_med.errors import StorageUnavailable, UserError

pytestmark = pytest.mark.usefixtures("small")


@pytest.fixture(scope="module")
def written(small, tmp_path_factory):
    """A folder with SimCLR's checkpoint 'ckpt-0', SavedModels 3 and 12, and BiT's name in an npz."""
    model, folder = make(1), tmp_path_factory.mktemp("written")
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(model=simclr_layout.tree(model)), str(folder / "run"), 1
    )
    manager.save(0)
    simclr_layout.write_saved_model(model, str(folder / "saved_model" / "3"))
    shutil.copytree(folder / "saved_model" / "3", folder / "saved_model" / "12")
    np.savez(
        folder / "bit.npz",
        **{"resnet/root_block/standardized_conv2d/kernel": np.ones((7, 7, 3, 64), "float32")},
    )
    return folder


@pytest.fixture
def saved(written, tmp_path):
    """A copy of that folder, to be damaged."""
    return shutil.copytree(written, tmp_path, dirs_exist_ok=True)


@functools.cache
def model_of(**options):
    """Returns a model that is only ever refused."""
    return make(2, **options)


def refused(path, **options):
    """Returns the sentence by which a path is refused; the model is as it was."""
    model = model_of(**options)
    before = values(model)
    with pytest.raises(UserError) as error:
        checkpoints.load(model, str(path))
    after = values(model)
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert "\n" not in str(error.value) and str(path) in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (dict(resnet_depth=18), "It holds a SimCLR ResNet-50, width 1: give --resnet_depth=50"),
        (dict(resnet_depth=101), "variables missing"),
        (dict(width_multiplier=2), "of another shape: encoder/stem/body/0/conv2d/kernel is"),
        (dict(width_multiplier=2), "give --resnet_depth=50 --width_multiplier=1."),
        (dict(sk_ratio=0.25), "--sk_ratio=0"),
        (dict(se_ratio=0.25), "--se_ratio=0"),
        (dict(image_size=32), "an --image_size above 32"),
        (dict(encoder="bit"), "--encoder=resnet --resnet_depth=50"),
        (dict(encoder="keras_resnet"), "it is of --encoder=resnet, not of keras_resnet"),
    ],
    ids=str,
)
def test_another_encoder_is_refused_with_the_flags_that_fit(saved, options, words):
    assert words in refused(saved / "run", **options)


@pytest.mark.parametrize(
    "options",
    [
        dict(resnet_depth=18, width_multiplier=2),
        dict(sk_ratio=0.25),
        dict(se_ratio=0.5, resnet_depth=34),
        dict(sk_ratio=0.25, resnet_depth=18),
        dict(sk_ratio=0.25, resnet_depth=18, image_size=32, width_multiplier=2),
        dict(sk_ratio=0.0625, se_ratio=0.25, resnet_depth=101, width_multiplier=2),
        dict(encoder="keras_resnet", resnet_depth=101),
        dict(image_size=32),
        dict(encoder="bit", resnet_depth=101, width_multiplier=2),
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "plain", [dict(resnet_depth=50), dict(resnet_depth=34, sk_ratio=0.25)], ids=str
)
def test_the_flags_that_it_names_do_fit(options, plain, tmp_path):
    other = make(1, **options)
    tf.train.Checkpoint(model=other).write(str(tmp_path / "w"))
    advice = refused(tmp_path / "w", **plain).split("give ")[-1].rstrip(".")
    named = {}
    for flag in (word for word in advice.split() if word.startswith("--") and "=" in word):
        name, value = flag.removeprefix("--").split("=")
        named[name] = (
            value if name == "encoder" else float(value) if "ratio" in name else int(value)
        )
    named["image_size"] = 32 if "--image_size of at most 32" in advice else 64
    assert "encoder" in checkpoints.load(make(3, **{**plain, **named}), str(tmp_path / "w"))


@pytest.mark.parametrize("image_size", [32, 64])
@pytest.mark.parametrize("depth", [18, 34, 50])
@pytest.mark.parametrize("kind", ["SimCLR", "a run", "an export"])
def test_shortcuts_that_pool_are_told_from_others(kind, depth, image_size, tmp_path):
    """At 32 px a ResNet-18 has the same variables with --sk_ratio and without, and computes others."""
    options = dict(resnet_depth=depth, image_size=image_size)
    for ratio, other in ((0.25, 0.0), (0.0, 0.25)):
        folder = tmp_path / f"{ratio}"
        folder.mkdir()
        source = make(1, sk_ratio=ratio, **options)
        path = folder / "w"
        if kind == "SimCLR":
            simclr_layout.write_checkpoint(source, str(path))
        else:
            tf.train.Checkpoint(model=source).write(str(path))
            name = "config.json" if kind == "a run" else "simclr_med.json"
            flags = {"resnet_depth": depth, "sk_ratio": ratio, "image_size": image_size}
            (folder / name).write_text(json.dumps(flags))
        words = refused(path, sk_ratio=other, **options)
        nominal = 0.0625 if depth < 50 and ratio else ratio
        assert f"--sk_ratio={nominal:g}" in words
        checkpoints.load(make(2, sk_ratio=ratio, **options), str(path))


def cut(path, share):
    with open(path, "r+b") as file:
        file.truncate(int(share * os.path.getsize(path)))


@pytest.mark.parametrize("share", [0, 0.1, 0.9])
@pytest.mark.parametrize(
    ("path", "file"),
    [
        ("run", "run/ckpt-0.index"),
        ("run", "run/ckpt-0.data-00000-of-00001"),
        ("saved_model/3", "saved_model/3/variables/variables.index"),
        ("saved_model/3", "saved_model/3/variables/variables.data-00000-of-00001"),
    ],
)
def test_files_cut_short_are_refused(saved, path, file, share):
    cut(saved / file, share)
    assert "is damaged or was cut short" in refused(saved / path)


@pytest.mark.parametrize("share", [0.1, 0.9])
def test_an_npz_cut_short_is_refused(saved, share):
    cut(saved / "bit.npz", share)
    assert "is damaged or was cut short" in refused(saved / "bit.npz", encoder="bit")


def test_bytes_that_changed_are_noticed(saved):
    path = saved / "run" / "ckpt-0.data-00000-of-00001"
    with open(path, "r+b") as file:
        file.seek(os.path.getsize(path) // 2)
        file.write(b"\x55" * 64)
    assert "is damaged" in refused(saved / "run")


def test_weights_of_a_run_that_diverged_are_refused(tmp_path):
    model = make(1)
    model.encoder.groups[0][0].body[0].conv2d.kernel.assign(
        tf.fill(model.encoder.groups[0][0].body[0].conv2d.kernel.shape, np.nan)
    )
    tf.train.Checkpoint(model=model).write(str(tmp_path / "w"))
    assert "encoder/groups/0/0/body/0/conv2d/kernel holds values that are not finite" in refused(
        tmp_path / "w"
    )


def test_missing_files_are_named(saved):
    assert "no such file or folder" in refused(saved / "nowhere")
    assert "give one of them, as" in (message := refused(saved / "saved_model"))
    assert str(saved / "saved_model" / "12") in message
    assert str(saved / "saved_model" / "12") in refused(saved)  # its parent, too
    (saved / "empty").mkdir()
    assert "no checkpoint in that folder" in refused(saved / "empty")
    shutil.rmtree(saved / "saved_model" / "3" / "variables")
    assert "SavedModel without its variables" in refused(saved / "saved_model" / "3")
    os.remove(saved / "run" / "ckpt-0.data-00000-of-00001")
    assert "ckpt-0.data-00000-of-00001" in refused(saved / "run")
    os.remove(saved / "run" / "ckpt-0.index")
    assert "whose .index file is missing" in refused(saved / "run")


def test_without_the_file_checkpoint_a_prefix_is_asked_for(saved):
    os.remove(saved / "run" / "checkpoint")
    assert f"give the prefix of one, as {saved / 'run' / 'ckpt-0'}." in refused(saved / "run")
    checkpoints.load(make(2), str(saved / "run" / "ckpt-0"))


def test_a_moved_folder_still_loads(saved):
    (saved / "run").rename(saved / "elsewhere")
    state = (saved / "elsewhere" / "checkpoint").read_text().replace('"ckpt', f'"{saved}/run/ckpt')
    (saved / "elsewhere" / "checkpoint").write_text(state)
    checkpoints.load(make(2), str(saved / "elsewhere"))


def test_tensorflow_1_is_named(tmp_path):
    v1 = tf.compat.v1
    with tf.Graph().as_default(), v1.Session() as session:
        v1.get_variable(
            "base_model/conv2d/kernel", initializer=tf.zeros([7, 7, 3, 64]), use_resource=True
        )
        session.run(v1.global_variables_initializer())
        prefix = v1.train.Saver().save(session, str(tmp_path / "model.ckpt"))
    message = refused(prefix)
    assert "was written by TensorFlow 1" in message and "base_model/conv2d/kernel" in message


def test_other_models_and_files_are_refused(tmp_path):
    tf.train.Checkpoint(weight=tf.Variable(1.0)).write(str(tmp_path / "other"))
    assert "holds variables of no known model" in refused(tmp_path / "other")
    (tmp_path / "notes.txt").write_text("hello")
    assert "a file of 5 bytes in no known format of weights" in refused(tmp_path / "notes.txt")
    (tmp_path / "nothing").touch()
    assert "a file of 0 bytes" in refused(tmp_path / "nothing")


@pytest.mark.parametrize(
    "start, words",
    [
        (b"PK\3\4", "copy it to a local disk first"),
        (b"\x89HDF\r\n\x1a\n", "copy it to a local disk first"),
        (b"hello", "a file of 5 bytes in no known format of weights"),
    ],
)
def test_remote_files_are_refused_by_their_kind(start, words):
    path = f"ram://bucket/{len(start)}"
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(start)
    assert words in refused(path)


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.PermissionDeniedError(None, None, "why so"),
        tf.errors.ResourceExhaustedError(None, None, "why so"),
        tf.errors.UnauthenticatedError(None, None, "why so"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_cannot_be_reached_is_not_called_damaged(saved, monkeypatch, error):
    def fail(*_):
        raise error

    for name, path in (("GFile", "run/ckpt-0"), ("GFile", "bit.npz"), ("listdir", "run")):
        with monkeypatch.context() as patch:
            patch.setattr(tf.io.gfile, name, fail)
            assert "cannot be read: why so." in refused(saved / path)


def test_what_may_be_reached_later_is_tried_again(saved, monkeypatch):
    def fail(*_):
        raise tf.errors.UnavailableError(None, None, "why so")

    monkeypatch.setattr(transient, "WAITS", (0.0, 0.0))
    for name, path in (("GFile", "run/ckpt-0"), ("GFile", "bit.npz"), ("listdir", "run")):
        with monkeypatch.context() as patch:
            patch.setattr(tf.io.gfile, name, fail)
            with pytest.raises(StorageUnavailable, match="failed 3 times .*why so"):
                open_weights(str(saved / path))


@pytest.mark.parametrize("error", [PermissionError, MemoryError])
def test_what_no_copy_would_mend_passes(saved, monkeypatch, error):
    def fail(*_, **__):
        raise error

    monkeypatch.setattr(np, "load", fail)
    weights = open_weights(str(saved / "bit.npz"))
    with pytest.raises(error), translate_read_errors("bit.npz"):
        next(iter(weights.entries.values())).read()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("file", ["ckpt-0.index", "ckpt-0.data-00000-of-00001"])
def test_a_checkpoint_that_one_may_not_read_is_not_called_damaged(saved, file):
    (saved / "run" / file).chmod(0)
    assert (
        "cannot be read: " in (message := refused(saved / "run")) and "ermission denied" in message
    )


def test_the_error_of_tensorflows_reader_is_known_by_its_text():
    """It raises OpError, code UNKNOWN, for whatever it does not know (py_checkpoint_reader.py)."""
    error = tf.errors.OpError(None, None, "w.data-00000-of-00001; Permission denied", 2)
    with pytest.raises(UserError, match="w cannot be read: w.data"), translate_read_errors("w"):
        raise error
