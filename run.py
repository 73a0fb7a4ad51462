"""The command line in a clone: `python run.py --help`. Installed, it is `simclr-med`."""

import sys

from simclr_med.commands.main import main

if __name__ == "__main__":
    sys.exit(main())
