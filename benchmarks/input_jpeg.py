"""Host input: two 224 px views from a JPEG of 512 px, in CPU seconds per image.

    python benchmarks/input_jpeg.py --reference PATH

The same bytes (photograph-like drawings, 78 KB) go through the reference's own input function and
through `training_batches`. The reference decodes, crops, resizes, flips and jitters colours on the
host; simclr_med decodes, crops and resizes, and leaves colours to the device, whose cost
benchmarks/augment.py measures.
"""

from __future__ import annotations

import input_paths
from harness import Bench, Contender

SIZE, NUM_IMAGES, BATCH_SIZE, BATCHES = 512, 64, 64, 6
GOAL = 0.45  # of the reference's cost
VIEWS_ON_ONE_CARD = (
    1052  # images/s, two views each: the paper's run, 454,295 x 100 in 12 h, on one card
)
CORES = 16  # of the host of such a card


def photographs() -> list[bytes]:
    """Returns the images, the same ones in every process."""
    return [input_paths.photograph(seed, SIZE) for seed in range(NUM_IMAGES)]


def make_simclr_med(options):
    """Returns work that takes batches from simclr_med's pipeline."""
    del options
    dataset = input_paths.simclr_med_dataset(photographs(), BATCH_SIZE)
    return input_paths.consume(dataset, BATCH_SIZE, BATCHES)


def make_reference(options):
    """Returns work that takes batches from the reference's pipeline."""
    dataset = input_paths.reference_dataset(options.reference, photographs(), BATCH_SIZE)
    return input_paths.consume(dataset, BATCH_SIZE, BATCHES)


def main() -> None:
    """Measures and prints."""
    contenders = {
        "simclr_med": Contender(make_simclr_med),
        "reference": Contender(make_reference, needs="reference"),
    }
    bench = Bench(__doc__, contenders)
    results = bench.measure("simclr_med", "reference")
    measured, reference = results["simclr_med"], results.get("reference")
    bench.row("an image, two views", measured, reference, goal=GOAL)
    bench.row("peak memory of the process", measured, reference, goal=1.0, of="peak_mib")
    needed, cost = CORES / VIEWS_ON_ONE_CARD, input_paths.median(measured.cpu_s)
    bench.add(
        f"{VIEWS_ON_ONE_CARD} images/s from {CORES} cores: one core gives {1 / cost:.0f}/s",
        cost,
        needed,
        cost / needed,
        unit="cpu_s",
        goal=1.0,
        against="needed",
    )
    bench.finish()


if __name__ == "__main__":
    main()
