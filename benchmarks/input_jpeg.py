"""Host input: two 224 px views from a JPEG of 512 px, in CPU seconds an image.

    python benchmarks/input_jpeg.py --reference PATH

The same bytes (photograph-like drawings, 78 KB) go through the reference's own input function and
through `training_batches`. The reference decodes, crops, resizes, flips and jitters colours on the
host; ours decodes, crops and resizes, and leaves colours to the device side, whose price
benchmarks/augment.py shows.
"""

from __future__ import annotations

import input_paths
from harness import Bench, Contender

SIZE, NUM_IMAGES, BATCH_SIZE, BATCHES = 512, 64, 64, 6
GOAL = 0.45  # of the reference's cost
VIEWS_ON_ONE_CARD = 1052  # two-view images/s: the paper's run, 454,295 x 100 in 12 h, on one card
CORES = 16  # of the host of such a card


def photographs() -> list[bytes]:
    """Returns the images, the same ones in every process."""
    return [input_paths.photograph(seed, SIZE) for seed in range(NUM_IMAGES)]


def ours(options):
    """Returns work that takes batches from our pipeline."""
    del options
    return input_paths.consume(input_paths.ours(photographs(), BATCH_SIZE), BATCH_SIZE, BATCHES)


def reference(options):
    """Returns work that takes batches from the reference's pipeline."""
    dataset = input_paths.reference(options.reference, photographs(), BATCH_SIZE)
    return input_paths.consume(dataset, BATCH_SIZE, BATCHES)


def main() -> None:
    """Measures and prints."""
    contenders = {"ours": Contender(ours), "reference": Contender(reference, needs="reference")}
    bench = Bench(__doc__, contenders)
    found = bench.measure("ours", "reference")
    bench.row("an image, two views", found["ours"], found.get("reference"), goal=GOAL)
    bench.row(
        "peak memory of the process",
        found["ours"],
        found.get("reference"),
        goal=1.0,
        of="peak_mib",
    )
    needed, taken = CORES / VIEWS_ON_ONE_CARD, input_paths.median(found["ours"].cpu_s)
    bench.add(
        f"{VIEWS_ON_ONE_CARD} images/s from {CORES} cores: one core gives {1 / taken:.0f}/s",
        taken,
        needed,
        taken / needed,
        unit="cpu_s",
        goal=1.0,
        against="needed",
    )
    bench.finish()


if __name__ == "__main__":
    main()
