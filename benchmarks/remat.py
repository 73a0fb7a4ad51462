"""Peak memory and time of a training step with and without --remat.

    python benchmarks/remat.py [--encoder=resnet152] [--width=2] [--size=64] [--batch=8] [--steps=3]

A step is SimCLR's: two views of each of `batch` images through encoder and projection head,
NT-Xent, gradients, LARS; float32, no input pipeline. Each variant runs in a process of its own,
whose peak resident memory includes the weights; `held_at_start_gib` is that with model and optimizer
created and before the first step. Prints a table and, as the last line, JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import time

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
sys.path.insert(0, ROOT)
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")


def measure(options: argparse.Namespace) -> dict[str, float]:
    """Returns memory and time of one variant; to be called in a new process."""
    import tensorflow as tf

    from simclr_med.config import ModelConfig
    from simclr_med.keras_api import keras
    from simclr_med.losses import nt_xent
    from simclr_med.models import Model
    from simclr_med.optim import make_optimizer

    if options.bfloat16:
        keras.mixed_precision.set_global_policy("mixed_bfloat16")
    family, depth = re.fullmatch(r"(\w+?)(\d+)", options.encoder).groups()
    config = ModelConfig(
        encoder=family,
        resnet_depth=int(depth),
        width_multiplier=options.width,
        remat=options.remat,
        num_proj_layers=2,
    )
    model = Model(config, image_size=options.size)
    model.build_weights(options.size)
    optimizer = make_optimizer("lars", 0.1, momentum=0.9, weight_decay=1e-6, model=model)
    optimizer.build(model.trainable_variables)
    views = tf.random.stateless_uniform([2 * options.batch, options.size, options.size, 3], [0, 1])

    @tf.function
    def step():
        with tf.GradientTape() as tape:
            z = model(views, training=True)["projection"]
            loss, _, _ = nt_xent(z[: options.batch], z[options.batch :], temperature=0.1)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    start_gib = _peak_gib()
    started = time.perf_counter()
    step()
    first = time.perf_counter() - started
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(options.steps):
        step()
    return {
        "parameters": sum(v.shape.num_elements() for v in model.encoder.trainable_variables),
        "held_at_start_gib": start_gib,
        "peak_gib": _peak_gib(),
        "first_step_s": first,
        "step_s": (time.perf_counter() - started) / options.steps,
        "step_cpu_s": (time.process_time() - cpu) / options.steps,
    }


def _peak_gib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--encoder", default="resnet152", help="resnet50, bit101, ...")
    parser.add_argument("--width", type=int, default=2)
    parser.add_argument("--size", type=int, default=64, help="px")
    parser.add_argument("--batch", type=int, default=8, help="images; each gives two views")
    parser.add_argument("--steps", type=int, default=3, help="steps timed, after the first")
    parser.add_argument("--bfloat16", action="store_true")
    parser.add_argument("--remat", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--variant", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.variant:
        print(json.dumps(measure(options)))
        return
    results = {}
    for name, extra in (("kept", []), ("remat", ["--remat"])):
        command = [sys.executable, os.path.abspath(__file__), *sys.argv[1:], "--variant", *extra]
        process = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results[name] = json.loads(process.stdout.splitlines()[-1])
        row = "  ".join(f"{key} {value:,.2f}" for key, value in results[name].items())
        print(f"{name:6} {row}", flush=True)
    ratios = {
        key: results["remat"][key] / results["kept"][key]
        for key in ("peak_gib", "step_s", "step_cpu_s")
    }
    print(json.dumps({**vars(options), **results, "ratio": ratios}))


if __name__ == "__main__":
    main()
