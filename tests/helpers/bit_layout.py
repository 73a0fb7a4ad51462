"""Weights under the names that BiT publishes, of random values."""

import numpy as np

UNITS = (3, 4, 6, 3)


def public(units=UNITS, width=1, seed=0):
    """Returns {name in a BiT .npz: random value} of a BiT ResNet-50."""
    rng = np.random.default_rng(seed)
    arrays = {}

    def conv(name, size, inputs, outputs):
        kernel = rng.normal(0.1, 1, (size, size, inputs, outputs))
        arrays[f"resnet/{name}/standardized_conv2d/kernel"] = kernel.astype("float32")

    def norm(name, channels):
        for part, low in (("gamma", 0.5), ("beta", -0.5)):
            value = rng.uniform(low, low + 1, channels)
            arrays[f"resnet/{name}group_norm/{part}"] = value.astype("float32")

    conv("root_block", 7, 3, 64 * width)
    channels = 64 * width
    for b, number in enumerate(units, 1):
        filters = 32 * width * 2**b
        for u in range(1, number + 1):
            prefix = f"block{b}/unit{u:02d}"
            if u == 1:
                conv(f"{prefix}/a/proj", 1, channels, 4 * filters)
            norm(f"{prefix}/a/", channels)
            conv(f"{prefix}/a", 1, channels, filters)
            norm(f"{prefix}/b/", filters)
            conv(f"{prefix}/b", 3, filters, filters)
            norm(f"{prefix}/c/", filters)
            conv(f"{prefix}/c", 1, filters, 4 * filters)
            channels = 4 * filters
    norm("", channels)
    head = rng.normal(0, 1, (1, 1, channels, 21))
    arrays["resnet/head/conv2d/kernel"] = head.astype("float32")
    arrays["resnet/head/conv2d/bias"] = np.zeros(21, "float32")
    return arrays
