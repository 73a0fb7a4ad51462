"""What tests share: drawn folders, tiny runs, processes. Imported as `helpers`, never the other way."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]  # of the clone
