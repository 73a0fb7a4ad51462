"""model.safetensors in timm and torchvision gives TensorFlow's features; else there is none."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny_runs
from simclr_med.commands.main import main
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.export import command, model_card_loading, network, torch_file, torch_names

needs_torch = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("torch", "timm", "safetensors")),
    reason="torch, timm or safetensors is not installed (the extra [torch], which CI does not have)",
)
BASE = Config().replace(train_mode="finetune", resnet_depth=50, image_size=65)
CLASSES = ("a", "b", "c")
TWINS = {
    "resnet50": BASE,
    "resnet101": BASE.replace(resnet_depth=101, image_size=50, input_range="caffe"),
    "seresnet50": BASE.replace(se_ratio=0.25),
    "resnetv2_50x1_bit": BASE.replace(encoder="bit", image_size=64),
}
# What differs, and what the error message says of it.
REFUSED = {
    "padding": ({"image_size": 224}, r"--image_size=224 TensorFlow's SAME padding.*image_size=225"),
    "padding, by 1": ({"image_size": 67}, "SAME padding.*--image_size=69"),
    "stem": ({"image_size": 30}, "up to 32 px"),
    "first shortcut": ({"resnet_depth": 18}, "ResNet-18 has a convolution in the shortcut"),
    "width": ({"width_multiplier": 2}, "2 times as wide"),
    "selective kernels": ({"sk_ratio": 0.0625}, "selective kernels"),
    "another gate": ({"se_ratio": 0.1}, "--se_ratio=0.1 and depth 50"),
    "a gate nowhere": ({"se_ratio": 0.25, "resnet_depth": 200}, "depth 200"),
    "strides": ({"encoder": "keras_resnet"}, "strides in 1 x 1"),
}


def random_model(config, classes=CLASSES):
    """Returns a model with random scales and statistics, and its facts."""
    model = network.portable(config, len(classes))
    rng = np.random.default_rng(0)
    for variable in model.variables:
        if variable.shape.rank == 1:
            variable.assign(variable + rng.uniform(0.1, 0.5, variable.shape))
    return model, network.facts(config, model, classes, 0, {})


def read(path):
    """Returns the tensors and the metadata of a safetensors file."""
    from safetensors import safe_open
    from safetensors.numpy import load_file

    with safe_open(path, "np") as file:
        metadata = file.metadata()
    assert metadata.pop("format") == "pt"
    return load_file(path), {key: json.loads(value) for key, value in metadata.items()}


# In a process of its own: torch_features.py says why.
_SCRIPT = """
import sys, numpy as np, timm, torch, torchvision
from safetensors.torch import load_file
folder, name = sys.argv[1:]
tensors = load_file(folder + "/model.safetensors")
pixels = torch.from_numpy(np.load(folder + "/pixels.npy")).permute(0, 3, 1, 2)
networks = {"timm": timm.create_model(name, num_classes=3)}
if name in ("resnet50", "resnet101"):
    networks["torchvision"] = getattr(torchvision.models, name)(num_classes=3)
outputs = {}
with torch.no_grad():
    for library, network in networks.items():
        network.load_state_dict(tensors)  # strictly
        outputs[library] = network.eval()(pixels).numpy()
    encoder = timm.create_model(name, num_classes=0)
    encoder.load_state_dict({k: v for k, v in tensors.items() if not k.startswith(("fc.", "head."))})
    outputs["features"] = encoder.eval()(pixels).numpy()
np.savez(folder + "/outputs.npz", **outputs)
"""


def assert_close(actual, expected):
    scale = np.abs(expected).max()
    assert scale > 1e-3  # zeros would agree with anything
    np.testing.assert_allclose(actual, expected, atol=1e-4 * scale, rtol=0)


@needs_torch
@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("name", TWINS)
def test_pytorch_gives_the_features_and_logits(tmp_path, capsys, name):
    model, facts = random_model(TWINS[name])
    torch_file.write(model, facts, str(tmp_path))
    _, about = read(tmp_path / "model.safetensors")
    size = facts["image_size"]
    pixels = np.random.default_rng(1).random((2, size, size, 3)).astype(np.float32)
    expected = model(pixels, training=False)
    normalised = (pixels - np.float32(about["mean"])) / np.float32(about["std"])
    np.save(tmp_path / "pixels.npy", normalised)
    subprocess.run([sys.executable, "-c", _SCRIPT, str(tmp_path), name], check=True, timeout=300)
    outputs = np.load(tmp_path / "outputs.npz")
    assert ("torchvision" in outputs) == (name in ("resnet50", "resnet101"))
    for key in outputs:
        assert_close(outputs[key], expected["features" if key == "features" else "logits"])
    assert about["architecture"] == name and 0 < about["largest_difference"] <= 1e-4
    output = capsys.readouterr().out
    assert f"timm's {name}; in PyTorch features and logits differ by at most" in output
    assert {key: about[key] for key in facts} == facts  # nothing else of them
    assert "torch" in about["checked_with"]


@needs_torch
@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize(
    "config", [BASE.replace(image_size=64), BASE.replace(encoder="keras_resnet")]
)
def test_features_that_differ_are_refused(tmp_path, monkeypatch, config):
    """SAME padding, and strides elsewhere: weights that fit by name and shape, loaded strictly."""
    monkeypatch.setattr(torch_names, "twin", lambda facts: "resnet50")
    with pytest.raises(UserError, match=r"differ by [1-9]\.\de-0[12] of the largest"):
        torch_file.write(*random_model(config), str(tmp_path))
    assert not list(tmp_path.iterdir())


@needs_torch
@pytest.mark.slow
@pytest.mark.one_stack
def test_the_command_the_card_and_a_projection_between(tmp_path, capsys):
    """A classifier on a projection is not timm's: the encoder alone goes out, which is said."""
    config = tiny_runs.FINETUNE.replace(resnet_depth=50, ft_proj_selector=1)
    (tmp_path / "run").mkdir()
    tiny_runs.untrained(config, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "class_names": ["a", "b"]}))
    flags = ["--mode=export", f"--model_dir={tmp_path / 'run'}", "--export_formats=torch"]
    assert main(["run.py", *flags]) == 0
    assert "resnet50, the encoder alone; in PyTorch features differ" in capsys.readouterr().out
    folder = tmp_path / "run" / "export"
    assert sorted(os.listdir(folder)) == ["README.md", "model.safetensors"]
    tensors, about = read(folder / "model.safetensors")
    assert not [key for key in tensors if key.startswith("fc.")]
    assert about["class_names"] == [] and about["embedding_size"] == 2048
    card = (folder / "README.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    code += "assert features.shape == logits.shape == (2, 2048)"
    subprocess.run([sys.executable, "-c", code], cwd=folder, check=True, timeout=120)


@pytest.mark.parametrize("case", REFUSED)
def test_an_encoder_that_pytorch_has_not_is_an_error_message(tmp_path, case):
    options, message = REFUSED[case]
    config = BASE.replace(**options)
    names = ("encoder", "resnet_depth", "width_multiplier", "sk_ratio", "se_ratio")
    facts = {name: getattr(config.model, name) for name in names}
    with pytest.raises(UserError, match=message) as error:
        torch_file.write(None, {**facts, "image_size": config.augment.image_size}, str(tmp_path))
    assert "Leave torch out" in str(error.value) and "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("size", range(33, 50))
def test_sizes_are_those_at_which_both_paddings_are_the_same(size):
    """TensorFlow's own first layers, against borders of one pixel on all sides as PyTorch has them."""
    rng = np.random.default_rng(size)
    images, kernel = (rng.random([*shape, 1]) for shape in ((1, size, size), (7, 7, 1)))
    convolved = tf.nn.conv2d(images, kernel, 2, [[0, 0], [3, 3], [3, 3], [0, 0]])
    same = tf.nn.max_pool2d(convolved, 3, 2, "SAME")
    padded = tf.nn.max_pool2d(convolved, 3, 2, [[0, 0], [1, 1], [1, 1], [0, 0]])
    alike = same.shape == padded.shape and bool(tf.reduce_all(same == padded))
    facts = {"encoder": "resnet", "resnet_depth": 50, "width_multiplier": 1, "sk_ratio": 0.0}
    try:
        has_twin = torch_names.twin({**facts, "se_ratio": 0.0, "image_size": size}) == "resnet50"
    except UserError:
        has_twin = False
    assert has_twin == alike


def test_names_and_axes(one_block):
    """Names as in torchvision and timm; kernels [out, in, height, width]."""
    model, _ = random_model(BASE.replace(se_ratio=0.25))
    tensors = torch_names.weights(model.encoder)
    norm = {"weight", "bias", "running_mean", "running_var"}
    block = {f"conv{n}.weight" for n in (1, 2, 3)} | {f"bn{n}.{p}" for n in (1, 2, 3) for p in norm}
    block |= {"downsample.0.weight", *(f"downsample.1.{part}" for part in norm)}
    block |= {f"se.{name}.{part}" for name in ("fc1", "fc2") for part in ("weight", "bias")}
    assert {name.removeprefix("layer1.0.") for name in tensors if "layer1.0." in name} == block
    assert {name for name in tensors if "layer" not in name} == {
        "conv1.weight",
        *(f"bn1.{part}" for part in norm),
    }
    kernel = model.encoder.stem.body[0].conv2d.kernel.numpy()
    assert tensors["conv1.weight"][5, 2, 3, 1] == kernel[3, 1, 2, 5]
    assert tensors["layer1.0.conv2.weight"].shape == (64, 64, 3, 3)
    bit, _ = random_model(BASE.replace(encoder="bit", input_range="caffe"))
    tensors = torch_names.weights(bit.encoder)
    unit = {f"norm{n}.{part}" for n in (1, 2, 3) for part in ("weight", "bias")}
    unit |= {f"conv{n}.weight" for n in (1, 2, 3)} | {"downsample.conv.weight"}
    prefix = "stages.0.blocks.0."
    assert {name.removeprefix(prefix) for name in tensors if name.startswith(prefix)} == unit
    outside_stages = {name for name in tensors if not name.startswith("stages")}
    assert outside_stages == {"stem.conv.weight", "norm.weight", "norm.bias"}
    kernel = bit.encoder.stem.conv.kernel.numpy()  # of BGR: PyTorch's sees RGB
    assert tensors["stem.conv.weight"][5, 0, 3, 1] == kernel[3, 1, 2, 5]


@pytest.mark.parametrize("input_range", ["unit", "symmetric", "caffe"])
def test_mean_and_deviation_are_the_input_range(input_range):
    from simclr_med.models.input_range import to_range

    images = np.random.default_rng(0).random((2, 4, 4, 3)).astype(np.float32)
    expected = to_range(tf.constant(images), input_range).numpy()
    about = torch_names.NORMALIZATION[input_range]
    normalised = (images - about["mean"]) / about["std"]
    normalised = normalised[..., ::-1] if input_range == "caffe" else normalised
    np.testing.assert_allclose(normalised, expected, atol=1e-4 * np.abs(expected).max())


def test_the_difference_is_that_of_the_worst_image():
    expected = np.float32([[1, -2], [100, 0], [0, 0]])
    actual = expected + np.float32([[0, 0.02], [0.5, 0], [0, 0]])
    assert abs(torch_file.largest_difference(expected, actual) - 0.01) < 1e-6
    actual[2, 0] = 1e-9
    assert torch_file.largest_difference(expected, actual) == np.inf
    actual[0, 0] = np.nan
    assert np.isnan(torch_file.largest_difference(expected, actual))


def test_pictures_are_of_the_range_and_differ():
    images = torch_file.pictures(40)
    assert images.shape == (4, 40, 40, 3) and images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1 and images.std(axis=(1, 2, 3)).min() > 0.01
    assert np.array_equal(images, torch_file.pictures(40))  # a refusal can be repeated


def test_without_its_packages_it_is_an_error_message(monkeypatch):
    monkeypatch.setattr(torch_file.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"torch and timm and safetensors.*\[torch\]'"):
        command.formats("saved_model,torch")
    assert command.formats("saved_model") == ["saved_model"]


@needs_torch
@pytest.mark.slow
@pytest.mark.one_stack
def test_what_pytorch_says_is_an_error_message(tmp_path):
    """Weights that do not fit by name: nothing is taken over in part."""
    from safetensors.numpy import save_file

    path = str(tmp_path / "weights.safetensors")
    save_file({"conv1.weight": np.zeros([64, 3, 7, 7], np.float32)}, path)
    with pytest.raises(UserError, match="could not run timm's resnet50") as error:
        torch_file._of_torch("resnet50", 0, path, np.zeros([1, 65, 65, 3]))
    assert "\n" not in str(error.value)


def test_the_card_says_which_sizes_are_right():
    facts = {"class_names": [], "several_labels": None, "antialias": True, "image_size": 225}
    for encoder, words in (
        ("resnet", "4k + 1 and 4k + 2"),
        ("bit", "give TensorFlow's features too"),
    ):
        card = model_card_loading.snippets(
            {**facts, "encoder": encoder, "embedding_size": 2048}, ["model.safetensors"]
        )
        assert words in card and "torch.zeros([2, 3, 225, 225])" in card
