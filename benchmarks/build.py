"""Preparing a folder: CPU seconds per image, against another state of this repository.

    git worktree add /tmp/before COMMIT
    python benchmarks/build.py --before /tmp/before --derm FOLDER --nih FOLDER

FOLDER is one that `--dataset=derm_bags` or `nih_cxr14` reads. Both states build it in turn, each in a
process of its own that has built it once before it is measured. Checking the folder's tables is not
measured.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile

from harness import Bench, Contender


def build(name: str, before: bool):
    """Returns a contender that builds a folder; its items are images.

    Args:
      name: option that names the folder, "derm" or "nih".
      before: whether to build with the state in --before rather than with this one.
    """

    def make(options):
        if before:
            sys.path.insert(0, os.path.abspath(options.before))
        import tensorflow_datasets as tfds

        from tfds_builders import derm_bags, nih_cxr14

        package = {"derm": derm_bags, "nih": nih_cxr14}[name]
        if before != package.__file__.startswith(os.path.abspath(options.before or "?")):
            raise SystemExit(f"Imported {package.__file__}, which belongs to the other state.")
        tfds.disable_progress_bar()
        config = package.folder_config(getattr(options, name))

        def work() -> int:
            with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(None):
                builder = package.Builder(config=config, data_dir=folder)
                builder.download_and_prepare()
                return sum(builder.info.metadata["num_images"].values())

        work()
        return work

    return Contender(make, needs="before" if before else name)


def add_arguments(parser) -> None:
    parser.add_argument("--before", help="folder of another state of this repository")
    parser.add_argument("--derm", help="folder of photographs")
    parser.add_argument("--nih", help="folder of NIH ChestX-ray14, or of a part")


if __name__ == "__main__":
    contenders = {
        f"{name} {state}": build(name, state == "before")
        for name in ("derm", "nih")
        for state in ("now", "before")
    }
    bench = Bench(__doc__, contenders, add_arguments)
    for name in ("derm", "nih"):
        if getattr(bench.options, name):
            results = bench.measure(f"{name} now", f"{name} before")
            now, before = results[f"{name} now"], results.get(f"{name} before")
            bench.row(f"{name}, an image", now, before, goal=1.1, against="before")
    bench.finish()
