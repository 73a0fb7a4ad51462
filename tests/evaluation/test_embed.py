"""--mode=embed: the rows are those of the split, in its order, and the numbers are the model's."""

import errno
import json
import os
import re
import shutil
import tempfile

import numpy as np
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from PIL import Image

from helpers import tiny_runs
from simclr_med import data, distribution
from simclr_med.build import make_model
from simclr_med.checkpoints.restore import restore
from simclr_med.commands.main import main
from simclr_med.evaluation.features import case_features
from simclr_med.keras_api import keras

BARE = tiny_runs.BASE.replace(lineareval_while_pretraining=False)


pytestmark = pytest.mark.usefixtures("one_block")


@pytest.fixture(scope="module")
def run(tiny_pretrained, tmp_path_factory):
    """A run to embed into."""
    return shutil.copytree(tiny_pretrained, tmp_path_factory.mktemp("embed") / "run")


def model_of(run):
    model = make_model(BARE, 0)
    restore(model, tf.train.latest_checkpoint(str(run)))
    return model


def embed(run, *flags):
    assert main(["run.py", "--mode=embed", f"--model_dir={run}", *flags]) == 0


def one_by_one(run, builder, split):
    """Returns [(case, patient, label, image, its name, embedding)], each image alone."""
    model, rows = model_of(run), []
    photos, paths = builder.builder_config.manifest.folder, builder.builder_config.paths()
    bags = data.open_split(builder, split, with_image_ids=True)
    for bag in bags.dataset.as_numpy_iterator():
        for i, name in enumerate(bag["image_ids"]):
            assert re.fullmatch(r"row \d+", name.decode())  # of the table: not the file's name
            pixels = np.asarray(Image.open(os.path.join(photos, paths[name.decode()])))
            start = pixels[(40 - 35 + 1) // 2 :, (48 - 35 + 1) // 2 :][:35, :35] / np.float32(255)
            view = tf.image.resize(start[None], [34, 34], "area")
            embedding = model(view, training=False)["features"][0].numpy()
            ids = bag["bag_id"].decode(), bag["patient_id"].decode()
            label = bags.class_names[bag["label"]]
            rows.append((*ids, label, i, name.decode(), embedding))
    return rows


def test_a_row_per_image_has_all_of_them_in_order(run, tiny_data):
    embed(run, "--embed_unit=image", "--eval_split=train", "--max_bag_size=2")
    expected = one_by_one(run, tiny_data, "train")
    assert len(expected) == 20 and max(row[3] for row in expected) == 3  # beyond --max_bag_size
    table = pq.read_table(run / "embeddings_train.parquet")
    assert table.column_names == [
        "case_id",
        "patient_id",
        "image",
        "image_id",
        "label",
        "embedding",
    ]
    assert str(table.schema.field("embedding").type).startswith("list<") and "float" in str(
        table.schema.field("embedding").type
    )
    names = ("case_id", "patient_id", "label", "image", "image_id")
    rows = list(zip(*(table[name].to_pylist() for name in names)))
    assert rows == [row[:5] for row in expected]
    embeddings = np.array(table["embedding"].to_pylist())
    np.testing.assert_allclose(embeddings, [row[5] for row in expected], rtol=1e-4, atol=1e-5)
    stored = np.load(run / "embeddings_train.npz", allow_pickle=False)
    assert stored["embeddings"].dtype == np.float32
    np.testing.assert_array_equal(stored["embeddings"], embeddings.astype(np.float32))
    assert [tuple(row) for row in zip(stored["case_id"], stored["image"], stored["image_id"])] == [
        (row[0], row[3], row[4]) for row in expected
    ]
    assert [stored["class_names"][label] for label in stored["labels"]] == [r[2] for r in expected]


def test_a_row_per_case_is_the_mean_over_its_images(run, tiny_data, capsys):
    embed(run, "--eval_name=mean")
    assert "more images" not in capsys.readouterr().out
    images = one_by_one(run, tiny_data, "validation")
    cases = list(dict.fromkeys(row[0] for row in images))
    table = pq.read_table(run / "embeddings_mean_validation.parquet")
    assert table["case_id"].to_pylist() == cases
    expected = [[row[5] for row in images if row[0] == case] for case in cases]
    assert table["num_images"].to_pylist() == list(map(len, expected))
    np.testing.assert_allclose(
        np.array(table["embedding"].to_pylist()),
        [np.mean(embeddings, axis=0) for embeddings in expected],
        rtol=1e-4,
        atol=1e-5,
    )
    about = json.loads(table.schema.metadata[b"simclr_med"])
    assert about["weights"].endswith("ckpt-2") and about["split"] == "validation"
    assert about["fingerprint"] == tiny_data.info.metadata["fingerprint"]


def test_a_large_case_is_averaged_over_evaluations_draw(run, tiny_data, strategy, capsys):
    embed(run, "--eval_name=draw", "--max_bag_size=2", "--eval_split=train")
    assert "have more images than --max_bag_size=2" in capsys.readouterr().out
    bags = data.open_split(tiny_data, "train")
    expected = case_features(BARE.replace(max_bag_size=2), strategy, {"m": model_of(run)}, bags)[
        "m"
    ]
    stored = np.load(run / "embeddings_draw_train.npz", allow_pickle=False)
    np.testing.assert_allclose(stored["embeddings"], expected, rtol=1e-5)


def test_weights_alone_embed_any_dataset(run, tiny_data, tmp_path, monkeypatch):
    manifest = tiny_data.builder_config.manifest
    monkeypatch.chdir(tmp_path)
    flags = [f"--checkpoint={run}", "--resnet_depth=18", "--image_size=34"]
    flags += ["--dataset=derm_bags", f"--manual_dir={manifest.folder}"]
    flags += [
        f"--data_dir={tiny_data._data_dir_root}",
        "--eval_split=train[:3]",
        "--embed_unit=image",
    ]
    assert main(["run.py", "--mode=embed", *flags]) == 0
    (folder,) = (tmp_path / "runs").iterdir()
    stored = np.load(folder / "embeddings_train_3_.npz", allow_pickle=False)
    bags = data.open_split(tiny_data, "train[:3]")
    assert len(stored["embeddings"]) == bags.num_images
    embed(run, "--eval_split=train[:3]", "--embed_unit=image")
    of_run = np.load(run / "embeddings_train_3_.npz", allow_pickle=False)
    np.testing.assert_array_equal(stored["embeddings"], of_run["embeddings"])


@pytest.mark.parametrize(
    "mode, flags, named, not_named",
    [
        ("eval", [], ["--eval_batch_size=2 or less", "--mixed_precision"], ["--eval_steps"]),
        ("eval", ["--eval_steps=1"], ["=2 or less", "if --eval_steps grows as much"], []),
        ("embed", [], ["--eval_batch_size=2 or less", "--mixed_precision"], []),
        ("embed", ["--embed_unit=image", "--mixed_precision"], ["=2 or less"], ["--mixed_prec"]),
        ("embed", ["--eval_batch_size=1"], ["--mixed_precision"], ["or less"]),
    ],
)
def test_out_of_memory_names_what_helps(run, monkeypatch, capsys, mode, flags, named, not_named):
    def exhausted(*_):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor\nmore")

    monkeypatch.setattr(distribution, "join_replicas", exhausted)
    flags = [f"--model_dir={run}", "--eval_name=full", *flags]
    try:
        assert main(["run.py", f"--mode={mode}", *flags]) == 2
    finally:
        keras.mixed_precision.set_global_policy("float32")
    errors = capsys.readouterr().err
    size = "1" if "--eval_batch_size=1" in flags else "4"
    assert f"Out of memory at --eval_batch_size={size}, --image_size=34 on 1 replica(s)." in errors
    assert all(words in errors for words in named) and not any(
        words in errors for words in not_named
    )
    assert "train_batch_size" not in errors and "OOM when allocating tensor" in errors


def test_what_a_reader_of_features_raises_is_its_own(run, tiny_data, strategy):
    """Only the forward pass is explained, not what is done with a batch afterwards."""

    def full(num_images):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM elsewhere")

    bags = data.open_split(tiny_data, "validation")
    with pytest.raises(tf.errors.ResourceExhaustedError):
        case_features(BARE, strategy, {"m": model_of(run)}, bags, on_batch=full)


def test_a_read_only_folder_is_reported_before_anything_is_computed(run, monkeypatch, capsys):
    def read_only(dir):
        raise OSError(errno.EROFS, "Read-only file system", dir)

    monkeypatch.setattr(tempfile, "TemporaryFile", read_only)
    assert main(["run.py", "--mode=embed", f"--model_dir={run}", "--eval_split=dev"]) == 2
    errors = capsys.readouterr().err  # and nothing of the split, which is read later
    assert f"{run} cannot be written (Read-only file system). Copy the run" in errors
    assert f"--checkpoint={run} --model_dir=ELSEWHERE" in errors and len(errors.splitlines()) == 1


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "--mode=embed needs the --model_dir of a run, or --checkpoint."),
        (["--checkpoint=x"], "--dataset is missing"),
        (["--model_dir=RUN", "--eval_split=dev"], "no split 'dev'"),
        (["--model_dir=RUN", "--manual_dir=OTHER"], "Give --eval_name=NAME to embed"),
    ],
)
def test_a_mistake_is_an_error_message(run, tmp_path, capsys, flags, message):
    if "--manual_dir=OTHER" in flags:
        tiny_runs.draw_folder(tmp_path / "OTHER", seed=1)
    folders = {"RUN": str(run), "OTHER": str(tmp_path / "OTHER")}
    flags = [re.sub("RUN|OTHER", lambda match: folders[match[0]], flag) for flag in flags]
    assert main(["run.py", "--mode=embed", *flags]) == 2
    assert message in capsys.readouterr().err
