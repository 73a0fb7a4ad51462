"""Share of training's wall time that saving, logging and evaluating take, in the derm recipe.

    python benchmarks/epoch_end.py

Runs flags/derm_finetune.flags on the drawn demo with ResNet-18, 48 px and batch 64. The recipe saves
and evaluates every 1,000 steps of 256 of the paper's 15,340 cases, which is every 16.7 epochs; this run
of 187 steps does so once. Measured from the second step on, since the first one traces. Every saved
checkpoint is evaluated on the validation split, to choose among them. The final evaluation, with 10,000
resamples, pictures and the report, happens once per run (30,000 steps in the recipe) and is a row of
its own.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections import defaultdict

from harness import ROOT, Bench

STEPS = 187
LIMIT = 0.05


class Watch:
    """Seconds spent in some functions, each of which is wrapped with a timer.

    Attributes:
      seconds: {label: total wall seconds}.
      first_end, last_end: {label: when the first and the latest call ended}, seconds.
    """

    def __init__(self):
        self.seconds: dict[str, float] = defaultdict(float)
        self.first_end: dict[str, float] = {}
        self.last_end: dict[str, float] = {}

    def on(self, owner, name: str, label: str) -> None:
        """Times the function `name` of a class or module `owner` under `label`."""
        function = getattr(owner, name)

        def timed(*args, **kwargs):
            started = time.perf_counter()
            try:
                return function(*args, **kwargs)
            finally:
                self.last_end[label] = time.perf_counter()
                self.first_end.setdefault(label, self.last_end[label])
                self.seconds[label] += self.last_end[label] - started

        setattr(owner, name, timed)


def main() -> None:
    bench = Bench(__doc__, {})
    sys.path.insert(0, ROOT)
    os.chdir(ROOT)
    from simclr_med import checkpoints, run_folder
    from simclr_med.commands.main import main
    from simclr_med.evaluation import evaluate, selection
    from simclr_med.training import train

    watch = Watch()
    watch.on(run_folder.RunLog, "show", "steps")
    watch.on(run_folder.RunLog, "write", "logging")
    watch.on(checkpoints.RunCheckpoints, "save", "saving")
    watch.on(selection, "_choose", "evaluating")
    watch.on(train, "_loop", "training")
    watch.on(evaluate, "evaluate", "last evaluation")
    with tempfile.TemporaryDirectory() as folder:
        recipe = ["--flagfile=flags/derm_finetune.flags", "--dataset=derm_bags/demo"]
        smaller = ["--resnet_depth=18", "--image_size=48", "--train_batch_size=64"]
        smaller += [f"--train_steps={STEPS}", f"--checkpoint_steps={STEPS}", "--top_conditions=0"]
        code = main(["run.py", *recipe, *smaller, f"--model_dir={folder}/run"])
    if code:
        raise SystemExit(code)
    training = watch.last_end["training"] - watch.first_end["steps"]
    end_of_epoch = ("saving", "logging", "evaluating")
    for name in (*end_of_epoch, "last evaluation"):
        spent = watch.seconds[name]
        if name == "last evaluation":  # chooses the checkpoint first, counted above
            spent -= watch.seconds["evaluating"]
        bench.add(name, spent, training, spent / training, **_WALL)
    spent = sum(watch.seconds[name] for name in end_of_epoch)
    bench.add(
        " + ".join(end_of_epoch), spent, training, spent / training, **_WALL | {"goal": LIMIT}
    )
    bench.finish()


_WALL = {"unit": "wall_s", "goal": None, "against": "training"}


if __name__ == "__main__":
    main()
