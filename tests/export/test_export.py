"""--mode=export: what the files compute is what the model in memory computes, and they train on."""

import functools
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from helpers import encoders, tiny_runs
from simclr_med import run_folder
from simclr_med.augment.crop import decode_center_crop, evaluation_view
from simclr_med.build import make_model
from simclr_med.checkpoints.restore import restore
from simclr_med.commands.main import main
from simclr_med.config import PRIVATE
from simclr_med.errors import UserError
from simclr_med.export import model_card, model_card_loading, network, saved_model, source
from simclr_med.keras_api import keras


@pytest.fixture(autouse=True)
def small_encoder(monkeypatch):
    encoders.one_true_block(monkeypatch)


@pytest.fixture(scope="module")
def world(tiny_tuned, tmp_path_factory):
    """A folder with two exported runs: `pretrained` (embeddings after a projection layer), `tuned`."""
    root = tmp_path_factory.mktemp("world")
    shutil.copytree(tiny_tuned, root / "tuned")
    pretrain = tiny_runs.BASE.replace(ft_proj_selector=1, seed=3, input_range="unit")
    with pytest.MonkeyPatch.context() as patch:
        encoders.one_true_block(patch)
        (root / "pretrained").mkdir()
        tiny_runs.untrained(pretrain, root / "pretrained")
        for name, formats in (("pretrained", "saved_model"), ("tuned", "saved_model,keras")):
            flags = [f"--model_dir={root / name}", f"--export_formats={formats}"]
            assert main(["run.py", "--mode=export", *flags]) == 0
    return root


@pytest.fixture(scope="module")
def load(world):
    """Returns a function from a run's name to its SavedModel; all tests share it: never train it."""
    return functools.cache(lambda name: tf.saved_model.load(saved_model_of(world, name)))


def saved_model_of(world, name):
    return str(world / name / "export" / "saved_model")


def of_the_run(world, name):
    """Returns the model of a run as training makes it, its weights restored, not by our export."""
    config = {
        "pretrained": tiny_runs.BASE.replace(
            ft_proj_selector=1, lineareval_while_pretraining=False
        ),
        "tuned": tiny_runs.FINETUNE,
    }[name]
    model = make_model(config, 2 if name == "tuned" else 0)
    restore(model, tf.train.latest_checkpoint(str(world / name)))
    return model


def photos(n, height, width, dtype=np.uint8):
    high = np.iinfo(dtype).max + 1
    return np.random.default_rng(1).integers(0, high, (n, height, width, 3)).astype(dtype)


def assert_close(actual, expected):
    scale = np.abs(expected).max()
    assert scale > 1e-3  # zeros would agree with anything
    np.testing.assert_allclose(actual, expected, atol=1e-5 * scale, rtol=0)


@pytest.mark.parametrize("name", ["pretrained", "tuned"])
@pytest.mark.parametrize("size", [(48, 61), (34, 20)])
def test_the_saved_model_equals_evaluation(world, load, name, size):
    """Of evaluation's own decoding of the same pixels from a PNG, through the run's own model."""
    images = photos(3, *size)
    encoded = [tf.io.encode_png(image) for image in images]
    expected = of_the_run(world, name)(
        tf.stack([decode_center_crop(image, 34) for image in encoded]), training=False
    )
    loaded = load(name)
    for outputs in (
        loaded(tf.constant(images)),
        loaded.signatures["serving_default"](images=tf.constant(images)),
        loaded.signatures["serving_bytes"](encoded=tf.stack(encoded)),
    ):
        assert_close(outputs["embeddings"], expected["features"])
        assert ("logits" in outputs) == ("probabilities" in outputs) == (name == "tuned")
        if name == "tuned":
            assert_close(outputs["logits"], expected["logits"])
            assert_close(outputs["probabilities"], tf.nn.softmax(expected["logits"]))


def test_16_bit_images_give_what_their_fractions_of_white_are(world, load):
    images = photos(2, 40, 40, np.uint16)
    start, side = 2, 35  # 0.875 * 40, centred
    crop = images[:, start + 1 : start + 1 + side, start + 1 : start + 1 + side] / 65535
    pixels = tf.image.resize(crop.astype(np.float32), [34, 34], "area")
    expected = of_the_run(world, "tuned")(pixels, training=False)
    loaded = load("tuned")
    outputs = loaded.signatures["serving_uint16"](images=tf.constant(images))
    assert_close(outputs["embeddings"], expected["features"])
    assert_close(loaded(tf.constant(images))["logits"], expected["logits"])


def test_a_case_is_classified_by_the_mean_of_its_embeddings(world, load):
    images = photos(3, 40, 40)
    model = of_the_run(world, "tuned")
    pixels = evaluation_view(tf.constant(images), 34)
    expected = model(pixels, case_of_image=tf.zeros(3, tf.int32), num_cases=1)["logits"]
    loaded = load("tuned")
    case = tf.reduce_mean(loaded(tf.constant(images))["embeddings"], axis=0, keepdims=True)
    outputs = loaded.signatures["classify"](embeddings=case)
    assert_close(outputs["logits"], expected)
    assert_close(outputs["probabilities"], tf.nn.softmax(expected))


@pytest.mark.parametrize("multilabel", [False, True])
def test_probabilities_of_several_labels_are_sigmoids(multilabel):
    model = make_model(tiny_runs.FINETUNE, 2)
    embeddings = tf.random.stateless_uniform([5, 64], (0, 0))
    outputs = network.classified(model, embeddings, multilabel)
    probabilities = (tf.sigmoid if multilabel else tf.nn.softmax)(outputs["logits"])
    assert_close(outputs["probabilities"], probabilities)
    assert bool(np.allclose(tf.reduce_sum(probabilities, 1), 1)) != multilabel


@pytest.mark.parametrize("name", ["pretrained", "tuned"])
def test_gradients_reach_every_variable_and_statistics_move(world, load, name):
    loaded = tf.saved_model.load(saved_model_of(world, name))
    model = of_the_run(world, name)
    assert len(loaded.trainable_variables) == sum(
        len(part.trainable_variables) for part in network.parts(model)
    )
    assert list(loaded.regularization_losses) == []
    images = tf.constant(photos(4, 40, 40))
    with tf.GradientTape() as tape:
        outputs = loaded(images, training=True)
        loss = tf.reduce_sum(outputs["logits" if name == "tuned" else "embeddings"][:, 0] ** 2)
    gradients = tape.gradient(loss, loaded.trainable_variables)
    assert all(g is not None and np.abs(g.numpy()).max() > 0 for g in gradients)

    model = of_the_run(world, name)  # moves its own statistics, by the same rule
    fixed = load(name)
    before = [v.numpy() for v in fixed.variables]
    fixed(images)
    assert all(np.array_equal(v, b) for v, b in zip(fixed.variables, before))
    network.outputs(model, evaluation_view(images, 34), training=True)
    moving = {v.ref() for v in loaded.variables} - {v.ref() for v in loaded.trainable_variables}
    expected = [v for part in network.parts(model) for v in part.non_trainable_variables]
    statistics = [v for v in loaded.variables if v.ref() in moving]
    assert len(statistics) == len(expected) > 0
    for v, e in zip(statistics, expected):
        np.testing.assert_allclose(v, e, rtol=1e-4, atol=1e-6)


def test_the_models_variables_lie_under_the_names_of_its_layers(world, load):
    """`--checkpoint` reads them there."""
    prefix = os.path.join(saved_model_of(world, "pretrained"), "variables", "variables")
    reader = tf.train.load_checkpoint(prefix)
    loaded = load("pretrained")
    model = of_the_run(world, "pretrained")
    np.testing.assert_array_equal(
        getattr(loaded.model.encoder.stem.body, "0").conv2d.kernel,
        model.encoder.stem.body[0].conv2d.kernel,
    )
    graph_of = {name for name in dir(loaded.model) if name.endswith(("encoder", "head"))}
    assert graph_of == {"encoder", "projection_head"}
    stored = [key for key in reader.get_variable_to_shape_map() if key.endswith("VARIABLE_VALUE")]
    assert (
        len(stored) == len(model.variables) + 1
    )  # each once, the projection head's too; a counter


def test_a_run_in_mixed_precision_or_frozen_is_exported_in_float32_and_trainable(world):
    model = network.portable(tiny_runs.FINETUNE, 2)
    keras.mixed_precision.set_global_policy("mixed_bfloat16")
    try:
        other = network.portable(tiny_runs.FINETUNE.replace(fine_tune_after_block=1, remat=True), 2)
        assert keras.mixed_precision.global_policy().name == "mixed_bfloat16"
    finally:
        keras.mixed_precision.set_global_policy("float32")
    pixels = tf.random.stateless_uniform([2, 34, 34, 3], [0, 0])
    for name, value in network.outputs(model, pixels).items():
        np.testing.assert_array_equal(value, network.outputs(other, pixels)[name])
    assert len(other.trainable_variables) == len(model.trainable_variables)


@pytest.mark.slow
def test_the_code_of_the_model_card_runs_without_simclr_med(world):
    """All snippets; "Training it further" is 10 steps of fine-tuning, and the only one to print."""
    script = []
    for name, num_snippets in (("pretrained", 2), ("tuned", 4)):
        folder = world / name / "export"
        code = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
        assert len(code) == num_snippets
        assert all(len(snippet.splitlines()) <= 30 for snippet in code)
        script += [f"import os\nos.chdir({str(folder)!r})\n", *code]
    script.append(
        "import sys\nassert not any(name.split('.')[0] == 'simclr_med' for name in sys.modules)\n"
    )
    losses = [float(line) for line in execute("\n".join(script), world).splitlines()]
    assert len(losses) == 20 and losses[9] < losses[0] and losses[19] < losses[10]


def execute(code, folder):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=300,
        cwd=folder,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_keras_encoder_equals_the_one_in_memory(world):
    model = of_the_run(world, "tuned")
    pixels = tf.random.stateless_uniform([2, 34, 50, 3], [0, 0])
    folder = world / "tuned" / "export"
    loaded = keras.models.load_model(str(folder / "encoder.keras"))
    expected = model.encoder(pixels, training=False)
    assert_close(loaded(pixels), expected)
    loaded.set_weights([np.zeros_like(value) for value in loaded.get_weights()])
    loaded.load_weights(str(folder / "encoder.weights.h5"))
    assert_close(loaded(pixels), expected)


def test_up_to_32_px_and_with_several_labels_a_case(tmp_path, monkeypatch, capsys):
    """Nothing is cropped, and the card's code for further training has a loss for each label."""
    config = tiny_runs.FINETUNE.replace(image_size=20)
    model = network.portable(config, 3)
    facts = network.facts(config, model, ("a", "b", "c"), 0, {"several_labels": True})
    saved_model.write(model, facts, str(tmp_path / "saved_model"))
    images = photos(2, 20, 20)
    expected = network.outputs(model, tf.constant(images) / 255)["embeddings"]
    loaded = tf.saved_model.load(str(tmp_path / "saved_model"))
    assert_close(loaded(tf.constant(images))["embeddings"], expected)

    monkeypatch.chdir(tmp_path)
    card = model_card_loading.snippets(facts, ["saved_model"])
    *_, further = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    names = {}
    exec(further, names)
    assert names["labels"].shape == (8, 3) and names["labels"].dtype == tf.float32
    losses = [float(line) for line in capsys.readouterr().out.splitlines()]
    logits = loaded(names["images"], training=True)["logits"].numpy()  # as in the first step
    target = np.array([[1, 0, 0], [0, 1, 0]] * 4)
    each = np.logaddexp(0, logits) - target * logits
    np.testing.assert_allclose(losses[0], each.mean(), rtol=1e-4)
    assert losses[-1] < losses[0]


def test_the_facts_say_how_the_network_is_built(world):
    text = (world / "tuned" / "export" / "saved_model" / "simclr_med.json").read_text()
    data = json.loads((world / "tuned" / "data.json").read_text())
    assert json.loads(text) == {
        "encoder": "resnet",
        "resnet_depth": 18,
        "width_multiplier": 1,
        "sk_ratio": 0.0,
        "se_ratio": 0.0,
        "input_range": "unit",
        "image_size": 34,
        "antialias": True,
        "ft_proj_selector": 0,
        "embedding_size": 64,
        "class_names": ["label0", "label1"],
        "proj_head_mode": "nonlinear",
        "num_proj_layers": 3,
        "proj_out_dim": 8,
        "build_long_side": 0,
        "dicom_frame": "first",
        "several_labels": False,
        "global_step": 2,
        "dataset": data["dataset"],
        "fingerprint": data["fingerprint"],
    }
    assert data["fingerprint"]


def test_evaluation_keeps_the_newest_saved_models(world, monkeypatch):
    monkeypatch.setattr(saved_model, "_reusable", lambda *_: (tf.train.Checkpoint(), {}))  # cheap
    model_dir = str(world / "tuned")
    os.makedirs(os.path.join(model_dir, "saved_model", "0"))
    for step, keep, left in ((1, 2, ["0", "1"]), (2, 1, ["2"])):
        trained = make_model(tiny_runs.FINETUNE, 2)
        path = saved_model.save(
            tiny_runs.FINETUNE, trained, step, ("label0", "label1"), model_dir, keep
        )
        assert os.path.exists(os.path.join(path, "simclr_med.json"))
        assert sorted(os.listdir(world / "tuned" / "saved_model")) == left


@pytest.mark.parametrize("frozen", [-1, 0])
@pytest.mark.parametrize("name", ["pretrained", "tuned"])
def test_evaluation_exports_the_weights_it_has_without_their_checkpoint(
    world, monkeypatch, tmp_path, name, frozen
):
    """Whatever the order in which Keras lists frozen ones."""
    config = {
        "pretrained": tiny_runs.BASE.replace(ft_proj_selector=1),
        "tuned": tiny_runs.FINETUNE.replace(fine_tune_after_block=frozen),
    }[name]
    classes = ("label0", "label1") if name == "tuned" else ()
    bare = config.replace(lineareval_while_pretraining=False)
    checkpoint = tf.train.latest_checkpoint(str(world / name))
    trained = make_model(bare, len(classes))
    restore(trained, checkpoint)
    written = []
    monkeypatch.setattr(saved_model, "write", lambda model, *_: written.append(model))
    saved_model.save(config, trained, 2, classes, str(tmp_path), 1)
    expected = network.portable(config, len(classes))
    restore(expected, checkpoint)
    assert len(written[0].variables) == len(expected.variables)
    for variable, value in zip(written[0].variables, expected.variables):
        np.testing.assert_array_equal(variable.numpy(), value.numpy(), value.name)


def test_the_checkpoint_that_validation_chose_is_exported(world, tmp_path):
    for path in (world / "tuned").glob("c*"):
        (tmp_path / path.name).write_bytes(path.read_bytes())
    selecting = tiny_runs.FINETUNE.replace(selection_split="test")
    pretraining = selecting.replace(train_mode="pretrain")  # there it is for sweeps

    def exported(config, **selection_values):
        if selection_values:
            (tmp_path / "selection.json").write_text(json.dumps(selection_values))
        return os.path.basename(source.newest_or_chosen(config, str(tmp_path)))

    assert exported(tiny_runs.FINETUNE) == exported(pretraining) == "ckpt-2"
    with pytest.raises(UserError, match="Run --mode=eval first"):
        exported(selecting)
    assert exported(selecting, checkpoint="ckpt-1") == "ckpt-2"  # an older version's
    for config in (selecting, tiny_runs.FINETUNE):  # evaluation may have been given a split
        assert exported(config, checkpoint="ckpt-1", candidates=["ckpt-1", "ckpt-2"]) == "ckpt-1"
    early = dict(checkpoint="ckpt-1", candidates=["ckpt-1"])  # while training went on
    assert exported(tiny_runs.FINETUNE, **early) == "ckpt-2"
    with pytest.raises(UserError, match="--selection_split=test has not yet chosen"):
        exported(selecting)
    (tmp_path / "ckpt-2.index").write_bytes(b"half")  # then ckpt-1 is all there was to choose from
    assert exported(selecting) == "ckpt-1"


def test_the_model_card_tells_data_metrics_and_what_is_unknown(world, tmp_path):
    card = (world / "tuned" / "export" / "README.md").read_text()
    data = json.loads((world / "tuned" / "data.json").read_text())
    row = json.loads((world / "tuned" / "result.json").read_text())["classification"]
    row = row["supervised head"]["trained"]
    why = row["no_interval"]["balanced_accuracy"]  # of four patients
    for text in (
        data["fingerprint"],
        "| trained on | 8 cases (bags), 20 images |",
        f"{row['balanced_accuracy']:.3f} ({why})",
        "| learning_rate | 5.0 | 0.3 |",
        "random, seed 0 (input range unit)",
        "label0, label1",
        "not a medical device",
        tf.__version__,
    ):
        assert text in card, text
    assert str(world) not in card  # no folder of whoever trained
    assert "was not evaluated" in (world / "pretrained" / "export" / "README.md").read_text()

    older = tmp_path / "older"
    older.mkdir()
    for path in (world / "tuned").glob("c*"):  # checkpoints, config.json: no data.json, no result
        (older / path.name).write_bytes(path.read_bytes())
    (older / "export").mkdir()
    (older / "export" / "model.onnx").write_text("of another step, perhaps")
    flags = [f"--model_dir={older}", "--export_formats=saved_model"]
    assert main(["run.py", "--mode=export", *flags]) == 0
    assert not (older / "export" / "model.onnx").exists()
    assert "not recorded" in (older / "export" / "README.md").read_text()


def test_other_peoples_weights_are_exported_without_a_run(world, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    flags = ["--resnet_depth=18", "--image_size=34", f"--checkpoint={world / 'pretrained'}"]
    assert main(["run.py", "--mode=export", "--export_formats=saved_model", *flags]) == 0
    assert "demo" not in capsys.readouterr().out
    (folder,) = (tmp_path / "runs").iterdir()
    loaded = tf.saved_model.load(str(folder / "export" / "saved_model"))
    images = photos(2, 40, 40)
    encoder = of_the_run(world, "pretrained").encoder
    expected = encoder(evaluation_view(tf.constant(images), 34), training=False)
    assert_close(loaded(tf.constant(images))["embeddings"], expected)
    card = (folder / "export" / "README.md").read_text()
    assert "exported as they are" in card
    assert "The weights of a file or folder whose name is left out here, not trained" in card
    assert str(world) not in card
    (out,) = [f"--model_dir={tmp_path / 'kept'}"]
    assert main(["run.py", "--mode=export", "--keep_identifiers", out, *flags]) == 0
    card = (tmp_path / "kept" / "export" / "README.md").read_text()
    assert card.index("Not to hand on") < card.index("What it is")
    assert f"The weights of {world / 'pretrained'}, not trained further" in card


@pytest.mark.parametrize(
    "frozen, words",
    [
        (-1, "fine-tuning, end to end"),
        (0, "fine-tuning, with the encoder's stem frozen"),
        (2, "fine-tuning, with the encoder's stem and first 2 groups of blocks frozen"),
        (4, "training of the head alone, on a frozen encoder"),
    ],
)
def test_the_model_card_says_what_was_trained_and_from_what_but_no_folder(
    world, tmp_path, frozen, words
):
    folders = PRIVATE - {"checkpoint"}
    config = tiny_runs.FINETUNE.replace(
        fine_tune_after_block=frozen,
        checkpoint="/home/anna/of_anna/",
        **{name: "/home/anna/x" for name in folders},
    )
    facts = run_folder.read_json(os.path.join(saved_model_of(world, "tuned"), "simclr_med.json"))
    card = model_card.model_card(config, facts, str(tmp_path), [])
    assert card.count(words) == 2  # what it is, how it was trained
    unnamed = "Initial weights: a file or folder whose name is left out here (input range unit)"
    assert unnamed in card
    assert "anna" not in card
    published = config.replace(checkpoint="/home/anna/BiT-M-R50x1.npz")
    card = model_card.model_card(published, facts, str(tmp_path), [])
    assert "Initial weights: BiT-M-R50x1.npz (input range unit)" in card and "anna" not in card
    with_identifiers = model_card.model_card(
        config.replace(keep_identifiers=True), facts, str(tmp_path), []
    )
    assert (
        with_identifiers.count("/home/anna/x") == len(folders)
        and "/home/anna/of_anna/" in with_identifiers
    )
    assert with_identifiers.index("Not to hand on") < with_identifiers.index("What it is")


def _with_groups(folder, groups, **more):
    """Writes the result of an evaluation with such subgroups."""
    row = {"cases": 90, "patients": 36, "top_1": 0.512, "top_1_95": [0.4, 0.6]}
    result = {"dataset": "derm_bags/x", "eval_split": "test", "global_step": 2, **more}
    result |= {"classification": {"supervised head": {"trained": row}}, "subgroups": groups}
    (folder / "result.json").write_text(json.dumps(result))


def test_the_model_card_shows_usual_or_named_subgroups_and_no_small_one(world, tmp_path):
    """Of a result of before there was a minimum: nothing can be pooled, so it is left out."""
    facts = run_folder.read_json(os.path.join(saved_model_of(world, "tuned"), "simclr_med.json"))

    def row(column, value, patients, top_1):
        return {"column": column, "value": value, "cases": 2 * patients, "patients": patients} | {
            "top_1": top_1,
            "top_1_95": [0.1, 0.9],
        }

    groups = [row("site", "lip", 1, 0.111), row("site", "ear", 5, 0.222)]
    groups += [row("site", "arm", 12, 0.333), row("site", "leg", 30, 0.444)]
    groups += [row("Referring Physician", "Dr Who", 36, 0.555)]
    _with_groups(tmp_path, groups)

    def card(**flags):
        return model_card.model_card(tiny_runs.FINETUNE.replace(**flags), facts, str(tmp_path), [])

    usual = card()
    assert "| site: leg | 60 | 30 | 0.444 [0.100, 0.900] |" in usual
    assert "| site: fewer than 10, with arm | – | – | – |" in usual
    for text in (
        "site: lip",
        "site: ear",
        "0.111",
        "0.222",
        "0.333",
        "Dr Who",
        "Referring",
        "0.555",
    ):
        assert text not in usual, text
    named = card(subgroups="Referring Physician")
    assert "| Referring Physician: Dr Who | 72 | 36 | 0.555 [0.100, 0.900] |" in named
    assert "site" not in named.split("## Results")[1].split("## Preprocessing")[0]
    assert "Dr Who" not in card(subgroups="none") and "leg" not in card(subgroups="none")
    assert "| site: lip | 2 | 1 | 0.111 [0.100, 0.900] |" in card(min_subgroup=1)


def test_exported_files_hold_no_path_name_or_machine(world):
    """All bytes of the SavedModel, the Keras files and simclr_med.json; the model card too."""
    private = {str(world), os.path.expanduser("~"), socket.gethostname(), "manual_dir", "photos"}
    private = {text for text in private if len(text) > 4}  # less may be there by chance
    private |= {os.path.dirname(os.path.dirname(model_card.__file__))}  # of the code
    files = [path for path in (world / "tuned" / "export").rglob("*") if path.is_file()]
    assert len(files) >= 6
    for path in files:
        parts = [path.read_bytes()]
        if path.suffix == ".keras":
            with zipfile.ZipFile(path) as archive:
                parts += [archive.read(name) for name in archive.namelist()]
        for text in private:
            assert not any(text.encode() in part for part in parts), (path, text)


@pytest.mark.parametrize("flag", ["--model_dir", "--checkpoint"])
def test_a_folder_that_cannot_be_written_is_reported_before_anything_is_computed(
    world, tmp_path, monkeypatch, capsys, flag
):
    monkeypatch.setattr(network, "portable", None)  # nothing is built
    (tmp_path / "file").touch()
    if flag == "--model_dir":
        for path in (world / "tuned").glob("c*"):
            (tmp_path / path.name).write_bytes(path.read_bytes())
        (tmp_path / "file").rename(tmp_path / "export")
        flags, advice = (
            [f"--model_dir={tmp_path}"],
            f"--checkpoint={tmp_path} --model_dir=ELSEWHERE",
        )
    else:
        flags = [f"--checkpoint={world / 'tuned'}", f"--model_dir={tmp_path / 'file' / 'new'}"]
        advice = "Give another --model_dir"
    before = sorted(tmp_path.rglob("*"))
    assert main(["run.py", "--mode=export", *flags]) == 2
    errors = capsys.readouterr().err
    assert "cannot be written (Not a directory)" in errors and advice in errors
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    "flags, message",
    [
        ([], "--mode=export needs the --model_dir of a run, or --checkpoint."),
        (["--model_dir=nowhere"], "holds no run"),
        (
            ["--model_dir=TUNED", "--export_formats=pickle"],
            "'pickle' is none of saved_model, keras",
        ),
        (["--model_dir=TUNED", "--export_formats="], "nothing is none of"),
        (["--model_dir=TUNED", "--checkpoint=x"], "give one of the two"),
        (["--checkpoint=x", "--ft_proj_selector=1"], "only the encoder's own output"),
    ],
)
def test_a_mistake_is_an_error_message(world, capsys, flags, message):
    flags = [flag.replace("TUNED", str(world / "tuned")) for flag in flags]
    assert main(["run.py", "--mode=export", *flags]) == 2
    assert message in capsys.readouterr().err
