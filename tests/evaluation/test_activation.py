"""Class activation maps: their mean and the head's bias are the logit; evidence is where it is put."""

import numpy as np
import pytest

from simclr_med.build import make_model
from simclr_med.config import Config
from simclr_med.evaluation import activation

TUNED = Config().replace(train_mode="finetune", resnet_depth=18, image_size=64)

pytestmark = pytest.mark.usefixtures("one_block")


@pytest.mark.parametrize("encoder", [{}, {"encoder": "bit", "resnet_depth": 50}])
def test_the_mean_of_a_map_is_the_logit(encoder):
    model = make_model(TUNED.replace(**encoder), 5)
    rng = np.random.default_rng(0)
    model.supervised_head.dense.bias.assign(rng.normal(size=5))
    images = rng.random((19, 64, 64, 3)).astype(np.float32)  # more than a batch
    classes = rng.integers(0, 5, 19)
    maps = activation.maps(model, images, classes)
    assert maps.ndim == 3 and maps.shape[1] > 1
    logits = model.classify(model(images, training=False)["features"]).numpy()
    bias = model.supervised_head.dense.bias.numpy()
    expected = logits[np.arange(19), classes] - bias[classes]
    np.testing.assert_allclose(maps.mean(axis=(1, 2)), expected, rtol=1e-3, atol=1e-4)


def test_a_change_on_the_right_shows_on_the_right():
    model = make_model(TUNED, 2)
    images = np.full((2, 64, 64, 3), 0.5, np.float32)
    images[1, 24:40, 48:] = np.random.default_rng(0).random((16, 16, 3))
    plain, changed = activation.maps(model, images, np.array([1, 1]))
    left, right = np.split(abs(changed - plain), 2, axis=1)
    assert right.sum() > 3 * left.sum()


def test_where_there_are_no_maps_it_says_why():
    assert activation.why_not("finetune", make_model(TUNED, 2)) == ""
    projection = make_model(TUNED.replace(ft_proj_selector=1), 2)
    assert "on layer 1 of the projection head" in activation.why_not("finetune", projection)
    assert "several networks" in activation.why_not("finetune", None)
    headless = make_model(Config().replace(resnet_depth=18, image_size=64), 0)
    assert "no supervised head" in activation.why_not("finetune", headless)
    assert "classifier on frozen features" in activation.why_not("pretrain", headless)
