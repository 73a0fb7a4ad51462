"""simclr_med in Python: the numbers of the command line, for paths, folders and arrays alike."""

import doctest
import json
import os
import shutil
import signal
import threading

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import simclr_med
from helpers import ROOT, command_line, encoders
from helpers.folders import draw_cases
from simclr_med import api
from simclr_med.errors import UserError
from simclr_med.keras_api import keras

pytestmark = pytest.mark.usefixtures("one_block")
CLASSES = ["label0", "label1"]


@pytest.fixture(scope="module")
def photos(tiny_data):
    return str(tiny_data.builder_config.manifest.folder)


@pytest.fixture(scope="module")
def model(tiny_tuned):
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch)
        return simclr_med.load(tiny_tuned)


def test_the_examples_of_the_docstrings(tiny_tuned, photos):
    names = {"simclr_med": simclr_med, "run": tiny_tuned, "photos": photos}
    examples = doctest.DocTestFinder().find(api.load, "load", globs=names)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    for test in examples:
        runner.run(test)
    assert runner.summarize(verbose=False) == (0, 4)


def test_a_folder_gives_what_the_command_gives(model, tiny_tuned, photos, tmp_path):
    code, *_ = command_line.run(
        *("--mode=predict", f"--model_dir={tiny_tuned}", f"--manual_dir={photos}"),
        f"--output_dir={tmp_path}",
    )
    assert code == 0
    expected = pd.read_csv(tmp_path / "predictions_new.csv")
    predictions = model.predict(photos)
    assert list(predictions) == list(expected) and list(predictions["case_id"]) == list(
        expected["case_id"]
    )
    np.testing.assert_allclose(predictions[CLASSES], expected[CLASSES], atol=1e-7)
    assert list(predictions["prediction"]) == list(expected["prediction"])


def test_paths_arrays_and_cases_of_several_are_the_same_images(model, photos):
    paths = [f"{photos}/{case}_{0}.png" for case in range(3)]
    arrays = [np.asarray(Image.open(path)) for path in paths]
    by_path = model.predict(paths)
    assert list(by_path["case_id"]) == paths
    for other in (arrays, np.stack(arrays), [a / 255 for a in arrays], f"{photos}/[012]_0.png"):
        np.testing.assert_array_equal(model.predict(other)[CLASSES], by_path[CLASSES])
    np.testing.assert_array_equal(model.predict(paths[1])[CLASSES], by_path[CLASSES][1:2])
    np.testing.assert_array_equal(model.predict(arrays[1])[CLASSES], by_path[CLASSES][1:2])
    whole = model.predict(photos).set_index("case_id")
    case = {"mine": [f"{photos}/2_{i}.png" for i in range(3)]}
    np.testing.assert_array_equal(model.predict(case)[CLASSES], whole.loc[["c2"], CLASSES])


def test_embeddings_are_those_of_embed_and_of_a_pretrained_run_too(
    model, tiny_tuned, tiny_pretrained, photos, tmp_path
):
    for run, trained in ((tiny_tuned, model), (tiny_pretrained, simclr_med.load(tiny_pretrained))):
        there = shutil.copytree(run, tmp_path / os.path.basename(run))
        code, _, errors = command_line.run("--mode=embed", f"--model_dir={there}")
        assert code == 0, errors
        stored = np.load(there / "embeddings_validation.npz")
        embeddings = trained.embed(photos).loc[stored["case_id"]]
        np.testing.assert_allclose(embeddings, stored["embeddings"], rtol=1e-4, atol=1e-5)
    assert "pretrained: no classes" in simclr_med.load(tiny_pretrained).summary()
    with pytest.raises(UserError, match="tells no classes apart"):
        simclr_med.load(tiny_pretrained).predict(photos)


def test_what_is_not_an_image_is_an_error(model, tmp_path):
    (tmp_path / "broken.png").write_bytes(b"x")
    (row,) = model.predict([tmp_path / "broken.png"]).to_dict("records")
    assert "not an image" in row["unreadable"] and row["label0"] is None
    assert np.isnan(model.embed([tmp_path / "broken.png"])).all(axis=None)
    for images, message in (
        ([], "There are no images"),
        ("nowhere/*.png", "matches no file"),
        ([np.zeros((3, 4, 2), np.uint8)], "is no image"),
        ([np.full((3, 4), 255.0)], "give values from 0 to 1"),
        ([np.zeros((3, 4), np.int32)], "give uint8"),
        (tmp_path / "nowhere", "matches no file"),
    ):
        with pytest.raises(UserError, match=message):
            model.predict(images)
    with pytest.raises(UserError, match="no such folder"):
        simclr_med.load(tmp_path / "nowhere")


def test_in_a_thread_and_after_one_another(tiny_tuned, photos):
    """Nothing of the process is changed: the handler of Ctrl-C, the precision of Keras."""
    handler, policy = signal.getsignal(signal.SIGINT), keras.mixed_precision.global_policy().name
    predictions = []

    def work():
        predictions.append(simclr_med.load(tiny_tuned).predict(photos)[CLASSES])

    for _ in range(2):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    work()
    for other in predictions[1:]:
        np.testing.assert_array_equal(predictions[0], other)
    assert len(predictions) == 3 and signal.getsignal(signal.SIGINT) is handler
    assert keras.mixed_precision.global_policy().name == policy


@pytest.mark.slow
@pytest.mark.one_stack
def test_the_notebook_runs_from_a_folder_to_predictions(tmp_path, monkeypatch, capsys):
    """docs/quickstart.ipynb, its cells one after the other, at a tiny size."""
    monkeypatch.chdir(tmp_path)
    draw_cases(tmp_path / "photos", {"train": 24, "validation": 6})
    notebook = json.loads((ROOT / "docs" / "quickstart.ipynb").read_text())
    cells = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]
    small = dict(train_steps=2, checkpoint_steps=1, data_dir=str(tmp_path / "tfds"))
    small |= dict(train_batch_size=4, eval_batch_size=4, image_size=34, keep_hub_module_max=0)
    assert "FLAGS = {}" in cells[0]
    cells[0] = cells[0].replace("FLAGS = {}", f"FLAGS = {small}")
    cells[1] = cells[1].replace("(FOLDER)", "(FOLDER, data_dir=FLAGS['data_dir'])")
    names: dict = {}
    for cell in cells:
        exec(cell, names)
    table = names["model"].predict("photos")
    assert len(table) == 30 and set(table["prediction"]) <= set(names["model"].class_names)
    tuned = json.loads((tmp_path / "runs" / "tuned" / "config.json").read_text())
    assert tuned["checkpoint"] == names["run"] and (tuned["image_size"], tuned["micle"]) == (
        34,
        False,
    )
    assert (tmp_path / "runs" / "tuned" / "report.html").exists()
    assert keras.mixed_precision.global_policy().name == "float32"
    with pytest.raises(UserError, match="no_such_flag"):
        simclr_med.pretrain("photos", tmp_path / "other", no_such_flag=1)
    capsys.readouterr()
