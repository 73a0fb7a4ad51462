"""Which part of the package may import which: arrows point downwards only (CONTRIBUTING.md)."""

import ast

import pytest

from helpers import ROOT

# Imported before TensorFlow is.
PURE = {"chatter", "config", "errors", "signals", "cluster", "transient", "printing"}
GROUND = {*PURE, "keras_api", "distribution", "out_of_memory"}  # may import one another
# From the top down. A part imports what stands below it; of the others only the ground also imports
# what stands beside it.
FLOORS = [
    {"api"},
    {"commands"},
    {"experiments"},
    {"evaluation", "training"},
    {"export"},
    {"checkpoints", "metrics", "build"},
    {"models", "data", "losses", "optim", "run_folder"},
    {"augment"},
    GROUND,
    {"__init__"},
]
FLOOR = {part: number for number, parts in enumerate(FLOORS) for part in parts}


def imports_of(path):
    """Returns the dotted names that a file imports, anywhere in it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def is_wrong(file, part, name):
    """Returns whether a file of simclr_med, in one of its parts, must not import a dotted name."""
    top, _, rest = name.partition(".")
    if top in ("tensorflow", "tf_keras", "numpy"):
        return part in PURE | {"__init__"}
    if top == "tfds_builders":
        return part not in ("api", "commands")
    if top == "absl":
        return file != "commands/flags.py"
    if top != "simclr_med":
        return False
    other = rest.split(".")[0]
    other = other if other in FLOOR else "__init__"  # a name that the package itself holds
    beside = other == part or {part, other} <= GROUND
    return part in PURE and other not in PURE or FLOOR[other] <= FLOOR[part] and not beside


def wrong_imports(root):
    """Returns "file: name" for each import of the two packages in `root` that breaks a rule."""
    wrong = []
    for path in sorted((root / "simclr_med").rglob("*.py")):
        file = path.relative_to(root / "simclr_med").as_posix()
        part = file.split("/")[0].removesuffix(".py")
        assert part in FLOOR, f"{file}: on which floor does it stand?"
        wrong += [f"{file}: {name}" for name in imports_of(path) if is_wrong(file, part, name)]
    for path in sorted((root / "tfds_builders").rglob("*.py")):
        of_ours = [name for name in imports_of(path) if name.split(".")[0] == "simclr_med"]
        wrong += [f"tfds_builders/{path.name}: {name}" for name in of_ours]
    return wrong


def test_arrows_point_downwards_only():
    assert wrong_imports(ROOT) == []


@pytest.mark.parametrize(
    ("file", "statement"),
    [
        ("models/resnet.py", "from simclr_med.training import train"),
        ("models/resnet.py", "from simclr_med import build"),
        ("training/train.py", "from simclr_med.evaluation.measure import measure"),
        ("evaluation/measure.py", "import simclr_med.training.step"),
        ("export/source.py", "from simclr_med.evaluation import selection"),
        ("metrics/exact.py", "from simclr_med.checkpoints import load"),
        ("run_folder/data_json.py", "from simclr_med.data import Bags"),
        ("augment/crop.py", "from simclr_med.data import pipeline"),
        ("distribution.py", "from simclr_med.models import Model"),
        ("config.py", "import tensorflow as tf"),
        ("cluster.py", "from simclr_med import distribution"),
        ("__init__.py", "import numpy"),
        ("__init__.py", "from simclr_med.losses import nt_xent"),
        ("build.py", "from tfds_builders import prepare"),
        ("commands/train.py", "from absl import flags"),
        ("../tfds_builders/prepare.py", "from simclr_med.errors import UserError"),
    ],
)
def test_a_planted_wrong_import_is_found(tmp_path, file, statement):
    for folder in ("simclr_med", "tfds_builders"):
        for path in (ROOT / folder).rglob("*.py"):
            copy = tmp_path / path.relative_to(ROOT)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    planted = tmp_path / "simclr_med" / file
    planted.write_text(f"{planted.read_text(encoding='utf-8')}\n\ndef later():\n    {statement}\n")
    assert len(wrong_imports(tmp_path)) == 1
