"""The gradients of one step, as the training step finds them, and the slow and obvious way.

Run as a script, in a process of its own, on several replicas: python grad_cache_steps.py R OUT.npz
"""

import sys

import numpy as np
import tensorflow as tf

from simclr_med import distribution
from simclr_med.augment import augment_views, device_ops, fold_in
from simclr_med.build import make_model
from simclr_med.config import Config
from simclr_med.keras_api import keras
from simclr_med.losses import supervised
from simclr_med.models import mean_over_cases, resnet
from simclr_med.optim import l2_penalty
from simclr_med.training.methods import METHODS
from simclr_med.training.step import Trained, make_one_step

B, SIZE, CLASSES, SEED = 8, 16, 3, 5
CONFIG = Config().replace(
    resnet_depth=18,
    image_size=SIZE,
    train_batch_size=B,
    proj_out_dim=6,
    weight_decay=1e-3,
    temperature=0.5,
    seed=SEED,
    rotation_degrees=30.0,
)
CLASS_WEIGHTS = np.array([0.5, 1.0, 3.0], np.float32)


class Noted:
    """An optimiser that only notes the gradients, summed over replicas."""

    def __init__(self):
        self.iterations = tf.constant(3)
        self.gradients = None

    def apply_gradients(self, pairs):
        self.gradients = [distribution.sum_over_replicas(g) for g, _ in pairs]


def batch_of(config):
    """A global batch; its labels, patients and images are unevenly spread."""
    rng = np.random.default_rng(0)
    num_views = 3 if config.method == "finetune" else 2
    batch = {
        "images": rng.integers(0, 256, (B, num_views, SIZE, SIZE, 3), np.uint8),
        "label": np.array([0, -1, -1, 2, 2, 1, -1, -1]),
        "patient": np.array([0, 1, 2, 0, 4, 5, 1, 7], np.int32),
    }
    if config.method == "finetune":
        batch["real"] = np.arange(3) < np.array([1, 3, 2, 1, 1, 1, 3, 2])[:, np.newaxis]
    return batch


def ops_of(config):
    return device_ops(
        color_jitter_strength=1.0, use_blur=True, rotation_degrees=config.augment.rotation_degrees
    )


def make_trained(config):
    """A model whose scales and statistics are not the initial ones, and its Trained."""
    resnet.BLOCKS_PER_GROUP[18] = (1,)
    model, rng = make_model(config, CLASSES), np.random.default_rng(1)
    for variable in model.trainable_variables:
        if variable.shape.rank == 1:
            variable.assign(rng.normal(1.0, 0.3, variable.shape))
    weights = CLASS_WEIGHTS if config.method == "finetune" else None
    return Trained(model, Noted(), weights)


def in_chunks(config, strategy, *, fixed_shapes=False, compiled=False):
    """(metrics, gradients, moving statistics) of the training step with --micro_batch."""
    with strategy.scope():
        trained = make_trained(config)
    around = not distribution.can_sum_in_loops(strategy)
    one_step = make_one_step(
        config,
        METHODS[config.method],
        trained,
        ops_of(config),
        fixed_shapes=fixed_shapes,
        **({"run": strategy.run} if around else {}),
    )

    def with_gradients(batch):
        metrics = one_step(batch)
        return metrics, trained.optimizer.gradients

    @tf.function(autograph=False, jit_compile=compiled)
    def step(batch):
        return with_gradients(batch) if around else strategy.run(with_gradients, (batch,))

    batch, b = batch_of(config), B // strategy.num_replicas_in_sync

    def local(context):
        start = context.replica_id_in_sync_group * b
        return {name: tf.constant(value[start : start + b]) for name, value in batch.items()}

    metrics, gradients = step(strategy.experimental_distribute_values_from_function(local))
    mean = tf.distribute.ReduceOp.MEAN
    return _numbers(
        {name: strategy.reduce(mean, value, axis=None) for name, value in metrics.items()},
        [distribution.first_replica(strategy, g) for g in gradients],
        trained.model,
    )


def slowly(config, chunks, *, padded=False):
    """The same by one tape over the forward passes of all chunks, which are lists of examples.

    Augmented is the whole batch at once, as a step without chunks does it.
    """
    trained = make_trained(config)
    model, batch = trained.model, batch_of(config)
    num_views = batch["images"].shape[1]
    images = batch["images"]
    if padded:  # an empty place shows the case's images again
        counts = batch["real"].sum(1)
        images = np.stack([row[np.arange(num_views) % n] for row, n in zip(images, counts)])

    # As in a step: in a function, of an unknown step. Otherwise the CPU rounds otherwise.
    @tf.function(autograph=False)
    def augmented():
        seed = fold_in(tf.constant([SEED, 1]), trained.optimizer.iterations)
        return augment_views(tf.constant(images), ops_of(config), seed)

    views = augmented().numpy().reshape(num_views, B, SIZE, SIZE, 3)

    @tf.function(autograph=False)
    def step():
        rows = {}  # of each output, by view and example
        with tf.GradientTape() as tape:
            for chunk in chunks:
                _encode(config, model, views, batch, chunk, rows, padded)
            outputs = {
                name: tf.stack([by_position[key] for key in sorted(by_position)])
                for name, by_position in rows.items()
            }
            loss, metrics = METHODS[config.method].loss(
                outputs,
                {name: tf.constant(value) for name, value in batch.items()},
                temperature=config.train.temperature,
                hidden_norm=True,
                class_weights=trained.class_weights,
            )
            if config.method != "finetune":
                labels = tf.constant(np.tile(batch["label"], 2))
                head, hits = supervised(labels, outputs["logits"])
                loss += head
                metrics |= {"supervised_loss": head, "supervised_acc": hits}
            penalty = l2_penalty(model, config.optim.optimizer, config.optim.weight_decay)
            loss += penalty
        metrics |= {"total_loss": loss, "weight_decay": penalty}
        return metrics, tape.gradient(loss, model.trainable_variables)

    return _numbers(*step(), model)


def _encode(config, model, views, batch, chunk, rows, padded):
    """Puts the rows of a chunk's outputs where they belong."""
    if config.method != "finetune":
        outputs = model(np.concatenate([views[0, chunk], views[1, chunk]]), training=True)
        for name in ("projection", "logits"):
            for row in range(2 * len(chunk)):
                key = row // len(chunk), chunk[row % len(chunk)]
                rows.setdefault(name, {})[key] = outputs[name][row]
        return
    valid = batch["real"]
    seen = [(v, c) for v in range(len(views)) for c in chunk if padded or valid[c, v]]
    images = np.stack([views[key] for key in seen])
    counted = [chunk.index(case) if valid[case, v] else -1 for v, case in seen]
    stages = model.projection_head(model.encoder(images, training=True), training=True)
    features = tf.cast(stages[config.model.ft_proj_selector], tf.float32)
    means = mean_over_cases(features, tf.constant(counted), len(chunk))
    logits = model.supervised_head(means)
    for row, case in enumerate(chunk):
        rows.setdefault("logits", {})[case] = logits[row]


def _numbers(metrics, gradients, model):
    numbers = {f"metric {name}": value.numpy() for name, value in metrics.items()}
    for variable, gradient in zip(model.trainable_variables, gradients):
        numbers[f"gradient {len(numbers)} {variable.shape}"] = gradient.numpy()
    for variable in model.non_trainable_variables:
        numbers[f"statistic {len(numbers)}"] = variable.numpy()
    return numbers


if __name__ == "__main__":
    keras.backend.set_floatx("float64")
    replicas = int(sys.argv[1])
    numbers = in_chunks(
        CONFIG.replace(micro_batch=2), distribution.make_strategy(cpu_replicas=replicas)
    )
    np.savez(sys.argv[2], **numbers)
