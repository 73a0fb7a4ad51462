"""Host input: two 224 px views from an X-ray of 2,000 to 3,000 px, in CPU seconds an image.

    python benchmarks/input_xray.py --reference PATH

Grey radiographs drawn by code (lungs, ribs, noise) as JPEG (quality 90) and as PNG, through the
reference's own input function and through `training_batches`; then those that the builders have
reduced at build time (`--build_long_side=512`), through ours, against what the reference takes for
the whole ones.
"""

from __future__ import annotations

import functools

import input_paths
from harness import Bench, Contender

NUM_IMAGES, BATCH_SIZE, BATCHES = 8, 8, 4
LONG_SIDE = 512  # px: crops of 224 px from 8 % of the area and more are still not blown up much
GOALS = {"JPEG": 0.25, "PNG": 1.0}  # of the reference's cost


def _radiographs(kind: str, long_side: int = 0) -> list[bytes]:
    return [input_paths.radiograph(seed, kind, long_side) for seed in range(NUM_IMAGES)]


def _ours(options, kind: str, long_side: int = 0, batches: int = BATCHES):
    del options
    dataset = input_paths.ours(_radiographs(kind, long_side), BATCH_SIZE)
    return input_paths.consume(dataset, BATCH_SIZE, batches)


def _reference(options, kind: str):
    dataset = input_paths.reference(options.reference, _radiographs(kind), BATCH_SIZE)
    return input_paths.consume(dataset, BATCH_SIZE, BATCHES)


def main() -> None:
    """Measures and prints."""
    contenders = {}
    for kind in GOALS:
        contenders[f"ours {kind}"] = Contender(functools.partial(_ours, kind=kind))
        contenders[f"reduced {kind}"] = Contender(
            functools.partial(_ours, kind=kind, long_side=LONG_SIDE, batches=30)
        )
        contenders[f"reference {kind}"] = Contender(
            functools.partial(_reference, kind=kind), needs="reference"
        )
    bench = Bench(__doc__, contenders)
    for kind, goal in GOALS.items():
        names = [f"{who} {kind}" for who in ("ours", "reduced", "reference")]
        found = bench.measure(*names)
        ours, reduced, reference = (found.get(name) for name in names)
        bench.row(f"{kind} of 2,000 to 3,000 px, two views", ours, reference, goal=goal)
        what = f"{kind} reduced to {LONG_SIDE} px when it was built, two views"
        bench.row(what, reduced, reference, goal=1 / 5)
        what = f"{kind} of 2,000 to 3,000 px: peak memory of the process"
        bench.row(what, ours, reference, goal=1.0, of="peak_mib")
    bench.finish()


if __name__ == "__main__":
    main()
