"""Kills training at random moments of a checkpoint's writing, restarts it, and compares with a run
that nothing disturbed.

    python benchmarks/kill_stress.py [--kills=20] [--terms=5] [--steps=90] [--seed=0]

`run.py` itself trains, with a checkpoint after every step: a one-block encoder, and a projection wide
enough that most of the time goes into the checkpoints' 50 MB. A signal is sent at a time drawn uniformly
over a write. After each death this process, with code of its own and no TensorFlow, finds the newest
complete checkpoint; the restarted run has to print that it resumes at that step. At the end the losses
of all steps, and every number of the remaining checkpoints, must be bit-identical to those of the
undisturbed run.
"""

from __future__ import annotations

import argparse
import collections
import hashlib
import json
import os
import pathlib
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
import zlib

ROOT = pathlib.Path(__file__).resolve().parent.parent
FLAGS = [
    *("--mode=train", "--dataset=derm_bags", "--micle", "--resnet_depth=18", "--image_size=34"),
    *("--train_batch_size=4", "--warmup_epochs=0", "--nouse_blur", "--optimizer=momentum"),
    *(
        "--learning_rate=0.1",
        "--num_proj_layers=2",
        "--proj_out_dim=100000",
        "--checkpoint_steps=1",
    ),
]
KEEP = 3
SECONDS = 300  # time limit of a run, far above what one takes


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    for name, default in dict(kills=20, terms=5, steps=90, seed=0).items():
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stress = Stress(pathlib.Path(folder), args.steps)
        stress.undisturbed()
        kinds = [signal.SIGKILL] * args.kills + [signal.SIGTERM] * args.terms
        rng = random.Random(args.seed)
        rng.shuffle(kinds)
        for kind in kinds:
            event = stress.disturb(kind, rng)
            print(" ".join(f"{key}={value}" for key, value in event.items()), flush=True)
        stress.finish()
    table(stress.events)
    print(json.dumps({"events": stress.events}))
    return 0


class Stress:
    """A run that is disturbed and one that is not, both in `folder`.

    Args:
      folder: for photographs, datasets and runs.
      steps: of both runs.

    Attributes:
      events: what each signal hit, as `disturb` returns it.

    Raises:
      AssertionError: by any method whose check fails.
    """

    def __init__(self, folder: pathlib.Path, steps: int):
        self.folder, self.steps = folder, steps
        self.model_dir = folder / "disturbed"
        self.events: list[dict] = []
        self.write_seconds = 0.0  # duration of a write, measured by `undisturbed`
        draw_photos(folder / "photos")

    def start(self, model_dir: pathlib.Path, keep: int) -> subprocess.Popen:
        """Starts the command, the same each time, with the last `keep` checkpoints kept."""
        flags = [
            *FLAGS,
            f"--manual_dir={self.folder / 'photos'}",
            f"--data_dir={self.folder / 'tfds'}",
            f"--train_steps={self.steps}",
            f"--keep_checkpoint_max={keep}",
            f"--model_dir={model_dir}",
        ]
        return subprocess.Popen(
            [sys.executable, __file__, "--worker", *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
        )

    def undisturbed(self) -> None:
        """Runs to the end once, and measures how long a write takes."""
        process = self.start(self.folder / "undisturbed", KEEP)
        last, since, durations = None, 0.0, []
        while process.poll() is None:
            step = step_being_written(self.folder / "undisturbed")
            if step != last:
                durations += [time.monotonic() - since] if last is not None else []
                last, since = step, time.monotonic()
            time.sleep(0.001)
        output = process.communicate()[0]
        assert process.returncode == 0, output
        self.write_seconds = sorted(durations)[len(durations) // 2]
        print(
            f"{self.steps} steps undisturbed; a write takes {self.write_seconds:.2f} s", flush=True
        )

    def disturb(self, kind: signal.Signals, rng: random.Random) -> dict:
        """Restarts the run, sends a signal in the middle of a write, and checks what it left.

        Args:
          kind: SIGKILL or SIGTERM.
          rng: decides the moment.

        Returns:
          The event: signal, moment, what it hit, steps before and after, exit code.
        """
        before = newest_whole(self.model_dir)
        process = self.start(self.model_dir, KEEP)
        writes = rng.randint(1, 3)  # number of the write since the restart
        delay = rng.uniform(0, self.write_seconds)
        wait_for_write(process, self.model_dir, writes)
        time.sleep(delay)
        state = state_of_write(self.model_dir)
        process.send_signal(kind)
        output = process.communicate(timeout=SECONDS)[0]
        if kind == signal.SIGKILL:
            state = state_of_write(self.model_dir)
        expected = -signal.SIGKILL if kind == signal.SIGKILL else 128 + signal.SIGTERM
        assert process.returncode == expected, (process.returncode, output)
        assert resumed_at(output) == before, (resumed_at(output), before, output)
        assert "damaged" not in output, output
        after = newest_whole(self.model_dir)
        assert after >= before, f"steps are lost: {before} before, {after} after\n{output}"
        if kind == signal.SIGTERM:
            assert f"The same command goes on from {self.model_dir}" in output, output
            assert state_of_write(self.model_dir) == BETWEEN, output
        event = {
            "signal": kind.name,
            "at": f"{delay / self.write_seconds:.0%}",
            "hit": state,
            "resumed": before,
            "whole_after": after,
            "exit": process.returncode,
        }
        self.events.append(event)
        return event

    def finish(self) -> None:
        """Lets the run finish, and compares it with the undisturbed one."""
        before = newest_whole(self.model_dir)
        process = self.start(self.model_dir, KEEP)
        output = process.communicate(timeout=SECONDS)[0]
        assert process.returncode == 0, output
        assert resumed_at(output) == before, (before, output)
        other = self.folder / "undisturbed"
        assert (self.model_dir / "metrics.jsonl").read_text() == (
            other / "metrics.jsonl"
        ).read_text()
        actual, expected = digests(self.model_dir, other)
        assert actual == expected and len(actual) == KEEP, (actual, expected)
        print(
            f"Losses of all {self.steps} steps and every number of the last {KEEP} checkpoints are "
            "those of the undisturbed run."
        )


BETWEEN = "between writes"


def step_being_written(model_dir: pathlib.Path) -> int | None:
    """Returns the step of the checkpoint that is being written, None if none is."""
    for name in file_names(model_dir):
        if match := re.match(r"unfinished-ckpt-(\d+)", name):
            return int(match[1])
    return None


def wait_for_write(process: subprocess.Popen, model_dir: pathlib.Path, number: int) -> None:
    """Waits until the run's write of this number, from 1, begins."""
    last, begun, deadline = step_being_written(model_dir), 0, time.monotonic() + SECONDS
    while begun < number:
        assert process.poll() is None, f"the run ended by itself:\n{process.communicate()[0]}"
        assert time.monotonic() < deadline
        step = step_being_written(model_dir)  # at first what the previous process left
        begun += step is not None and step != last
        last = step
        time.sleep(0.0005)


def state_of_write(model_dir: pathlib.Path) -> str:
    """Returns in words how far the newest write has got."""
    files = file_names(model_dir)
    step = step_being_written(model_dir)
    data = f"unfinished-ckpt-{step}.data-00000-of-00001"
    if step is not None:
        if f"unfinished-ckpt-{step}.index" in files:
            return "written, not sealed" if data in files else "half renamed"
        return "weights half written" if data not in files else "index half written"
    whole = {re.sub(r"\.index$", "", n) for n in files if re.fullmatch(r"ckpt-\d+\.index", n)}
    if any(f"{name}.json" not in files for name in whole):
        return "renamed, not sealed"
    newest = max(whole, key=lambda name: int(name[5:]), default="")
    listed = (model_dir / "checkpoint").read_text() if "checkpoint" in files else ""
    if newest and f'model_checkpoint_path: "{newest}"' not in listed:
        return "sealed, not listed"
    if len(whole) > KEEP:
        return "listed, oldest not yet removed"
    return BETWEEN if whole else "nothing"


def newest_whole(model_dir: pathlib.Path) -> int:
    """Returns the step of the newest checkpoint whose seal is correct, or which has all files but it."""
    for step in sorted(
        (int(n[5:-6]) for n in file_names(model_dir) if INDEX.fullmatch(n)), reverse=True
    ):
        prefix = model_dir / f"ckpt-{step}"
        seal = prefix.with_suffix(".json")
        if not seal.exists():  # died in the instant before the seal: both files were renamed
            return step
        files = {s: pathlib.Path(f"{prefix}{s}").read_bytes() for s in json.loads(seal.read_text())}
        assert {s: [len(b), zlib.crc32(b)] for s, b in files.items()} == json.loads(
            seal.read_text()
        )
        return step
    return 0


INDEX = re.compile(r"ckpt-\d+\.index")


def resumed_at(output: str) -> int:
    match = re.search(r"Resuming at step (\d+) of", output)
    return int(match[1]) if match else 0


def file_names(folder: pathlib.Path) -> list[str]:
    try:
        return os.listdir(folder)
    except FileNotFoundError:
        return []


def digests(*folders: pathlib.Path) -> list[dict[str, str]]:
    """Returns {checkpoint: hash of all its numbers} of each folder, from a process with TensorFlow."""
    process = subprocess.run(
        [sys.executable, __file__, "--digests", *map(str, folders)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(process.stdout.splitlines()[-1])


def table(events: list[dict]) -> None:
    counts = collections.Counter((event["hit"], event["signal"]) for event in events)
    print(f"{'what the signal hit':34} SIGKILL SIGTERM")
    for hit in sorted({event["hit"] for event in events}):
        print(f"{hit:34} {counts[hit, 'SIGKILL']:7} {counts[hit, 'SIGTERM']:7}")


def draw_photos(folder: pathlib.Path) -> None:
    """Writes 12 cases of two noisy images."""
    import numpy as np
    from PIL import Image

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = ["case_id,image_path,split"]
    for case in range(12):
        for image in range(2):
            pixels = rng.integers(0, 256, (40, 48, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{case}_{image}.png")
            rows.append(f"c{case},{case}_{image}.png,train")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")


def worker(flags: list[str]) -> int:
    """Runs `run.py` with an encoder of one block."""
    sys.path.insert(0, str(ROOT))
    from simclr_med.commands.main import main
    from simclr_med.models import resnet

    resnet.BLOCKS_PER_GROUP[18] = (1,)
    return main(["run.py", *flags])


def print_digests(folders: list[str]) -> int:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    import numpy as np
    import tensorflow as tf

    def digest(prefix):
        reader, sha = tf.train.load_checkpoint(prefix), hashlib.sha256()
        for key in sorted(reader.get_variable_to_shape_map()):
            if key != "_CHECKPOINTABLE_OBJECT_GRAPH" and "save_counter" not in key:
                sha.update(key.encode() + np.asarray(reader.get_tensor(key)).tobytes())
        return sha.hexdigest()

    print(
        json.dumps(
            [
                {n: digest(os.path.join(f, n[:-6])) for n in os.listdir(f) if INDEX.fullmatch(n)}
                for f in folders
            ]
        )
    )
    return 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        sys.exit(worker(sys.argv[2:]))
    if sys.argv[1:2] == ["--digests"]:
        sys.exit(print_digests(sys.argv[2:]))
    sys.exit(main())
