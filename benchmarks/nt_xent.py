"""NT-Xent with its gradient: CPU seconds, wall seconds and peak memory for large batches.

    python benchmarks/nt_xent.py --reference PATH

128-d projections on one device, in one piece, in chunks of rows (--nt_xent_chunk), and as the
reference computes it. A contender whose matrices would exceed --limit_gib is left out. The peak is that
of the process; what TensorFlow uses before the first batch is printed first.
"""

from __future__ import annotations

import functools
import os
import sys

from harness import Bench, Contender

WIDTH, TEMPERATURE = 128, 0.1
SIZES = (1024, 2048, 4096, 8192, 16384)
# Matrices [N, N] of float32 alive at a time: peak at 4,096 minus what TensorFlow alone uses.
MATRICES = {"in one piece": 11, "reference": 17}


def make(options, how, pairs):
    """Returns work that computes one loss with its gradient.

    Args:
      options: of the command.
      how: "in one piece", "in chunks", "reference" or "nothing".
      pairs: batch size.
    """
    import numpy as np
    import tensorflow as tf

    if how == "reference":
        sys.path.insert(0, os.path.abspath(options.reference))
        import objective

    from simclr_med import losses

    z = tf.constant(np.random.default_rng(0).normal(size=(2 * pairs, WIDTH)), tf.float32)

    def value(z):
        if how == "reference":
            return objective.add_contrastive_loss(z, temperature=TEMPERATURE)[0]
        z1, z2 = tf.split(z, 2)
        if how == "in one piece":
            return losses.nt_xent(z1, z2, temperature=TEMPERATURE)[0]
        return losses.nt_xent_in_chunks(z1, z2, temperature=TEMPERATURE, chunk=options.chunk)[0]

    @tf.function
    def step(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            loss = value(z)
        return loss, tape.gradient(loss, z)

    def work():
        outputs = [x.numpy() for x in step(z)]
        assert all(np.isfinite(x).all() for x in outputs)
        return 1

    if how == "nothing":
        return lambda: 1
    if pairs < 16384:  # it takes 15 s, too long to run twice; tracing is 1 % of it
        work()
    return work


def main():
    def add_arguments(parser):
        parser.add_argument("--chunk", type=int, default=1024, help="rows in memory at a time")
        parser.add_argument("--limit_gib", type=float, default=8.0, help="memory not to exceed")

    contenders = {"nothing": Contender(functools.partial(make, how="nothing", pairs=8))}
    for n in SIZES:
        for how in ("in one piece", "in chunks"):
            contenders[f"{n} {how}"] = Contender(functools.partial(make, how=how, pairs=n))
        of_reference = functools.partial(make, how="reference", pairs=n)
        contenders[f"{n} reference"] = Contender(of_reference, needs="reference")
    bench = Bench(__doc__, contenders, add_arguments)
    pairs = bench.options.pairs
    bench.options.pairs = 1
    start_mib = bench.measure("nothing")["nothing"].peak_mib
    bench.add("TensorFlow alone", start_mib, None, None, unit="peak_mib", goal=None, against="-")
    for n in SIZES:
        bench.options.pairs = pairs if n < 4096 else 2 if n < 16384 else 1
        fitting = [
            f"{n} {how}"
            for how in ("in one piece", "in chunks", "reference")
            if MATRICES.get(how, 0) * 4 * n**2 < bench.options.limit_gib * 2**30
        ]
        results = bench.measure(*fitting)
        other = results.get(f"{n} reference")
        for how in ("in one piece", "in chunks"):
            if measured := results.get(f"{n} {how}"):
                for of in ("cpu_s", "wall_s", "peak_mib"):
                    bench.row(f"batch {n}, {how}", measured, other, goal=1.0, of=of)
    bench.finish()


if __name__ == "__main__":
    main()
