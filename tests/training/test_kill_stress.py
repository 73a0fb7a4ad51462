"""A run that is killed while it writes checkpoints ends like one that was not."""

import random
import signal

import pytest

from benchmarks import kill_stress


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_run_killed_in_the_middle_of_writes_ends_in_the_same_weights(tmp_path):
    """`Stress` asserts: see there. `benchmarks/kill_stress.py` does the same 25 times."""
    stress, rng = kill_stress.Stress(tmp_path, steps=12), random.Random(0)
    stress.undisturbed()
    for kind in (signal.SIGTERM, signal.SIGKILL):
        stress.disturb(kind, rng)
    stress.finish()
    assert stress.events[-1]["whole_after"] > 0
