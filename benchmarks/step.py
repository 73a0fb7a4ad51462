"""Training step of SimCLR: simclr_med's in float32 and bfloat16, the reference's, and one in PyTorch.

    python benchmarks/step.py [--reference PATH/tf2] [--torch_python PYTHON] [--pairs 5]

A step is encoder and projection head on both views, NT-Xent, the linear head beside it, gradients and
LARS, as each code base runs it (simclr_med: `step.make_run_steps`); no input pipeline and no
augmentation, which have benchmarks of their own. Same batch, same architecture. PyTorch runs in the
interpreter that --torch_python names (one that has torch), see torch_step.py.
"""

from __future__ import annotations

import argparse
import functools

from harness import Bench, Contender

SIZES = {"R18": (18, 64, 64), "R50": (50, 224, 16)}  # depth, px, pairs
CLASSES = 10


def _views(size: int, batch: int):
    import numpy as np

    draws = np.random.default_rng(0)
    return draws.integers(0, 256, (batch, 2, size, size, 3), np.uint8), np.arange(batch) % CLASSES


def make_simclr_med(depth: int, size: int, batch: int, bfloat16: bool, options: argparse.Namespace):
    """Returns work that takes one step of simclr_med's training loop, warmed up.

    Args:
      depth: of the ResNet.
      size: px.
      batch: pairs.
      bfloat16: mixed precision rather than float32.
      options: of the command.
    """
    import tensorflow as tf

    from simclr_med import config as c
    from simclr_med.build import make_model, set_up
    from simclr_med.optim import make_optimizer
    from simclr_med.training.methods import METHODS
    from simclr_med.training.step import Trained, make_run_steps

    config = c.Config(
        model=c.ModelConfig(resnet_depth=depth),
        augment=c.AugmentConfig(image_size=size),
        device=c.DeviceConfig(mixed_precision=bfloat16),
    )
    strategy = set_up(config)
    with strategy.scope():
        model = make_model(config, CLASSES)
        optimizer = make_optimizer("lars", 0.1, momentum=0.9, weight_decay=1e-6, model=model)
        optimizer.build(model.trainable_variables)
    images, labels = _views(size, batch)
    element = {
        "images": images,
        "real": images[:, :, 0, 0, 0] >= 0,
        "label": labels,
        "patient": labels * 0 + range(batch),
    }
    batches = iter(tf.data.Dataset.from_tensors(element).repeat())
    run_steps = make_run_steps(config, METHODS["simclr"], strategy, Trained(model, optimizer), {})

    def work() -> int:
        totals = run_steps(batches, tf.constant(1))
        assert float(totals["total_loss"]) > 0
        return 1

    for _ in range(2):
        work()
    return work


def make_reference(depth: int, size: int, batch: int, options: argparse.Namespace):
    """Returns work that takes one step as the reference's run.py: its model, losses, metrics, LARS."""
    import sys

    import tensorflow as tf

    sys.path.insert(0, options.reference)
    from absl import flags

    import run as reference_run  # defines the flags that the others read

    parsed = [f"--resnet_depth={depth}", f"--image_size={size}", f"--train_batch_size={batch}"]
    flags.FLAGS(["run.py", *parsed, "--use_blur=False"])
    model_lib, losses = reference_run.model_lib, reference_run.obj_lib
    strategy = tf.distribute.MirroredStrategy()
    images, labels = _views(size, batch)
    views = tf.concat([tf.cast(images[:, v], tf.float32) / 255.0 for v in (0, 1)], axis=-1)
    labels = tf.one_hot(labels, CLASSES)
    batches = iter(tf.data.Dataset.from_tensors((views, labels)).repeat())
    with strategy.scope():
        model = model_lib.Model(CLASSES)
        optimizer = model_lib.build_optimizer(0.1)
        means = [tf.keras.metrics.Mean(str(i)) for i in range(5)]
    update = reference_run.metrics

    def single_step(features, labels):
        with tf.GradientTape() as tape:
            projections, logits = model(features, training=True)
            contrastive, logits_con, labels_con = losses.add_contrastive_loss(
                projections, hidden_norm=True, temperature=0.1, strategy=strategy
            )
            update.update_pretrain_metrics_train(*means[:3], contrastive, logits_con, labels_con)
            both = tf.concat([labels, labels], 0)
            supervised = losses.add_supervised_loss(labels=both, logits=logits)
            update.update_finetune_metrics_train(*means[3:], supervised, both, logits)
            decay = model_lib.add_weight_decay(model, adjust_per_optimizer=True)
            loss = (contrastive + supervised + decay) / strategy.num_replicas_in_sync
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply_gradients(zip(gradients, model.trainable_variables))

    @tf.function
    def train_multiple_steps(iterator):
        for _ in tf.range(1):
            strategy.run(single_step, next(iterator))

    def work() -> int:
        train_multiple_steps(batches)
        assert float(means[0].result()) > 0
        return 1

    for _ in range(2):
        work()
    return work


def make_pytorch(depth: int, size: int, batch: int, bfloat16: bool, options: argparse.Namespace):
    """Returns work that takes one step of the hand-written PyTorch code."""
    from torch_step import torch_work

    return torch_work(depth=depth, size=size, batch=batch, bfloat16=bfloat16)


def _contenders() -> dict[str, Contender]:
    contenders = {}
    for name, numbers in SIZES.items():
        contenders[f"{name} reference"] = Contender(
            functools.partial(make_reference, *numbers), "reference"
        )
        for bfloat16, precision in ((False, "float32"), (True, "bfloat16")):
            contenders[f"{name} simclr_med {precision}"] = Contender(
                functools.partial(make_simclr_med, *numbers, bfloat16)
            )
            contenders[f"{name} PyTorch {precision}"] = Contender(
                functools.partial(make_pytorch, *numbers, bfloat16), "torch_python", "torch_python"
            )
    return contenders


def main() -> None:
    def add_arguments(parser):
        parser.add_argument("--torch_python", help="interpreter that has PyTorch")
        parser.add_argument("--sizes", default=",".join(SIZES), help="R18,R50")

    bench = Bench(__doc__, _contenders(), add_arguments)
    for size in bench.options.sizes.split(","):
        results = bench.measure(
            f"{size} simclr_med float32",
            f"{size} reference",
            f"{size} simclr_med bfloat16",
            f"{size} PyTorch float32",
            f"{size} PyTorch bfloat16",
        )
        depth, pixels, pairs = SIZES[size]
        what = f"ResNet-{depth}, {pixels} px, {pairs} pairs, "
        reference = results.get(f"{size} reference")
        for precision, time_goal, memory_goal in (("float32", 0.9, None), ("bfloat16", 0.55, 0.65)):
            measured = results[f"{size} simclr_med {precision}"]
            bench.row(what + precision, measured, reference, goal=time_goal)
            bench.row(what + precision, measured, reference, goal=memory_goal, of="peak_mib")
            torch = results.get(f"{size} PyTorch {precision}")
            goal = 1.0 if precision == "float32" else None
            bench.row(what + precision, measured, torch, goal=goal, against="PyTorch")
    bench.finish()


if __name__ == "__main__":
    main()
