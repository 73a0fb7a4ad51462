"""The command with an encoder of one block, so that a run of several processes takes seconds.

Usage: python training_worker.py FLAGS, as run.py.
"""

import sys

from simclr_med.commands.main import main
from simclr_med.models import resnet

if __name__ == "__main__":
    resnet.BLOCKS_PER_GROUP[18] = (1,)
    sys.exit(main(["run.py", *sys.argv[1:]]))
