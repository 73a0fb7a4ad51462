"""encoder_keras3.keras: opened by Keras 3, it gives the features of the run's encoder."""

import importlib.metadata
import json
import subprocess
import sys
import zipfile

import numpy as np
import pytest
import tensorflow as tf

from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.export import keras3_file, network

ENCODERS = {
    "resnet": {},
    "se": {"se_ratio": 0.25},
    "bit": {"encoder": "bit", "resnet_depth": 50},
    "keras_resnet": {"encoder": "keras_resnet", "resnet_depth": 50},
}
_SCRIPT = """
import sys, keras, numpy as np
assert keras.__version__.startswith("3.")
stored = np.load(sys.argv[1])
for name in stored:
    if name != "images":
        model = keras.models.load_model(f"{sys.argv[2]}/{name}/encoder_keras3.keras")
        assert {type(layer).__module__.split(".")[0] for layer in model.layers} == {"keras"}
        features = np.asarray(model(stored["images"]))
        print(name, np.abs(features - stored[name]).max() / np.abs(stored[name]).max())
"""


def keras3():
    try:
        return importlib.metadata.version("keras").startswith("3.")
    except importlib.metadata.PackageNotFoundError:
        return False


@pytest.fixture
def written(tmp_path, one_block):
    """Encoders with random statistics, written; and their features, in stored.npz."""
    rng = np.random.default_rng(0)
    images = rng.random((2, 70, 61, 3)).astype(np.float32)  # any size
    features = {"images": images}
    for name, options in ENCODERS.items():
        config = Config().replace(resnet_depth=18, image_size=64).replace(**options)
        model = network.portable(config, 0)
        for variable in model.variables:
            if variable.shape.rank == 1:
                variable.assign(variable + rng.uniform(0.1, 0.5, variable.shape))
        (tmp_path / name).mkdir()
        keras3_file.write(model, network.facts(config, model, (), 0, {}), str(tmp_path / name))
        features[name] = model.encoder(tf.constant(images), training=False).numpy()
    np.savez(tmp_path / "stored.npz", **features)
    return tmp_path


def test_only_stock_layers_are_in_it(written):
    for name in ENCODERS:
        with zipfile.ZipFile(written / name / "encoder_keras3.keras") as file:
            config = json.loads(file.read("config.json"))
        layers = config["config"]["layers"]
        assert {layer["module"] for layer in layers} == {"keras.layers"} and len(layers) > 5


@pytest.mark.skipif(not keras3(), reason="Keras 3 is not here: TensorFlow 2.15 has Keras 2")
def test_keras_3_gives_the_same_features(written):
    done = subprocess.run(
        [sys.executable, "-c", _SCRIPT, str(written / "stored.npz"), str(written)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    differences = dict(line.split() for line in done.stdout.splitlines())
    assert set(differences) == set(ENCODERS)
    assert all(float(difference) < 1e-5 for difference in differences.values()), differences


def test_selective_kernels_are_refused(tmp_path):
    with pytest.raises(UserError, match="selective kernels"):
        keras3_file.write(None, {"sk_ratio": 0.0625}, str(tmp_path))
    assert not list(tmp_path.iterdir())
