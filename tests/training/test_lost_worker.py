"""Two workers train over the loopback device; one is killed; all go on as if nothing had been.

What it finds: a survivor that waits for ever or dies of a traceback, a checkpoint that was written
by the wrong worker or not at all, workers that go on from different steps, examples that are seen
twice or never after a restart, a signal to one worker that leaves the other waiting.
"""

import contextlib
import csv
import io
import json
import os
import signal
import time

import numpy as np
import pytest
import tensorflow as tf

from helpers import ROOT, encoders, training_worker
from helpers.folders import draw_cases
from helpers.processes import TABLE, environments, finish, start
from simclr_med.commands.main import main

pytestmark = pytest.mark.slow

WORKER = ROOT / "tests" / "helpers" / "training_worker.py"
STEPS, EVERY = 30, 3  # a step takes 100 ms or more, so the signal comes long before the end
DISTURBANCES = (  # signal, to which worker, the exit codes of both
    (signal.SIGKILL, 1, (75, -signal.SIGKILL)),
    (signal.SIGKILL, 0, (-signal.SIGKILL, 75)),
    (signal.SIGTERM, 1, (128 + signal.SIGTERM, 128 + signal.SIGTERM)),
)
CASES = {"train": 48, "test": 7}
FLAGS = (
    "--dataset=derm_bags",
    "--micle",
    "--eval_split=test",
    "--resnet_depth=18",
    "--image_size=16",
    "--train_batch_size=8",
    f"--train_steps={STEPS}",
    f"--checkpoint_steps={EVERY}",
    "--warmup_epochs=1",
    "--learning_rate=0.05",
    "--nouse_blur",
    "--color_jitter_strength=0",  # crops and flips are random enough
    "--proj_out_dim=16",
    "--keep_checkpoint_max=2",
    "--keep_hub_module_max=0",
)


class World:
    """A folder of cases, where workers run."""

    def __init__(self, root):
        self.root = root
        draw_cases(root / "photos", CASES, classes=3)
        self.starts = 0
        self.seconds = []  # from each disturbance to the end of both workers
        self.logs = []  # by those who were left, after it

    def flags(self, model_dir):
        """Returns the flags of a run."""
        folders = {"manual": self.root / "photos", "data": self.root / "tfds", "model": model_dir}
        return [*FLAGS, *(f"--{name}_dir={folder}" for name, folder in folders.items())]

    def begin(self, model_dir, *flags):
        """Starts the two workers of a run; returns them and the files of what they print."""
        self.starts += 1
        logs = [self.root / f"{self.starts}_{i}.log" for i in range(2)]
        command = [WORKER, *self.flags(model_dir), *flags]
        running = [
            start(command, {**environment, "TMPDIR": str(self.root)}, log, self.root)
            for environment, log in zip(environments(2), logs)
        ]
        return running, logs

    def run(self, model_dir, *flags):
        """Runs two workers to the end, and returns what each printed."""
        running, logs = self.begin(model_dir, *flags)
        codes = finish(running, timeout=3600)
        printed = [log.read_text() for log in logs]
        assert codes == [0, 0], "\n".join(printed)
        return printed

    def disturb(self, model_dir, number, victim):
        """Starts two workers, sends one a signal after its next checkpoint; returns the exit codes."""
        before = step_of(model_dir)
        running, logs = self.begin(model_dir, "--mode=train")
        deadline = time.monotonic() + 3600
        while step_of(model_dir) == before and time.monotonic() < deadline:
            assert all(process.poll() is None for process in running), logs[0].read_text()
            time.sleep(0.02)
        running[victim].send_signal(number)
        sent = time.monotonic()
        codes = finish(running, timeout=3600)
        self.seconds.append(time.monotonic() - sent)
        self.logs.append([log.read_text() for log in logs])
        return tuple(codes)


def step_of(model_dir):
    """Returns the step of the newest checkpoint, 0 without one."""
    latest = tf.train.latest_checkpoint(str(model_dir))
    return int(latest.rsplit("-", 1)[1]) if latest else 0


def numbers(model_dir):
    """Returns {name: value} of the newest checkpoint: weights, statistics, momenta, steps."""
    reader = tf.train.load_checkpoint(str(model_dir))
    other = ("_CHECKPOINTABLE_OBJECT_GRAPH", "save_counter/")  # how often a process has saved
    names = [n for n in reader.get_variable_to_shape_map() if not n.startswith(other)]
    return {name: reader.get_tensor(name) for name in names}


def rows(model_dir):
    return [json.loads(line) for line in (model_dir / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("workers"))


@pytest.fixture(scope="module")
def undisturbed(world):
    """The folder of the run of two workers, what they printed, what else they left behind.

    They also prepare the data, one of them while the other waits, and worker 0 evaluates.
    """
    printed = world.run(world.root / "two", "--mode=train_then_eval")
    return world.root / "two", printed, os.listdir(world.root)


@pytest.fixture(scope="module")
def alone(world, undisturbed):
    """The folder of the run of one process, and what it printed."""
    folder, printed = world.root / "alone", io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(printed):
        encoders.shorten(patch)
        training_worker.allow_small_streams(patch.setattr)
        assert main(["run.py", *world.flags(folder), "--mode=train"]) == 0
    return folder, printed.getvalue()


@pytest.fixture(scope="module")
def disturbed(world, undisturbed):
    """The folder of the run that was disturbed again and again, [(exit codes, step)] after each."""
    folder, outcomes = world.root / "disturbed", []
    for number, victim, _ in DISTURBANCES:
        outcomes.append((world.disturb(folder, number, victim), step_of(folder)))
    world.run(folder, "--mode=train")
    for (number, victim, _), seconds, logs in zip(DISTURBANCES, world.seconds, world.logs):
        TABLE.append(f"{signal.Signals(number).name} to worker {victim}, {seconds:.0f} s later:")
        for i, text in enumerate(logs):
            lines = [x for x in text.splitlines() if not x.startswith(("WARNING: All", "I0000"))]
            TABLE.extend(f"  worker {i}: {line}" for line in lines)
    return folder, outcomes


def test_two_workers_train_as_one_process_does(alone, undisturbed, world):
    """The same batches in the same order; much later rounding shows, which training blows up.

    Each of the two reads half of the streams over the files, and one process all of them.
    """
    assert len(list(world.root.glob("tfds/**/*-train.tfrecord-*"))) == training_worker.FILES
    one, two = rows(alone[0]), rows(undisturbed[0])
    assert [row["step"] for row in one] == [row["step"] for row in two]
    for name in ("contrast_loss", "total_loss"):
        first = [row[name] for row in one[:10]]
        assert [row[name] for row in two[:5]] == pytest.approx(first[:5], rel=1e-4)
        assert [row[name] for row in two[:10]] == pytest.approx(first, rel=5e-3)
        assert np.std(first) > 0.1  # one batch is not like another


def test_the_start_up_lines_say_what_runs(alone, undisturbed):
    assert (
        "OneDeviceStrategy, 1 x CPU, 8 examples per replica, up to 14 negatives per view, float32, "
        "step not compiled by XLA" in alone[1]
    )
    chief, other = undisturbed[1]
    assert (
        "MultiWorkerMirroredStrategy over 2 workers, 2 x CPU, 4 examples per replica, up to 14 "
        "negatives per view, float32, step not compiled by XLA" in chief
    )
    assert "Worker 1 of 2 trains; worker 0 reports." in other
    assert "read in 4 streams; of 2 workers each reads 1/2" in chief


def test_worker_0_evaluates_alone_and_counts_every_case(undisturbed, world):
    folder, (chief, other), _ = undisturbed
    assert other.splitlines()[-1] == "Worker 1 is done: worker 0 evaluates."
    assert "macro" in chief.lower()
    with open(folder / "predictions.csv") as file:
        cases = [row["case_id"] for row in csv.DictReader(file)]
    assert len(cases) == len(set(cases)) == CASES["test"]


def test_only_worker_0_writes(undisturbed):
    """Nothing of the others is left, in the run's folder or elsewhere."""
    names = os.listdir(undisturbed[0])
    assert len([name for name in names if name.endswith(".index")]) == 2
    assert len(os.listdir(undisturbed[0] / "events")) == 2  # of the training and of the evaluation
    assert not any(name.startswith("simclr_med_worker") for name in undisturbed[2])


@pytest.mark.parametrize("index", range(len(DISTURBANCES)))
def test_all_stop_within_a_minute_with_a_message(world, disturbed, index):
    number, victim, codes = DISTURBANCES[index]
    assert disturbed[1][index][0] == codes
    assert world.seconds[index] < 60  # not a measure of speed: what was promised
    logs = world.logs[index]
    assert not any("Traceback" in text for text in logs)
    last = logs[1 - victim].strip().splitlines()[-1]
    if number == signal.SIGKILL:
        assert f"Worker {victim} of 2 is gone" in last and "they go on from" in last
    else:
        assert last.startswith("Stopped. The same command goes on from")


def test_they_go_on_from_the_same_step(world, disturbed):
    steps = [step for _, step in disturbed[1]]
    assert steps == sorted(set(steps)) and steps[-1] < STEPS
    for index, step in enumerate(steps[:-1], start=1):
        assert f"Resuming at step {step} of {STEPS}" in world.logs[index][0]


def test_the_final_weights_are_those_of_the_undisturbed_run(undisturbed, disturbed):
    expected, actual = numbers(undisturbed[0]), numbers(disturbed[0])
    assert step_of(disturbed[0]) == STEPS and set(actual) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(actual[name], value, err_msg=name)
