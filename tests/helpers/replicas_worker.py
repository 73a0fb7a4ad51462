"""Run in a process of its own by test_replicas.py: one number of CPU replicas, one .npz of results.

Usage: python replicas_worker.py REPLICAS OUT.npz [contrastive_loss_mirrored2.npz]
With the third argument, computes the reference's two-replica cases instead.
"""

import sys

import numpy as np
import tensorflow as tf

from simclr_med import distribution, losses
from simclr_med.augment import augment_views, device_ops
from simclr_med.keras_api import keras
from simclr_med.models import mean_over_cases
from simclr_med.models.heads import ProjectionHead
from simclr_med.models.layers import BatchNormRelu, Conv, NormSpec
from simclr_med.models.remat import remat
from simclr_med.optim import LARS
from simclr_med.training.step import case_of_image

B, SIZE = 8, 6
rng = np.random.default_rng(0)
VIEWS = rng.uniform(size=(2, B, SIZE, SIZE, 3)).astype(np.float32)
LABELS = np.array([0, -1, -1, -1, 2, 1, 0, -1])  # unevenly spread over the replicas
GROUPS = np.array([0, 1, 2, 0, 4, 5, 1, 7], np.int32)
LOGITS = rng.normal(size=(B, 3)).astype(np.float32)
PROJECTIONS = rng.normal(size=(2, B, 5)).astype(np.float32)  # for the loss alone
CASES = rng.integers(0, 256, (B, 3, SIZE, SIZE, 3), np.uint8)
REAL = np.arange(3) < np.array([1, 3, 2, 1, 1, 1, 3, 2])[:, np.newaxis]  # uneven over replicas
CLASS_WEIGHTS = np.array([0.5, 1.0, 3.0], np.float32)


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = Conv(4, 3), BatchNormRelu(NormSpec())
        self.head = ProjectionHead("nonlinear", 4, 5, 2, NormSpec())

    def call(self, x, training):
        def block(x):
            return self.norm(self.conv(x), training=training)

        x = remat(block, x) if training else block(x)
        return self.head(tf.reduce_mean(x**2, [1, 2]), training=training)[-1]


class CaseNet(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = Conv(4, 3), BatchNormRelu(NormSpec())
        self.dense = keras.layers.Dense(3)

    def call(self, x, training, case_of_image, num_cases):
        x = tf.reduce_mean(self.norm(self.conv(x), training=training) ** 2, [1, 2])
        return self.dense(mean_over_cases(x, case_of_image, num_cases))


def case_step(net):
    """Returns a function of a local batch: the loss of whole cases, and its summed gradients."""

    def step(batch):
        valid = batch["real"]
        replica, replicas = distribution.replica_id(), distribution.num_replicas()
        images = augment_views(
            batch["cases"],
            device_ops(color_jitter_strength=0.5, use_blur=False),
            tf.constant([3, 4]),
            replica=replica,
            num_replicas=replicas,
            valid=valid,
        )
        with tf.GradientTape() as tape:
            logits = net(tf.cast(images, tf.float64), training=True, **case_of_image(valid, valid))
            loss, _ = losses.masked_cross_entropy(batch["label"], logits, CLASS_WEIGHTS)
            local = loss / replicas
        gradients = tape.gradient(local, net.trainable_variables)
        return loss, [distribution.sum_over_replicas(g) for g in gradients]

    return step


def contrastive(strategy, z, **options):
    """Returns each replica's loss [R] and the gradient of loss / R, in z's shape [R, 2, b, p]."""

    def step(local):
        local = local[0]  # [2, b, p]
        with tf.GradientTape() as tape:
            tape.watch(local)
            loss_of = losses.nt_xent_in_chunks if "chunk" in options else losses.nt_xent
            loss, _, _ = loss_of(local[0], local[1], **options)
            loss /= len(z)
        return loss * len(z), tape.gradient(loss, local)

    local = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(z[context.replica_id_in_sync_group][np.newaxis])
    )
    results = strategy.run(tf.function(step), (local,))
    return [np.stack(strategy.experimental_local_results(value)) for value in results]


def reference_cases(out: str, golden: str) -> None:
    strategy = distribution.make_strategy(cpu_replicas=2)
    numbers = np.load(golden)
    results: dict[str, np.ndarray] = {}
    for case in range(3):
        hidden = numbers[f"mirrored2_{case}/hidden"]  # [R, 2b, p]
        loss, gradient = contrastive(
            strategy,
            hidden.reshape(2, 2, -1, hidden.shape[-1]),
            temperature=0.5 if case == 2 else 0.1,  # see tests/golden/README.md
            normalize=case != 2,
        )
        results |= {f"loss{case}": loss, f"gradient{case}": gradient.reshape(hidden.shape)}
    np.savez(out, **results)


def main(replicas: int, out: str) -> None:
    keras.backend.set_floatx("float64")
    keras.utils.set_random_seed(1)
    strategy = distribution.make_strategy(cpu_replicas=replicas)
    b = B // replicas
    with strategy.scope():
        net = Net()
        net(tf.zeros([1, SIZE, SIZE, 3], tf.float64), training=False)
        case_net = CaseNet()
        case_net(tf.zeros([1, SIZE, SIZE, 3], tf.float64), False, tf.constant([0]), 1)
        lars = LARS(0.5, weight_decay=1e-4, excluded=[net.norm.bn.gamma, net.norm.bn.beta])
        lars.build(net.trainable_variables)

    def step(batch):
        with tf.GradientTape() as tape:
            z1, z2 = tf.split(net(tf.concat([batch["a"], batch["b"]], 0), training=True), 2)
            loss, _, _ = losses.nt_xent(z1, z2, temperature=0.5, group_ids=batch["group"])
            local = loss / replicas
        gradients = tape.gradient(local, net.trainable_variables)
        lars.apply_gradients(zip(gradients, net.trainable_variables))
        supervised = losses.masked_cross_entropy(batch["label"], batch["logits"])
        summed = [distribution.sum_over_replicas(g) for g in gradients]
        pairs = tf.reduce_mean(losses.negative_pairs(b, batch["group"]))
        return loss, supervised, summed, pairs

    batch = {"a": VIEWS[0], "b": VIEWS[1], "group": GROUPS, "label": LABELS, "logits": LOGITS}
    batch |= {"cases": CASES, "real": REAL}

    def values(context):
        start = context.replica_id_in_sync_group * b
        return {name: tf.constant(value[start : start + b]) for name, value in batch.items()}

    local = strategy.experimental_distribute_values_from_function(values)
    loss, supervised, gradients, pairs = strategy.run(tf.function(step), (local,))
    case_loss, case_gradients = strategy.run(tf.function(case_step(case_net)), (local,))
    mean = tf.distribute.ReduceOp.MEAN
    rows = PROJECTIONS.reshape(2, replicas, b, -1).swapaxes(0, 1)  # [R, 2, b, p]
    losses_alone, gradient_alone = contrastive(strategy, rows, temperature=0.4)
    in_chunks, gradient_in_chunks = contrastive(strategy, rows, temperature=0.4, chunk=3)
    np.savez(
        out,
        loss=strategy.reduce(mean, loss, axis=None),
        negative_pairs=strategy.reduce(mean, pairs, axis=None),
        loss_alone=losses_alone.mean(),
        projections_gradient=gradient_alone.swapaxes(0, 1).reshape(PROJECTIONS.shape),
        loss_in_chunks=in_chunks.mean(),
        gradient_in_chunks=gradient_in_chunks.swapaxes(0, 1).reshape(PROJECTIONS.shape),
        supervised=[strategy.reduce(mean, value, axis=None) for value in supervised],
        **{
            f"gradient{i}": distribution.first_replica(strategy, g) for i, g in enumerate(gradients)
        },
        **{f"weight{i}": v.numpy() for i, v in enumerate(net.variables)},
        case_loss=strategy.reduce(mean, case_loss, axis=None),
        **{
            f"case_gradient{i}": distribution.first_replica(strategy, g)
            for i, g in enumerate(case_gradients)
        },
        **{f"case_statistic{i}": v.numpy() for i, v in enumerate(case_net.non_trainable_variables)},
    )


if __name__ == "__main__":
    if len(sys.argv) > 3:
        reference_cases(*sys.argv[2:])
    else:
        main(int(sys.argv[1]), sys.argv[2])
