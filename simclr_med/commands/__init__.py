"""The command line: one file for each --mode, listed in COMMANDS; main.py chooses among them.

The only package that reads absl flags (flags.py), and the only one that imports `tfds_builders`.
"""

# --mode: the module in this package whose `run(invocation)` does it. It is imported once it is
# chosen, because most of them import TensorFlow.
COMMANDS = {
    "train": "train",
    "train_then_eval": "train",
    "eval": "evaluate",
    "build": "dataset",
    "verify": "dataset",
    "export": "export",
    "embed": "embed",
    "predict": "predict",
    "compare": "compare",
    "sweep": "experiments",
    "label_efficiency": "experiments",
    "study": "experiments",
}
