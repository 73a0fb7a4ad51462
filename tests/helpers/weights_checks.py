"""What the tests of weights share: small models, random values, what two models have in common."""

import numpy as np

from simclr_med.checkpoints.weights.object_graph import names_of_variables
from simclr_med.config import ModelConfig
from simclr_med.models import Model


def make(seed=0, image_size=64, num_classes=3, with_projection=True, **options):
    """Returns a built model with random values, BatchNorm's too, so that no two are exchangeable."""
    config = ModelConfig(**{"proj_out_dim": 16, "num_proj_layers": 2, **options})
    model = Model(
        config, image_size=image_size, num_classes=num_classes, with_projection=with_projection
    )
    model.build_weights(image_size)
    rng = np.random.default_rng(seed)
    for variable in model.variables:
        variable.assign(rng.uniform(0.2, 1.0, variable.shape).astype("float32"))
    return model


def values(model):
    """Returns {name: value} of a model's variables."""
    return {name: variable.numpy() for name, variable in names_of_variables(model).items()}


def differing(one, other):
    """Returns the parts of two models, of equal names, that differ: {'encoder', ...}."""
    a, b = values(one), values(other)
    assert a.keys() == b.keys()
    return {name.split("/")[0] for name in a if not np.array_equal(a[name], b[name])}
