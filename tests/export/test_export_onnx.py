"""model.onnx in onnxruntime gives what the model in memory gives, from the same 8-bit images."""

import importlib.util
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from helpers import encoders, tiny_runs
from simclr_med.augment.crop import evaluation_view
from simclr_med.commands.main import main
from simclr_med.errors import UserError
from simclr_med.export import model_card_loading, network, onnx_file

needs_onnx = pytest.mark.skipif(
    importlib.util.find_spec("tf2onnx") is None or importlib.util.find_spec("onnxruntime") is None,
    reason="tf2onnx or onnxruntime is not installed (the extra [onnx])",
)
ENCODERS = {
    "pretrained": tiny_runs.BASE.replace(ft_proj_selector=1),
    "tuned": tiny_runs.FINETUNE,
    "gated": tiny_runs.FINETUNE.replace(resnet_depth=50, sk_ratio=0.0625, se_ratio=0.25),
    "small": tiny_runs.FINETUNE.replace(image_size=20),
    "bit": tiny_runs.FINETUNE.replace(encoder="bit", resnet_depth=50),
    "keras": tiny_runs.FINETUNE.replace(encoder="keras_resnet", resnet_depth=50),
}


def photos(n, height, width):
    return np.random.default_rng(1).integers(0, 256, (n, height, width, 3)).astype(np.uint8)


@needs_onnx
@pytest.mark.parametrize(
    "name", ["tuned", *(pytest.param(n, marks=pytest.mark.slow) for n in ENCODERS if n != "tuned")]
)
def test_onnx_equals_the_model_in_memory(monkeypatch, tmp_path, name):
    import onnxruntime

    encoders.shorten(monkeypatch, (1, 1))  # the second group strides
    config = ENCODERS[name]
    classes = () if name == "pretrained" else ("a", "b", "c")
    model = network.portable(config, len(classes))
    rng = np.random.default_rng(0)
    for variable in model.variables:  # no scale of 0, no statistics of 0 and 1
        if variable.shape.rank == 1:
            variable.assign(variable + rng.uniform(0.1, 0.5, variable.shape))
    facts = network.facts(config, model, classes, 0, {})
    onnx_file.write(model, facts, str(tmp_path))
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"))
    names = [output.name for output in session.get_outputs()]
    for size in ((2, 61, 48), (1, 34, 20), (3, 200, 300)):
        images = photos(*size)
        pixels = evaluation_view(tf.constant(images), config.augment.image_size)
        expected = model(pixels, training=False)
        outputs = dict(zip(names, session.run(names, {"images": images})))
        for onnx_name, model_name in (("embeddings", "features"), ("logits", "logits")):
            if model_name in expected:
                scale = np.abs(expected[model_name]).max()
                assert scale > 1e-3
                np.testing.assert_allclose(
                    outputs[onnx_name], expected[model_name], atol=1e-5 * scale, rtol=0
                )
                if onnx_name == "logits":
                    probabilities = tf.nn.softmax(expected[model_name])
                    np.testing.assert_allclose(outputs["probabilities"], probabilities, atol=1e-5)
    assert names == ["embeddings", *(["logits", "probabilities"] if classes else [])]
    (images,) = session.get_inputs()
    assert images.shape == ["batch", "height", "width", 3]
    assert all(output.shape[0] == "batch" for output in session.get_outputs())
    metadata = session.get_modelmeta().custom_metadata_map
    assert {key: json.loads(value) for key, value in metadata.items()} == facts
    if name != "tuned":  # the model card has the same code for all
        return
    card = model_card_loading.snippets(facts, ["model.onnx"])
    (code,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=60)


def test_without_its_package_it_is_an_error_message(tmp_path, monkeypatch, capsys):
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr(onnx_file.importlib.util, "find_spec", lambda name: None)
    code = main(["run.py", "--mode=export", f"--model_dir={tmp_path}", "--export_formats=onnx"])
    assert code == 2 and "pip install 'PATH_TO_CLONE[onnx]'" in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["config.json"]


def test_a_model_beyond_onnx_s_2_gib_is_an_error_message(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_file, "check_installed", lambda: None)

    class Large:
        variables = [tf.TensorSpec([2**29], tf.float32)]  # R152x4 has more

    with pytest.raises(UserError, match=r"2.0 GiB.*less than 2 GiB"):
        onnx_file.write(Large(), {"image_size": 34}, str(tmp_path))
