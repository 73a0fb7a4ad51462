"""Host input: two 224 px views from an X-ray of 2,000 to 3,000 px, in CPU seconds per image.

    python benchmarks/input_xray.py --reference PATH

Grey radiographs drawn by code (lungs, ribs, noise) as JPEG (quality 90) and as PNG, through the
reference's own input function and through `training_batches`; then the same ones, reduced by the
builders at build time (`--build_long_side=512`), through `training_batches`, against the reference's
time for the whole ones.
"""

from __future__ import annotations

import functools

import input_paths
from harness import Bench, Contender

NUM_IMAGES, BATCH_SIZE, BATCHES = 8, 8, 4
LONG_SIDE = 512  # px: crops of 224 px from 8 % of the area and more are enlarged little
GOALS = {"JPEG": 0.25, "PNG": 1.0}  # of the reference's cost


def _radiographs(kind: str, long_side: int = 0) -> list[bytes]:
    return [input_paths.radiograph(seed, kind, long_side) for seed in range(NUM_IMAGES)]


def _make_simclr_med(options, kind: str, long_side: int = 0, batches: int = BATCHES):
    del options
    dataset = input_paths.simclr_med_dataset(_radiographs(kind, long_side), BATCH_SIZE)
    return input_paths.consume(dataset, BATCH_SIZE, batches)


def _make_reference(options, kind: str):
    dataset = input_paths.reference_dataset(options.reference, _radiographs(kind), BATCH_SIZE)
    return input_paths.consume(dataset, BATCH_SIZE, BATCHES)


def main() -> None:
    """Measures and prints."""
    contenders = {}
    for kind in GOALS:
        contenders[f"whole {kind}"] = Contender(functools.partial(_make_simclr_med, kind=kind))
        contenders[f"reduced {kind}"] = Contender(
            functools.partial(_make_simclr_med, kind=kind, long_side=LONG_SIDE, batches=30)
        )
        contenders[f"reference {kind}"] = Contender(
            functools.partial(_make_reference, kind=kind), needs="reference"
        )
    bench = Bench(__doc__, contenders)
    for kind, goal in GOALS.items():
        names = [f"{who} {kind}" for who in ("whole", "reduced", "reference")]
        results = bench.measure(*names)
        whole, reduced, reference = (results.get(name) for name in names)
        bench.row(f"{kind} of 2,000 to 3,000 px, two views", whole, reference, goal=goal)
        what = f"{kind} reduced to {LONG_SIDE} px when it was built, two views"
        bench.row(what, reduced, reference, goal=1 / 5)
        what = f"{kind} of 2,000 to 3,000 px: peak memory of the process"
        bench.row(what, whole, reference, goal=1.0, of="peak_mib")
    bench.finish()


if __name__ == "__main__":
    main()
