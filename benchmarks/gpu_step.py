"""Images per second of a training step on a GPU: TensorFlow, the same step under JAX, PyTorch.

On a GPU machine that has TensorFlow, or PyTorch, or both:

    python benchmarks/gpu_step.py [--depth 50] [--size 224] [--batch 128] [--steps 20]

Where only JAX (and perhaps PyTorch) is installed, write the step's programs where TensorFlow is, copy
the folder (1 to 2 MB) and the folder benchmarks/ there, and run one command:

    python benchmarks/gpu_step.py --lower PROGRAMS [--depth 50] [--size 224] [--batch 128]   # here
    python benchmarks/gpu_step.py --run PROGRAMS [--steps 20]                                # there

The step is SimCLR's, as simclr_med trains: two views of each image through ResNet and a projection head
of two layers, NT-Xent, gradients, LARS, on one device, in bfloat16 and float32. `augmented`: from uint8
crops, with flip, colour jitter, greyscale and blur on the device; `given views`: without. PyTorch's step
is the hand-written one of torch_step.py, channels-last, on given views. TensorFlow runs simclr_med's
training loop, with and without --jit_compile. An image counts once, with its two views. Contenders run
one after the other, since each takes the whole memory of the card. `of peak`: operations of convolutions
and dense layers (flops.py) over the card's dense peak. The paper's run on 64 TPU cores reached 1,052
images/s with ResNet-50 at 224 px.

Without a GPU all of it runs on the CPU; choose small sizes (--depth 18 --size 64 --batch 16 --steps 2).
gpu_check.py checks that the program under JAX is TensorFlow's step.
"""

from __future__ import annotations

import argparse
import functools
import importlib.util
import os
import statistics
import sys

import flops
from harness import ROOT, Bench, Contender, Measured
from step_program import load

PAPER = 1052.0  # images/s: 454,295 images x 100 epochs in 12 h
VARIANTS = {
    "bfloat16, augmented": (True, True),
    "bfloat16, given views": (True, False),
    "float32, augmented": (False, True),
    "float32, given views": (False, False),
}


def tensorflow(bfloat16: bool, augment: bool, jit_compile: bool, options: argparse.Namespace):
    """Returns work that takes the training loop's own steps on the same uint8 crops.

    Args:
      bfloat16: mixed precision rather than float32.
      augment: with the augmentation on the device.
      jit_compile: compiled by XLA.
      options: of the command.
    """
    import tensorflow as tf
    from step_program import configured, device_ops, draw

    from simclr_med import config as c
    from simclr_med import distribution
    from simclr_med.build import make_model, set_up
    from simclr_med.optim import make_optimizer
    from simclr_med.training.methods import METHODS
    from simclr_med.training.step import Trained, make_run_steps

    config = configured(c, options.depth, options.size, bfloat16, jit_compile=jit_compile)
    strategy = set_up(config)
    with strategy.scope():
        model = make_model(config, 0)
        optimizer = make_optimizer("lars", 0.1, momentum=0.9, weight_decay=1e-6, model=model)
        optimizer.build(model.trainable_variables)
    shape = [options.batch, 2, options.size, options.size, 3]
    element = {
        "images": draw({"kind": "pixels", "shape": shape, "dtype": "uint8"}, 0),
        "patient": tf.range(options.batch),
    }
    batches = tf.data.Dataset.from_tensors(element).repeat()
    iterator = iter(distribution.distribute(lambda: batches, strategy))
    ops = device_ops(config) if augment else {}
    run_steps = make_run_steps(config, METHODS["simclr"], strategy, Trained(model, optimizer), ops)

    def work() -> int:
        totals = run_steps(iterator, tf.constant(options.steps))
        assert float(totals["contrast_loss"]) > 0  # waits for the device
        return options.steps * options.batch

    work()
    return work


def xla(name: str, options: argparse.Namespace):
    """Returns work that takes the steps of the variant `name` that --lower wrote, under JAX."""
    from jax_program import Program

    program = Program(program_path(options.run, name))
    print(f"{name}: {program.device_bytes() / 2**30:.2f} GiB on the device", file=sys.stderr)

    def work() -> int:
        for _ in range(options.steps):
            loss = program.step()
        assert float(loss) > 0  # waits for the device
        return options.steps * options.batch

    work()
    return work


def pytorch(bfloat16: bool, options: argparse.Namespace):
    """Returns work that takes the steps of the hand-written PyTorch code."""
    import torch
    from torch_step import torch_step

    torch.backends.cudnn.benchmark = True
    torch.set_float32_matmul_precision("high")  # TensorFloat-32, like the others
    device = "cuda" if torch.cuda.is_available() else "cpu"
    step = torch_step(options.depth, options.size, options.batch, bfloat16, device=device)

    def work() -> int:
        for _ in range(options.steps):
            loss = step()
        assert float(loss) > 0  # waits for the device
        return options.steps * options.batch

    work()
    return work


def program_path(folder: str, name: str) -> str:
    """Returns the path of the program of the variant `name`."""
    return os.path.join(folder, name.replace(", ", "_").replace(" ", "_") + ".npz")


def lower(options: argparse.Namespace) -> None:
    """Writes the programs of all variants into the folder --lower."""
    from step_program import Trainer, make_program

    os.makedirs(options.lower, exist_ok=True)
    sizes = {"depth": options.depth, "size": options.size, "batch": options.batch}
    for name, (bfloat16, augment) in VARIANTS.items():
        trainer = Trainer(**sizes, bfloat16=bfloat16, augment=augment)
        path = program_path(options.lower, name)
        print(f"{path}: {make_program(path, trainer, sizes) / 2**20:.2f} MiB", flush=True)


def _contenders() -> dict[str, Contender]:
    contenders = {}
    for name, (bfloat16, augment) in VARIANTS.items():
        work = functools.partial(tensorflow, bfloat16, augment)
        contenders[f"TensorFlow, {name}"] = Contender(functools.partial(work, False))
        contenders[f"TensorFlow --jit_compile, {name}"] = Contender(functools.partial(work, True))
        run = functools.partial(xla, name)
        contenders[f"JAX, {name}"] = Contender(run, needs="run", python="jax_python")
        if not augment:
            run = functools.partial(pytorch, bfloat16)
            contenders[f"PyTorch, {name}"] = Contender(run, python="torch_python")
    return contenders


def _present(options: argparse.Namespace) -> list[str]:
    """Returns the frameworks that can be measured here."""
    frameworks = {
        "TensorFlow": importlib.util.find_spec("tensorflow"),
        "JAX": options.run,
        "PyTorch": options.torch_python != sys.executable or importlib.util.find_spec("torch"),
    }
    return [name for name, present in frameworks.items() if present]


def _report(bench: Bench, what: str, measured: Measured, torch: float | None, peak: float | None):
    """Adds the rows of one contender: its rate, its milliseconds, its share of the peak.

    Args:
      bench: to add them to.
      what: name of the contender.
      measured: its result.
      torch: PyTorch's images per second in the same precision; None if not measured.
      peak: the card's peak operations per second; None if unknown.
    """
    options = bench.options
    rate = 1 / statistics.median(measured.wall_s)
    ratio = torch / rate if torch else None
    bench.add(what, rate, torch, ratio, unit="images/s", goal=None, against="PyTorch")
    if (options.depth, options.size) == (50, 224) and peak:
        bench.add(what, rate, PAPER, PAPER / rate, unit="images/s", goal=1.0, against="64 cores")
    milliseconds = 1e3 * options.batch / rate
    bench.add(what, milliseconds, None, None, unit="ms a step", goal=None, against="")
    if peak:
        operations = flops.step_flops(options.depth, options.size, 2 * options.batch)
        share = operations * rate / options.batch / peak
        bench.add(what, share, None, None, unit="of peak", goal=None, against="")


def main() -> None:
    def add_arguments(parser):
        parser.add_argument("--depth", type=int, default=50, help="of the ResNet")
        parser.add_argument("--size", type=int, default=224, help="px")
        parser.add_argument("--batch", type=int, default=128, help="images; each gives two views")
        parser.add_argument("--steps", type=int, default=20, help="in one measurement")
        parser.add_argument("--lower", help="folder to write the XLA programs to; nothing is run")
        parser.add_argument("--run", help="folder of such programs, to run under JAX")
        parser.add_argument(
            "--only", default="", help="measure contenders whose name contains this"
        )
        parser.add_argument("--jax_python", default=sys.executable, help="interpreter with JAX")
        parser.add_argument("--torch_python", default=sys.executable, help="one with PyTorch")

    contenders = _contenders()
    bench = Bench(__doc__, contenders, add_arguments)
    options = bench.options
    if options.lower:
        sys.path.insert(0, ROOT)
        lower(options)
        return
    if options.run:
        _, specification = load(program_path(options.run, next(iter(VARIANTS))))
        for name, value in specification["options"].items():  # those of the stored programs
            setattr(options, name, value)
            sys.argv.append(f"--{name}={value}")
    card, present = flops.card(), _present(options)
    print(f"{card or 'no GPU: the CPU'}; here: {', '.join(present) or 'no framework'}", flush=True)
    print(f"ResNet-{options.depth}, {options.size} px, {options.batch} images", flush=True)
    for name, (bfloat16, _) in VARIANTS.items():
        peak = flops.peak_flops(card, bfloat16)
        torch = None
        for framework in ("PyTorch", "TensorFlow", "TensorFlow --jit_compile", "JAX"):
            what = f"{framework}, {name}"
            if framework.split(" ")[0] not in present or what not in contenders:
                continue
            if options.only not in what:
                continue
            measured = bench.measure(what)[what]
            _report(bench, what, measured, torch, peak)
            if framework == "PyTorch":
                torch = 1 / statistics.median(measured.wall_s)
    bench.finish()


if __name__ == "__main__":
    main()
