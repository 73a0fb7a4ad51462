"""Which TPU slice the training step fits, according to the TPUs' compiler; writes docs/tpu.md.

    pip install -r requirements-tpu-aot.txt     # Python 3.12 and later; no TPU, no network
    python benchmarks/tpu_memory.py [--chips v3,v4,v5p] [--models 50x1] [--batches 512] [--at_most N]

For each chip, model and batch: tries the slices from the smallest on, until one fits. Results are
stored in docs/tpu.jsonl, one per line, and not computed again; docs/tpu.md is written from them, even if
some are missing. --at_most limits the number of compilations: each takes 1 to 10 minutes on two CPU
cores and up to 6 GB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile

from harness import machine

HERE = os.path.dirname(os.path.abspath(__file__))
DOCS = os.path.join(HERE, "..", "docs")
RESULTS, TABLE = os.path.join(DOCS, "tpu.jsonl"), os.path.join(DOCS, "tpu.md")
SIZE = 224  # px
MODELS = {"50x1": "ResNet-50 (1x)", "50x4": "ResNet-50 (4x)", "152x2": "ResNet-152 (2x)"}
BATCHES = (128, 512, 1024)
# The slices that Google rents, by name: the topology, and its cores as TensorFlow's replicas.
SLICES = {
    "v2": {"v2-8": ("v2:2x2", 8), "v2-32": ("v2:4x4", 32), "v2-128": ("v2:8x8", 128)},
    "v3": {
        "v3-8": ("v3:2x2", 8),
        "v3-32": ("v3:4x4", 32),
        "v3-64": ("v3:4x8", 64),
        "v3-128": ("v3:8x8", 128),
    },
    "v4": {
        "v4-8": ("v4:2x2x1", 8),
        "v4-16": ("v4:2x2x2", 16),
        "v4-32": ("v4:2x2x4", 32),
        "v4-64": ("v4:2x4x4", 64),
    },
    "v5e": {
        "v5e-1": ("v5e:1x1", 1),
        "v5e-4": ("v5e:2x2", 4),
        "v5e-8": ("v5e:2x4", 8),
        "v5e-16": ("v5e:4x4", 16),
        "v5e-32": ("v5e:4x8", 32),
        "v5e-64": ("v5e:8x8", 64),
    },
    "v5p": {"v5p-8": ("v5p:2x2x1", 4), "v5p-16": ("v5p:2x2x2", 8), "v5p-32": ("v5p:2x2x4", 16)},
}
INTRODUCTION = """# TPUs

Which slice fits which model and batch. **Nothing here ran on a TPU**: the compiler of Cloud TPUs
(libtpu) compiled the training step ahead of time, for all cores of a slice, and these are its figures.
How to start on a TPU: [many devices](many_devices.md). The table was made by

    pip install -r requirements-tpu-aot.txt
    python benchmarks/tpu_memory.py

from [tpu.jsonl](tpu.jsonl), which records each result with its commit; the command computes what is
missing. `python -m pytest tests/tpu -s` (with the extra [dev]) compiles a small step for each chip, and
fails where the compiler refuses it.

The step is `training.step.make_one_step` at 224 px in mixed bfloat16: flip, colour, blur and rotation
on the device, both views of each image through the network, BatchNorm and NT-Xent over all replicas,
LARS. The table has the smallest slice that fits, with the images (pairs of views) per core, its peak
memory, and the operations of a step on one core. The memory is that of the step; reading ahead takes a
few batches of uint8 pixels more. A core is a replica: two a chip on v2, v3 and v4, one on v5e and v5p.
`--remat` and `--micro_batch` take less memory; neither is used here. A dash was not computed.
"""


def stored_results() -> dict[tuple[str, int, str], dict]:
    """Returns the stored results by (model, batch, slice)."""
    if not os.path.exists(RESULTS):
        return {}
    with open(RESULTS) as file:
        rows = [json.loads(line) for line in file]
    return {(row["model"], row["batch"], row["slice"]): row for row in rows}


def next_slice(results: dict, chip: str, model: str, batch: int) -> tuple[str, bool] | None:
    """Returns (slice to try or to report, whether its result is known); None if none is large enough.

    Skips slices whose cores would get at least as many images as were refused on another slice.

    Args:
      results: by (model, batch, slice).
      chip: a key of SLICES.
      model: a key of MODELS.
      batch: images, over all cores.
    """
    refused = [
        row["batch"] // row["cores"]
        for (row_model, _, name), row in results.items()
        if row_model == model and name in SLICES[chip] and not row["fits"]
    ]
    for name, (_, cores) in SLICES[chip].items():
        if batch % cores:
            continue
        result = results.get((model, batch, name))
        if result and result["fits"]:
            return name, True
        if not result and batch // cores < min(refused, default=batch + 1):
            return name, False
    return None


def lower(path: str, model: str, replica_batch: int, replicas: int) -> None:
    """Writes the step of one replica, in bfloat16, to a file; called in a process of its own.

    Args:
      path: of the file, .npz.
      model: a key of MODELS.
      replica_batch: images per replica.
      replicas: their number.
    """
    sys.path.insert(0, os.path.join(HERE, ".."))
    from step_program import Trainer, make_program
    from tpu_replicas import XlaReplicas

    depth, width = map(int, model.split("x"))
    trainer = Trainer(
        depth,
        SIZE,
        replica_batch,
        bfloat16=True,
        augment=True,
        width=width,
        rotation=45.0,
        strategy=XlaReplicas(replicas),
    )
    make_program(path, trainer, {"model": model, "batch": replica_batch, "replicas": replicas})


def compute(chip: str, name: str, model: str, batch: int) -> dict:
    """Compiles the step for a slice, adds the result to the file, and returns it.

    Args:
      chip: a key of SLICES.
      name: of one of its slices.
      model: a key of MODELS.
      batch: images, over all cores.
    """
    topology, cores = SLICES[chip][name]
    python = [sys.executable]
    quiet = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": ""}
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "step.npz")
        command = [
            os.path.abspath(__file__),
            "--lower",
            path,
            model,
            str(batch // cores),
            str(cores),
        ]
        subprocess.run([*python, *command], check=True, env=quiet)
        command = [os.path.join(HERE, "tpu_compile.py"), path, topology]
        process = subprocess.run([*python, *command], check=True, stdout=subprocess.PIPE, text=True)
    row = {
        "model": model,
        "batch": batch,
        "slice": name,
        **json.loads(process.stdout.splitlines()[-1]),
        "commit": machine()["commit"],
    }
    with open(RESULTS, "a") as file:
        file.write(json.dumps(row) + "\n")
    return row


def cell(row: dict) -> str:
    """Returns a result in words."""
    images = f"{row['batch'] // row['cores']} a core"
    memory = f"{row['peak_bytes'] / 2**30:.1f} GiB"
    if row["fits"]:
        return f"{row['slice']}: {images}, {memory}, {row['flops'] / 1e12:.1f} TFLOP"
    return f"{images} on {row['slice']}: {memory}, {row['hbm_bytes'] / 2**30:.1f} GiB are there"


def write_table(results: dict) -> None:
    """Writes docs/tpu.md."""
    lines = [INTRODUCTION]
    lines.append("| model | batch | " + " | ".join(SLICES) + " |")
    lines.append("|---" * (2 + len(SLICES)) + "|")
    for model, named in MODELS.items():
        for batch in BATCHES:
            cells = []
            for chip in SLICES:
                candidate = next_slice(results, chip, model, batch)
                if candidate is None:
                    cells.append("none of these")
                else:
                    slice_name, is_known = candidate
                    cells.append(cell(results[model, batch, slice_name]) if is_known else "-")
            lines.append(f"| {named} | {batch} | " + " | ".join(cells) + " |")
    refused = [row for row in results.values() if not row["fits"]]
    if refused:
        lines.append("\nRefused by the compiler, as too large:\n")
        lines += [f"- {MODELS[row['model']]}, batch {row['batch']}: {cell(row)}" for row in refused]
    with open(TABLE, "w") as file:
        file.write("\n".join(lines) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    split = dict(type=lambda text: text.split(","))
    parser.add_argument("--chips", **split, default=list(SLICES), help="comma-separated")
    parser.add_argument("--models", **split, default=list(MODELS))
    parser.add_argument("--batches", **split, default=list(BATCHES))
    parser.add_argument("--at_most", type=int, default=10**6, help="compilations")
    parser.add_argument("--lower", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.lower:
        path, model, replica_batch, replicas = options.lower
        lower(path, model, int(replica_batch), int(replicas))
        return
    remaining, results = options.at_most, stored_results()
    combinations = [
        (m, int(b), c) for m in options.models for b in options.batches for c in options.chips
    ]
    for model, batch, chip in combinations:
        while (
            remaining
            and (candidate := next_slice(results, chip, model, batch))
            and not candidate[1]
        ):
            print(f"{MODELS[model]}, batch {batch}, {candidate[0]} ...", flush=True)
            results[model, batch, candidate[0]] = row = compute(chip, candidate[0], model, batch)
            remaining -= 1
            print(f"  {cell(row)}; {row['seconds']} s to compile", flush=True)
            write_table(results)
    write_table(results)


if __name__ == "__main__":
    main()
