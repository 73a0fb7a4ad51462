"""Peak memory and time of a training step with --micro_batch, against one pass over the batch.

    python benchmarks/micro_batch.py [--size=64] [--micro_batch=64] [--batches=128,512,2048]

A step is the training loop's own (`step.make_run_steps`): augmentation of both views, ResNet-18 with
projection head, NT-Xent, the linear head beside, gradients, LARS; float32, no input pipeline. Each
measurement runs in a process of its own, alone; its peak resident memory includes the batch itself and
what TensorFlow uses before the first step (printed first). One pass over a batch is left out if it would
not fit, by linear extrapolation from the smaller ones.
"""

from __future__ import annotations

import functools

from harness import Bench, Contender, Measured

BATCHES = (128, 256, 512, 1024, 2048, 4096)  # those that --batches may contain


def make(options, batch: int, chunked: bool):
    """Returns work that takes one step, after one to warm up.

    Args:
      options: of the command.
      batch: pairs; 0 for work that takes no step, only to measure the memory before it.
      chunked: with --micro_batch.
    """
    import numpy as np
    import tensorflow as tf

    from simclr_med.augment import device_ops
    from simclr_med.build import make_model, set_up
    from simclr_med.config import Config
    from simclr_med.optim import make_optimizer
    from simclr_med.training.methods import METHODS
    from simclr_med.training.step import Trained, make_run_steps

    config = Config().replace(
        resnet_depth=18,
        image_size=options.size,
        train_batch_size=batch or 1,
        micro_batch=options.micro_batch if chunked else 0,
    )
    strategy = set_up(config)
    with strategy.scope():
        model = make_model(config, 10)
        optimizer = make_optimizer("lars", 0.1, momentum=0.9, weight_decay=1e-6, model=model)
        optimizer.build(model.trainable_variables)
    if not batch:
        return lambda: 1
    draws = np.random.default_rng(0)
    element = {
        "images": draws.integers(0, 256, (batch, 2, options.size, options.size, 3), np.uint8),
        "label": np.arange(batch) % 10,
        "patient": np.arange(batch),
    }
    batches = iter(tf.data.Dataset.from_tensors(element).repeat())
    ops = device_ops(color_jitter_strength=1.0, use_blur=True)
    run_steps = make_run_steps(config, METHODS["simclr"], strategy, Trained(model, optimizer), ops)

    def work() -> int:
        assert float(run_steps(batches, tf.constant(1))["total_loss"]) > 0
        return 1

    work()
    return work


def fits(batch: int, measured: dict[int, Measured], limit_gib: float) -> bool:
    """Returns whether one pass over a batch fits, by extrapolation; True with less than two measured.

    Args:
      batch: pairs.
      measured: results of one pass, by batch.
      limit_gib: memory not to exceed.
    """
    if len(measured) < 2:
        return True
    (small, a), (large, b) = sorted(measured.items())[-2:]
    mib_per_pair = (b.peak_mib - a.peak_mib) / (large - small)
    return b.peak_mib + mib_per_pair * (batch - large) < limit_gib * 1024


def main():
    def add_arguments(parser):
        parser.add_argument("--size", type=int, default=64, help="px")
        parser.add_argument("--micro_batch", type=int, default=64, help="pairs encoded at a time")
        parser.add_argument("--batches", default="128,512,2048", help="pairs")
        parser.add_argument("--limit_gib", type=float, default=12.0, help="memory not to exceed")

    contenders = {"nothing": Contender(functools.partial(make, batch=0, chunked=False))}
    for batch in BATCHES:
        for how, chunked in (("in one pass", False), ("in chunks", True)):
            work = functools.partial(make, batch=batch, chunked=chunked)
            contenders[f"{batch} {how}"] = Contender(work)
    bench = Bench(__doc__, contenders, add_arguments)
    options = bench.options
    options.pairs = 1  # a step has no caches to warm but those of its first run
    start_mib = bench.measure("nothing")["nothing"].peak_mib
    bench.add(
        "before the first step", start_mib, None, None, unit="peak_mib", goal=None, against="-"
    )
    one_pass: dict[int, Measured] = {}
    for batch in map(int, options.batches.split(",")):
        if fits(batch, one_pass, options.limit_gib):
            one_pass |= {batch: bench.measure(f"{batch} in one pass")[f"{batch} in one pass"]}
        in_chunks = bench.measure(f"{batch} in chunks")[f"{batch} in chunks"]
        for of in ("peak_mib", "cpu_s", "wall_s"):
            what = f"batch {batch}, {options.micro_batch} at a time"
            bench.row(what, in_chunks, one_pass.get(batch), goal=None, of=of, against="one pass")
    bench.finish()


if __name__ == "__main__":
    main()
