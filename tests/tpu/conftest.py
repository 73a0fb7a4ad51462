"""The step is lowered and compiled by the tools of benchmarks/, which import one another by name."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "benchmarks"))
