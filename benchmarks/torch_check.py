"""Checks torch_step.py: the same network, loss, gradients and LARS update as simclr_med's.

    python benchmarks/torch_check.py --torch_python PYTHON [--depth 18] [--size 64] [--batch 6]

Run it with the interpreter that has TensorFlow. simclr_med takes one step in float64 (the loss in
float32, as always) from random weights, including every BatchNorm's gamma, so that every parameter has a
gradient; the interpreter that --torch_python names takes the same step from the same weights. Also
compares PyTorch's loss with the formula written as loops, and its gradient with finite differences.
Prints the largest differences, relative to the largest entry of each tensor, and fails above TOLERANCE.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
TOLERANCE = 5e-6  # float32 rounding of the loss, propagated to gradients through 50 layers
CLASSES = 5


def write_tensorflow_step(options: argparse.Namespace, path: str) -> None:
    """Writes weights, views, labels, and loss, gradients and new weights of a step to an .npz file."""
    sys.path.insert(0, os.path.join(HERE, ".."))
    import tensorflow as tf

    from simclr_med.config import ModelConfig
    from simclr_med.keras_api import keras
    from simclr_med.losses import nt_xent, supervised
    from simclr_med.models import Model
    from simclr_med.optim import l2_penalty, make_optimizer

    keras.mixed_precision.set_global_policy("float64")
    keras.backend.set_floatx("float64")
    config = ModelConfig(resnet_depth=options.depth, num_proj_layers=2)
    model = Model(config, image_size=options.size, num_classes=CLASSES)
    draws = np.random.default_rng(0)
    views = draws.uniform(0, 1, [2 * options.batch, options.size, options.size, 3])
    model(tf.constant(views[:1]), training=False)  # creates the variables
    variables = model.trainable_variables
    for variable in variables:
        if variable.shape.rank == 1:
            variable.assign(draws.uniform(0.5, 1.5, variable.shape))
    optimizer = make_optimizer("lars", 0.1, momentum=0.9, weight_decay=1e-6, model=model)
    optimizer.build(variables)
    labels = np.arange(options.batch) % CLASSES
    stored = {f"before {i}": v.numpy() for i, v in enumerate(variables)}
    with tf.GradientTape() as tape:
        outputs = model(tf.constant(views), training=True)
        loss, _, _ = nt_xent(*tf.split(outputs["projection"], 2), temperature=0.1)
        head_loss, _ = supervised(tf.concat([labels, labels], 0), outputs["logits"])
        loss += head_loss + tf.cast(l2_penalty(model, "lars", 1e-6), tf.float32)
    gradients = tape.gradient(loss, variables)
    optimizer.apply_gradients(zip(gradients, variables))
    stored |= {f"gradient {i}": g.numpy() for i, g in enumerate(gradients)}
    stored |= {f"after {i}": v.numpy() for i, v in enumerate(variables)}
    np.savez(path, views=views, labels=labels, loss=loss.numpy(), **stored)


def compare(options: argparse.Namespace, path: str) -> None:
    """Compares PyTorch's step with the one stored at `path`; called where PyTorch is installed.

    Raises:
      AssertionError: a difference is above TOLERANCE, or the networks differ.
    """
    import torch
    from torch_step import Lars, Network, take_step

    stored = np.load(path)
    network = Network(options.depth, projection_layers=2, classes=CLASSES)
    network = network.double().to(memory_format=torch.channels_last)
    parameters = [p for p in network.parameters() if p.requires_grad]
    before = [stored[f"before {i}"] for i in range(len(parameters))]
    assert f"before {len(parameters)}" not in stored, "simclr_med's network has more variables"
    count = sum(p.numel() for p in parameters)
    assert count == sum(w.size for w in before), "the numbers of parameters differ"
    with torch.no_grad():
        for parameter, weights in zip(parameters, before):
            parameter.copy_(torch.from_numpy(to_torch(weights)))
    views = torch.from_numpy(stored["views"]).permute(0, 3, 1, 2)
    labels = torch.from_numpy(stored["labels"])
    loss = float(take_step(network, Lars(network), views, labels, bfloat16=False))

    differences = {"loss": abs(loss / float(stored["loss"]) - 1), "gradient": 0.0, "update": 0.0}
    for i, parameter in enumerate(parameters):
        gradient = to_torch(stored[f"gradient {i}"])
        differences["gradient"] = max(
            differences["gradient"], difference(parameter.grad.numpy(), gradient)
        )
        start = to_torch(before[i])
        expected_update = to_torch(stored[f"after {i}"]) - start
        update = difference(parameter.detach().numpy() - start, expected_update)
        differences["update"] = max(differences["update"], update)
    differences |= loss_alone()
    print(f"{count:,} parameters, as in simclr_med; loss {loss:.6f}; largest relative differences:")
    for name, value in differences.items():
        print(f"  {name:24} {value:.1e}")
    assert max(differences.values()) < TOLERANCE, f"more than {TOLERANCE}"


def loss_alone() -> dict[str, float]:
    """Compares PyTorch's NT-Xent with Eq. (1) as loops, and its gradient with finite differences."""
    import torch
    from torch_step import nt_xent

    z = np.random.default_rng(1).normal(size=[10, 4])
    b = len(z) // 2

    def by_hand(z):
        unit = z / np.linalg.norm(z, axis=1, keepdims=True)
        total = 0.0
        for i in range(2 * b):
            denominator = [np.exp(unit[i] @ unit[k] / 0.1) for k in range(2 * b) if k != i]
            partner = np.exp(unit[i] @ unit[(i + b) % (2 * b)] / 0.1)
            total -= np.log(partner / sum(denominator))
        return total / b

    leaf = torch.tensor(z, requires_grad=True)
    loss = nt_xent(leaf[:b], leaf[b:], 0.1)
    loss.backward()
    expected_gradient = np.zeros_like(z)
    for index in np.ndindex(*z.shape):
        step = np.zeros_like(z)
        step[index] = 1e-5
        expected_gradient[index] = (by_hand(z + step) - by_hand(z - step)) / 2e-5
    return {
        "loss, formula": abs(float(loss.detach()) / by_hand(z) - 1),
        "gradient, differences": difference(leaf.grad.numpy(), expected_gradient),
    }


def difference(actual: np.ndarray, expected: np.ndarray) -> float:
    """Returns the largest difference, relative to the largest expected entry."""
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def to_torch(weights: np.ndarray) -> np.ndarray:
    """Returns a kernel in PyTorch's order: [H, W, in, out] to [out, in, H, W], [in, out] to [out, in]."""
    if weights.ndim == 4:
        return weights.transpose(3, 2, 0, 1)
    return weights.T


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--torch_python", required=True, help="interpreter that has PyTorch")
    parser.add_argument("--depth", type=int, default=18)
    parser.add_argument("--size", type=int, default=64, help="px")
    parser.add_argument("--batch", type=int, default=6, help="pairs")
    parser.add_argument("--stored", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stored:
        compare(options, options.stored)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "step.npz")
        write_tensorflow_step(options, path)
        command = [options.torch_python, os.path.abspath(__file__), *sys.argv[1:]]
        subprocess.run([*command, f"--stored={path}"], check=True)


if __name__ == "__main__":
    main()
