"""--fine_tune_after_block: what is frozen stays as it is through real updates; what is not, moves."""

import numpy as np
import pytest
import tensorflow as tf

from helpers import encoders
from simclr_med.build import make_model
from simclr_med.checkpoints.weights.object_graph import names_of_variables
from simclr_med.config import Config
from simclr_med.optim import make_optimizer
from simclr_med.training.methods import METHODS
from simclr_med.training.step import Trained, make_one_step

SIZE, CASES, PLACES = 34, 4, 2  # above 32 px: the ordinary stem
FAMILIES = {
    "resnet18": dict(resnet_depth=18),
    "resnet18, SK": dict(resnet_depth=18, sk_ratio=0.0625),
    "resnet50, SK, SE": dict(resnet_depth=50, sk_ratio=0.0625, se_ratio=0.25),
    "resnet50, 32 px": dict(resnet_depth=50, image_size=32),
    "bit50": dict(encoder="bit", resnet_depth=50),
    "keras_resnet50": dict(encoder="keras_resnet", resnet_depth=50),
}


def batch_of(size):
    """A batch of cases of one and two images."""
    rng = np.random.default_rng(0)
    return {
        "images": tf.constant(rng.integers(0, 256, (CASES, PLACES, size, size, 3), np.uint8)),
        "label": tf.constant([0, 1, 2, 1]),
        "real": tf.constant(np.arange(PLACES) < np.array([1, 2, 2, 1])[:, np.newaxis]),
    }


def update(model, config):
    """Makes one update of a fine-tuning, by an optimizer that begins."""
    optim = config.optim
    optimizer = make_optimizer(
        optim.optimizer,
        optim.learning_rate,
        momentum=optim.momentum,
        weight_decay=optim.weight_decay,
        model=model,
    )
    optimizer.build(model.trainable_variables)
    trained = Trained(model, optimizer)
    one_step = make_one_step(config, METHODS["finetune"], trained, {}, fixed_shapes=False)
    one_step(batch_of(config.augment.image_size))


def is_frozen(name, after_block):
    """Whether the flag's help says that a variable is frozen, by its name alone."""
    if not name.startswith("encoder/"):
        return False
    parts = name.split("/")
    if parts[1] == "groups":
        return int(parts[2]) < after_block
    return after_block == 4 or parts[1] == "stem"


@pytest.mark.parametrize("family", FAMILIES)
def test_the_frozen_part_does_not_move(family, monkeypatch):
    """Neither by gradients nor by weight decay, nor do BatchNorm's statistics, whatever is frozen."""
    encoders.shorten(monkeypatch, (1, 1, 1, 1))
    config = Config().replace(
        train_mode="finetune",
        fine_tune_after_block=0,
        learning_rate=0.1,
        weight_decay=0.1,
        **{"image_size": SIZE, **FAMILIES[family]},
    )
    model = make_model(config, 3)
    variables = names_of_variables(model)
    for after_block in range(5):
        if after_block:
            model.encoder.freeze(after_block)  # as make_model does with the flag's value
        # Weights decay by the loss or by LARS itself.
        optimizer = "lars" if after_block % 2 else "momentum"
        before = {name: variable.numpy() for name, variable in variables.items()}
        update(model, config.replace(optimizer=optimizer))
        moved = {name for name, v in variables.items() if not np.array_equal(v, before[name])}
        frozen = {name for name in variables if is_frozen(name, after_block)}
        assert frozen and not moved & frozen, after_block
        kernels = {name for name, v in variables.items() if v.shape.rank > 1}
        statistics = {name for name in variables if "moving_" in name}
        assert (kernels | statistics) - frozen <= moved, after_block
        assert "supervised_head/dense/kernel" in moved
