"""One process of a strategy: trains and evaluates tiny models, and saves what came out.

Usage: python exactness_worker.py REPLICAS OUT.npz. With TF_CONFIG it is one of several workers, REPLICAS
is 1, and OUT is that worker's.

The step, the model, the optimiser and the input's distribution are the real ones; only the encoder
is one block. In "float32, smooth" its ReLU is a softplus: rounding may flip the slope of a ReLU near 0,
and one flipped pixel moves a gradient by 1e-3. Kept are, for each loss and precision, the loss and the
gradients of the first step, and weights, momenta and BatchNorm's statistics after five.
"""

import os
import signal
import sys

import numpy as np
import tensorflow as tf

from simclr_med import cluster, distribution, optim
from simclr_med.augment import device_ops
from simclr_med.build import make_model
from simclr_med.config import Config
from simclr_med.data import Bags
from simclr_med.errors import UserError
from simclr_med.evaluation import features
from simclr_med.keras_api import keras
from simclr_med.models import resnet
from simclr_med.optim import LARS
from simclr_med.training import workers
from simclr_med.training.methods import METHODS
from simclr_med.training.step import Trained, make_run_steps

LOSSES = ("NT-Xent", "masked multi-label", "supervised head")
PRECISIONS = ("float64", "float32, smooth")
CASES = [(loss, precision) for precision in PRECISIONS for loss in LOSSES]
RELU = tf.nn.relu
STEPS, B, SIZE, CLASSES = 5, 8, 8, 3
# Numbers of cases: their images leave every remainder of a batch of four.
EVALUATED = (1, 2, 3, 4, 8)
BASE = Config().replace(
    resnet_depth=18,
    image_size=SIZE,
    train_batch_size=B,
    proj_out_dim=8,
    num_proj_layers=2,
    weight_decay=1e-3,
    temperature=1.0,
    eval_batch_size=3,
    max_bag_size=2,
)


def cases_of(replicas: int) -> list[tuple[str, str]]:
    """Returns (loss, precision) of each training; replicas of one process, which are dear, do fewer."""
    return CASES if replicas == 1 else CASES[: len(LOSSES) + 1]


class RecordingLARS(LARS):
    """Keeps the gradients that it was last given, summed over replicas."""

    def build(self, var_list):
        super().build(var_list)
        if not hasattr(self, "seen"):
            self.seen = [self.add_variable_from_reference(v, "seen") for v in var_list]

    def update_step(self, gradient, variable):
        self.seen[self._index_dict[self._var_key(variable)]].assign(gradient)
        super().update_step(gradient, variable)


def batches(loss: str) -> dict[str, np.ndarray]:
    """Returns the global batches of all steps, [STEPS, B, ...]; labels are unevenly known."""
    rng = np.random.default_rng(LOSSES.index(loss))
    num_images = 2 if loss == "NT-Xent" else 3
    sizes = rng.integers(1 if num_images == 3 else num_images, num_images + 1, (STEPS, B, 1))
    labels = rng.integers(-1, CLASSES, (STEPS, B))
    labels[:, : B // 4] = -1  # of four replicas the first sees no label
    if loss == "masked multi-label":
        labels = rng.choice(np.array([0, 1, np.nan], np.float32), (STEPS, B, CLASSES))
        labels[:, : B // 4] = np.nan
    tints = rng.integers(0, 192, (STEPS, B, num_images, 1, 1, 3))  # or all images would look alike
    images = tints + rng.integers(0, 64, (STEPS, B, num_images, SIZE, SIZE, 3))
    return {
        "images": images.astype(np.uint8),
        "real": np.arange(num_images) < sizes,
        "label": labels,
        "patient": rng.integers(0, B, (STEPS, B)).astype(np.int32),  # some patients twice
    }


def train(strategy, loss: str, precision: str) -> dict[str, np.ndarray]:
    """Returns {what: values} of five steps."""
    floatx, _, smooth = precision.partition(", ")
    keras.backend.set_floatx(floatx)
    keras.mixed_precision.set_global_policy(floatx)
    tf.nn.relu = tf.nn.softplus if smooth else RELU
    config = BASE.replace(train_mode="pretrain" if loss == "NT-Xent" else "finetune")
    with strategy.scope():
        model = make_model(config, CLASSES)
        optimizer = optim.make_optimizer(
            "lars", 0.1, momentum=0.9, weight_decay=config.optim.weight_decay, model=model
        )
        optimizer.build(model.trainable_variables)
    ops = device_ops(color_jitter_strength=0.0, use_blur=False, grayscale_probability=0.0)
    run_steps = make_run_steps(
        config, METHODS[config.method], strategy, Trained(model, optimizer), ops
    )

    def part(index, count):
        own = slice(index * B // count, (index + 1) * B // count)
        values = {name: value[:, own] for name, value in batches(loss).items()}
        return tf.data.Dataset.from_tensor_slices(values).repeat()

    iterator = iter(distribution.distribute_parts(part, strategy))
    first = run_steps(iterator, tf.constant(1))
    numbers = {"loss": first["total_loss"].numpy()}
    numbers |= {f"gradient {i}": v.numpy() for i, v in enumerate(optimizer.seen)}
    run_steps(iterator, tf.constant(STEPS - 1))
    numbers |= {f"weights {i}": v.numpy() for i, v in enumerate(model.trainable_variables)}
    numbers |= {f"momenta {i}": v.numpy() for i, v in enumerate(optimizer.momentums)}
    numbers |= {f"BatchNorm {i}": v.numpy() for i, v in enumerate(model.non_trainable_variables)}
    numbers["summed types"] = summed_types(
        run_steps.get_concrete_function(iterator, tf.constant(1))
    )
    return numbers


def summed_types(function) -> list[str]:
    """Returns the types of all tensors that the function sums over workers."""
    graph = function.graph.as_graph_def()
    nodes = [*graph.node, *(node for f in graph.library.function for node in f.node_def)]
    sums = [node for node in nodes if node.op.startswith("CollectiveReduce")]
    return sorted({tf.as_dtype(node.attr["T"].type).name for node in sums})


def disagreement(strategy, index: int) -> str:
    """Returns what is said where the workers' flags do not match."""
    try:
        workers.check_same(strategy, {"--one": 1, "--checkpoint_steps": 5 + index})
    except UserError as error:
        return str(error)
    return ""


def evaluate(strategy, num_cases: int) -> dict[str, np.ndarray]:
    """Returns the features of cases and of images, where a feature is the image's colour."""

    def images(i):
        return [
            tf.io.encode_png(tf.fill([4, 4, 3], tf.cast(k, tf.uint8))) for k in (3 * i, 3 * i + 1)
        ]

    def bag(i):
        return {"images": tf.stack(images(i))[: 1 + tf.cast(i % 2, tf.int32)], "bag_id": str(0)}

    dataset = tf.data.Dataset.range(num_cases).map(bag)
    bags = Bags(lambda: dataset, num_cases, num_cases + num_cases // 2, ())

    def colour(images, training):
        del training
        return {"features": tf.reduce_mean(images, [1, 2]) * 255.0}

    each, case, image = features.image_features(BASE, strategy, colour, bags)
    of_cases = features.case_features(BASE, strategy, {"": colour}, bags)[""]
    return {"each": each, "case": case, "image": image, "of cases": of_cases}


def main(replicas: int, out: str) -> None:
    resnet.BLOCKS_PER_GROUP[18] = (1,)
    setattr(optim, "LARS", RecordingLARS)  # noqa: B010
    workers = cluster.find(1)
    heard: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    strategy = distribution.make_strategy(cpu_replicas=replicas, cluster=workers)
    os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    numbers = {
        f"{loss}/{precision}/{name}": value
        for loss, precision in cases_of(replicas)
        for name, value in train(strategy, loss, precision).items()
    }
    keras.mixed_precision.set_global_policy("float32")
    if workers is None or workers.is_chief:  # which then works alone
        alone = strategy if workers is None else distribution.local_strategy()
        for n in EVALUATED:
            numbers |= {f"evaluated {n}/{k}": v for k, v in evaluate(alone, n).items()}
    numbers["heard"] = np.array(heard)
    if workers:
        numbers["disagreement"] = np.array(disagreement(strategy, workers.index))
    np.savez(out, **numbers)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
