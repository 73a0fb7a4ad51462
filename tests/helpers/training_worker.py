"""The command with an encoder of one block, so that a run of several processes takes seconds.

A split that it prepares is stored in `FILES` files, as large ones are, and read in streams, however few
examples it has: workers share them.

Usage: python training_worker.py FLAGS, as run.py.
"""

import functools
import sys

import tensorflow_datasets as tfds

from simclr_med.commands.main import main
from simclr_med.data import streams
from simclr_med.models import resnet

FILES = 4


def allow_small_streams(setattr_):
    """Lets few examples be read in streams; `setattr_` as `setattr`, or a MonkeyPatch's."""
    for name, value in {"_LEAST": 10, "_UNEQUAL": 0.1, "_SKIPPED": 1.0}.items():
        setattr_(streams, name, value)


if __name__ == "__main__":
    allow_small_streams(setattr)
    resnet.BLOCKS_PER_GROUP[18] = (1,)
    tfds.download.DownloadConfig = functools.partial(tfds.download.DownloadConfig, num_shards=FILES)
    sys.exit(main(["run.py", *sys.argv[1:]]))
