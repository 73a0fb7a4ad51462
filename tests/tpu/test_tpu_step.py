"""The real training step for eight TPU cores: what is in it, and that the TPUs' compiler takes it.

Nothing here needs a TPU. What compiles is skipped without requirements-tpu-aot.txt.
"""

import importlib.util
import json
import pathlib
import re
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from step_program import Trainer, draw, make_program
from tpu_replicas import XlaReplicas

from simclr_med.keras_api import keras

BENCHMARKS = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"
REPLICAS, REPLICA_BATCH, SIZE = 8, 2, 32
# What TPUs have no kernel for, or would leave the device for at every step.
FORBIDDEN = re.compile(
    r"SampleDistortedBoundingBox|ResizeBicubic|CropAndResize|Decode\w*(Jpeg|Png|Image)|"
    r"ImageProjectiveTransform|Shuffle|^Print|StringFormat|Summary|PyFunc|^Host|^Infeed|^Outfeed"
)
needs_libtpu = pytest.mark.skipif(
    not all(map(importlib.util.find_spec, ("jax", "libtpu"))),
    reason="no jax or no libtpu: pip install -r requirements-tpu-aot.txt (Python 3.12 or later)",
)


@pytest.fixture(scope="module", autouse=True)
def precision():
    """Gives the process its precision back, which `Trainer` sets."""
    before = keras.mixed_precision.global_policy()
    yield
    keras.mixed_precision.set_global_policy(before)


@pytest.fixture(scope="module")
def trainer():
    """Returns the step of one of eight replicas, all augmentations on."""
    options = dict(bfloat16=True, augment=True, rotation=45.0)
    return Trainer(18, SIZE, REPLICA_BATCH, **options, strategy=XlaReplicas(REPLICAS))


@pytest.fixture(scope="module")
def program(trainer, tmp_path_factory):
    """Returns the file of that step, lowered."""
    path = tmp_path_factory.mktemp("tpu") / "step.npz"
    make_program(str(path), trainer, {})
    return path


def forbidden(function: tf.types.experimental.ConcreteFunction) -> set[str]:
    """Returns the forbidden ops of a function and of all that it calls."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    return {node.op for node in nodes if FORBIDDEN.search(node.op)}


def compile_for(path, topology: str) -> dict:
    command = [sys.executable, str(BENCHMARKS / "tpu_compile.py"), str(path), topology]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
    print(done.stdout)
    return json.loads(done.stdout.splitlines()[-1])


def all_variables(trainer) -> list[tf.Variable]:
    """Returns what a step may change, in an order that any two trainers of a model share."""
    optimizer = trainer.optimizer
    return [*trainer.model.variables, *optimizer.variables, optimizer.learning_rate]


def test_no_op_of_the_step_is_one_that_tpus_lack(trainer):
    assert not forbidden(trainer.graph)


def test_such_an_op_is_found_in_a_function_that_is_called(tmp_path):
    """Of what the step may take in by a mistake: a print within a loop, a summary, Python, a crop."""

    @tf.function
    def step(x):
        tf.while_loop(lambda i: i < 3, lambda i: (tf.print(i), i + 1)[1:], [x])
        tf.py_function(lambda: 0, [], tf.int32)
        tf.summary.scalar("x", 1.0, step=0)
        return tf.image.crop_and_resize(tf.zeros([1, 8, 8, 3]), [[0.0, 0, 1, 1]], [0], [4, 4])

    with tf.summary.create_file_writer(str(tmp_path)).as_default():
        ops = forbidden(step.get_concrete_function(tf.TensorSpec([], tf.int32)))
    assert ops >= {"PrintV2", "StringFormat", "EagerPyFunc", "WriteSummary", "CropAndResize"}


def test_all_that_replicas_share_is_summed_over_them(trainer):
    """Gradients; of each BatchNorm the sums with their count, and the squares; views and, for loss and
    count of negatives, patients."""
    ops = [op for op in trainer.graph.graph.get_operations() if op.type == "XlaAllReduce"]
    gradients = len(trainer.model.trainable_variables)
    norms = sum("moving_mean" in v.name for v in trainer.model.variables)
    forward, backward = 2 * norms + 4, 2 * norms + 2  # nothing flows back to counts and patients
    assert len(ops) == gradients + forward + backward
    summed = {tuple(tf.make_ndarray(op.inputs[1].op.get_attr("value")).ravel()) for op in ops}
    assert summed == {tuple(range(REPLICAS))}


@needs_libtpu
@pytest.mark.parametrize("topology", ["v3:2x2", "v2:2x2", "v4:2x2x1", "v5e:2x4", "v5p:2x2x2"])
def test_compiler_takes_the_step(trainer, program, topology):
    report = compile_for(program, topology)
    assert report["fits"] and report["cores"] == REPLICAS
    assert report["all_reduces"] > 0
    weights = sum(np.prod(v.shape) * v.dtype.size for v in trainer.variables)
    assert weights < report["peak_bytes"] < 8 * weights
    assert report["flops"] > 3 * 2 * 5e7  # three passes over the convolutions of two views


@needs_libtpu
def test_compiler_says_that_a_program_is_too_large(tmp_path):
    """A matrix of 9.5 GiB times itself, on a core of 16 GB."""

    @tf.function(jit_compile=True)
    def square(x):
        return tf.matmul(x, x)

    lower = square.experimental_get_compiler_ir(tf.TensorSpec([50_688, 50_688]))
    hlo = np.frombuffer(lower(stage="hlo_serialized"), np.uint8)
    np.savez(tmp_path / "square.npz", hlo=hlo, specification="{}")
    report = compile_for(tmp_path / "square.npz", "v5e:1x1")
    assert not report["fits"]
    assert report["peak_bytes"] > report["hbm_bytes"] > 15 * 2**30


@needs_libtpu
def test_program_of_four_replicas_is_the_step_of_one_on_all_images(tmp_path):
    """The lowered program runs under JAX on four virtual CPUs, TensorFlow's step on one."""
    replicas = 4
    path, results = tmp_path / "step.npz", tmp_path / "found.npz"
    options = dict(depth=18, size=SIZE, bfloat16=False, augment=True)
    trainer = Trainer(batch=REPLICA_BATCH, strategy=XlaReplicas(replicas), **options)
    make_program(str(path), trainer, {})
    command = [sys.executable, str(BENCHMARKS / "tpu_virtual.py"), str(path), str(results)]
    subprocess.run([*command, str(replicas)], check=True)
    results = np.load(results)

    alone = Trainer(batch=replicas * REPLICA_BATCH, **options)
    same = dict(zip(map(id, all_variables(trainer)), all_variables(alone)))
    before = [draw(argument, i) for i, argument in enumerate(trainer.arguments)]
    variables = [None, None] + [same[id(variable)] for variable in trainer.variables]
    for variable, value in zip(variables[2:], before[2:]):
        variable.assign(value)
    loss = float(alone.step(*(draw(argument, i) for i, argument in enumerate(alone.arguments[:2]))))
    np.testing.assert_allclose(np.mean(results["losses"]), loss, rtol=1e-5)
    squared_error = squared_update = 0.0
    for i in map(int, set(results) - {"losses"}):
        update = variables[i].numpy().astype(np.float64) - before[i]
        squared_error += np.sum((results[str(i)] - before[i] - update) ** 2)
        squared_update += np.sum(update**2)
    print(f"updates of weights differ by {np.sqrt(squared_error / squared_update):.1e}")
    assert np.sqrt(squared_error / squared_update) < 1e-3
