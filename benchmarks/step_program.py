"""The training step as a program for XLA: written to a file here, run by gpu_step.py elsewhere.

A file (.npz) contains the step as an HLO module, whose protocol buffer XLA reads across versions (JAX
converts it to its own version of StableHLO), and a specification of its inputs and outputs in JSON. It
contains no weights: all who run it draw them with `draw`. Only `Trainer` and `make_program` need
TensorFlow.
"""

from __future__ import annotations

import json
import re
from unittest import mock

import numpy as np

LOSS = 0  # index of the loss among a program's outputs; the updated weights follow
VECTOR_SPREAD = 0.1  # of trained vectors: with BatchNorm's gammas at 0 most gradients would be 0


def draw(argument: dict, number: int) -> np.ndarray:
    """Returns the value of an argument of a program: its mean plus noise, random pixels, or a range.

    Args:
      argument: its entry in the specification, see `load`.
      number: index among the arguments; the seed.
    """
    rng = np.random.default_rng(number)
    shape, dtype = argument["shape"], argument["dtype"]
    if argument["kind"] == "pixels":
        return rng.integers(0, 256, shape, np.uint8)
    if argument["kind"] == "count":
        return np.arange(np.prod(shape)).reshape(shape).astype(dtype)
    noise = rng.standard_normal(shape, np.float32) if argument["std"] else 0.0
    return np.broadcast_to(argument["mean"] + argument["std"] * noise, shape).astype(dtype)


def load(path: str) -> tuple[bytes, dict]:
    """Returns (HLO module, specification) of a file.

    The specification: "arguments" (name, kind, shape, dtype, mean and std each), "updates" (pairs of
    an output and the argument that it replaces), "options" (depth, size, batch, bfloat16, augment).
    """
    with np.load(path) as stored:
        return stored["hlo"].tobytes(), json.loads(str(stored["specification"]))


class Trainer:
    """The training step of a new model, as TensorFlow runs it, with or without the augmentation.

    Args:
      depth: of the ResNet.
      size: px.
      batch: pairs per replica.
      bfloat16: mixed precision rather than float32; set for the whole process.
      augment: whether the augmentation on the device is part of the step.
      width: multiplier of the ResNet.
      rotation: as --rotation_degrees.
      strategy: None for the default one, of one replica.

    Attributes:
      step: (images uint8 [b, 2, H, W, 3], patient int32 [b]) to the NT-Xent loss, after an update.
      compiled: the same, for XLA on an accelerator.
      graph: `compiled`, traced.
      model, optimizer: those that it trains and trains with.
      variables: read or changed by the step, in the order of the program's arguments.
      arguments: of the program, inputs before variables; see `load`.
    """

    def __init__(
        self,
        depth: int,
        size: int,
        batch: int,
        bfloat16: bool,
        augment: bool,
        *,
        width: int = 1,
        rotation: float = 0.0,
        strategy=None,
    ):
        import tensorflow as tf

        from simclr_med import config as c
        from simclr_med.build import make_model
        from simclr_med.keras_api import keras
        from simclr_med.optim import make_optimizer
        from simclr_med.training.methods import METHODS
        from simclr_med.training.step import Trained, make_one_step

        keras.mixed_precision.set_global_policy("mixed_bfloat16" if bfloat16 else "float32")
        config = configured(c, depth, size, bfloat16, width=width, rotation=rotation)
        strategy = strategy or tf.distribute.get_strategy()
        with strategy.scope():
            self.model = model = make_model(config, 0)
            optimizer = make_optimizer("lars", 0.1, momentum=0.9, weight_decay=1e-6, model=model)
            self.optimizer = optimizer
            optimizer.build(model.trainable_variables)
        one_step = make_one_step(
            config,
            METHODS["simclr"],
            Trained(model, optimizer),
            device_ops(config) if augment else {},
            fixed_shapes=True,
        )

        def step(images, patient):
            return strategy.run(one_step, ({"images": images, "patient": patient},))[
                "contrast_loss"
            ]

        self.step = tf.function(step, autograph=False)
        self.compiled = tf.function(step, jit_compile=True, autograph=False)
        images, patient = [batch, 2, size, size, 3], [batch]
        self.signature = (tf.TensorSpec(images, tf.uint8), tf.TensorSpec(patient, tf.int32))
        with _for_accelerators():
            self.graph = self.compiled.get_concrete_function(*self.signature)
        variables = [*self.graph.graph.variables, *model.variables, *optimizer.variables]
        by_handle = {id(v.handle): v for v in variables}
        self.variables = [by_handle[id(handle)] for handle in self.graph.captured_inputs]
        trained = {v.ref() for v in model.trainable_variables}
        self.arguments = [
            {"name": "images", "kind": "pixels", "shape": images, "dtype": "uint8"},
            {"name": "patient", "kind": "count", "shape": patient, "dtype": "int32"},
            *(_specification(v, v.ref() in trained) for v in self.variables),
        ]


def configured(
    c,
    depth: int,
    size: int,
    bfloat16: bool,
    *,
    width: int = 1,
    rotation: float = 0.0,
    jit_compile: bool = False,
):
    """Returns the benchmark's `Config`; `c` is the module simclr_med.config.

    Not deterministic: PyTorch and JAX are not by default either, and TensorFlow has no deterministic
    gradient of max-pooling for XLA.
    """
    return c.Config(
        model=c.ModelConfig(resnet_depth=depth, width_multiplier=width, num_proj_layers=2),
        augment=c.AugmentConfig(image_size=size, rotation_degrees=rotation),
        device=c.DeviceConfig(
            mixed_precision=bfloat16, jit_compile=jit_compile, deterministic=False
        ),
    )


def device_ops(config) -> dict[str, tuple]:
    """Returns the recipe's augmentation on the device: flip, colour, blur."""
    from simclr_med import augment

    return augment.device_ops(
        color_jitter_strength=config.augment.color_jitter_strength,
        use_blur=config.augment.use_blur,
        grayscale_probability=config.augment.grayscale_probability,
        rotation_degrees=config.augment.rotation_degrees,
    )


def make_program(path: str, trainer: Trainer, options: dict) -> int:
    """Writes the trainer's step to a file and returns its size in bytes.

    Args:
      path: of the file, .npz.
      trainer: whose step is written.
      options: stored in the specification, see `load`.
    """
    with _for_accelerators():
        lower = trainer.compiled.experimental_get_compiler_ir(*trainer.signature)
    header = lower(stage="hlo").split("\n", 1)[0]  # lists which output replaces which argument
    updates = re.findall(r"\{(\d+)\}: \((\d+), \{\}, may-alias\)", header)
    specification = {
        "arguments": trainer.arguments,
        "updates": [(int(output), int(argument)) for output, argument in updates],
        "options": options,
    }
    hlo = np.frombuffer(lower(stage="hlo_serialized"), np.uint8)
    with open(path, "wb") as file:
        np.savez_compressed(file, hlo=hlo, specification=json.dumps(specification))
        return file.tell()


def _for_accelerators():
    """Returns a context in which simclr_med does not use its special cases for CPUs."""
    from simclr_med import distribution

    return mock.patch.object(distribution, "on_cpu", lambda: False)


def _specification(variable, trained: bool) -> dict:
    values = variable.numpy()
    mean, std = float(values.mean()), float(values.std())
    if trained and values.ndim == 1:
        std = VECTOR_SPREAD
    entry = {"name": variable.name, "kind": "weights", "mean": mean, "std": std}
    return {**entry, "shape": list(values.shape), "dtype": str(values.dtype)}
