"""A run in a folder that only TensorFlow can open, gfile's ram://: nothing takes it for a local path.

What must not happen also leaves a trace: a folder named `ram:` where the process works.
"""

import json
import os
import subprocess
import sys

import pytest

from helpers import ROOT, tiny_runs

pytestmark = [pytest.mark.slow, pytest.mark.one_stack]  # quick, without runs: test_files.py

SCRIPT = f"""
import json, os, sys
sys.path[:0] = [{str(ROOT)!r}, {str(ROOT / "tests")!r}]
import numpy as np
import tensorflow as tf
from simclr_med.commands.main import main
from helpers import tiny_runs
from simclr_med.models import resnet

resnet.BLOCKS_PER_GROUP[18] = (1, 1, 1, 1)  # an export has the features of four groups
gfile, photos = tf.io.gfile, os.path.join(sys.argv[1], "photos")
DATA = ["--dataset=derm_bags", f"--manual_dir={{photos}}", f"--data_dir={{sys.argv[1]}}/tfds"]
TINY = ["--resnet_depth=18", "--image_size=34", "--train_batch_size=4", "--checkpoint_steps=1",
        "--warmup_epochs=0", "--eval_batch_size=4", "--proj_out_dim=8",
        "--eval_split=validation", "--optimizer=momentum", "--learning_rate=0.1"]
seen = {{}}

def command(*flags):
    code = main(["run.py", *DATA, *TINY, *flags])
    assert code == 0, (flags, code)

def inside(folder):
    return sorted(name.rstrip("/") for name in gfile.listdir(folder))

"""


PRETRAINING = """
RUN, TUNED = "ram://bucket/runs/pretrained", "ram://bucket/runs/tuned"
command("--mode=train", "--train_steps=3", f"--model_dir={RUN}")
seen["steps"] = [json.loads(line)["step"] for line in gfile.GFile(f"{RUN}/metrics.jsonl")]
first = tf.compat.v1.train.NewCheckpointReader(f"{RUN}/ckpt-3")
keys = sorted(set(first.get_variable_to_shape_map()) - {"_CHECKPOINTABLE_OBJECT_GRAPH"})
values = {key: first.get_tensor(key) for key in keys}
with gfile.GFile(f"{RUN}/ckpt-3.index", "wb") as file:
    file.write(b"half")
command("--mode=train", "--train_steps=3", f"--model_dir={RUN}")  # from step 2
again = tf.compat.v1.train.NewCheckpointReader(f"{RUN}/ckpt-3")
seen["equal"] = all(np.array_equal(values[k], again.get_tensor(k)) for k in keys if "counter" not in k)
command("--mode=eval", f"--model_dir={RUN}")
seen["pretrained"] = inside(RUN)
seen["saved_model"] = inside(f"{RUN}/saved_model/3")
loaded = tf.saved_model.load(f"{RUN}/saved_model/3")
seen["embeddings"] = list(loaded(tf.zeros([2, 50, 40, 3], tf.uint8))["embeddings"].shape)
command("--mode=train_then_eval", "--train_mode=finetune", f"--checkpoint={RUN}", "--train_steps=2",
        f"--model_dir={TUNED}", "--selection_split=train[:50%]", "--train_split=train[50%:]")
seen["tuned"] = inside(TUNED)
assert main(["run.py", "--mode=compare", f"--runs={TUNED},{TUNED}",
                 "--model_dir=ram://bucket/compared"]) == 0
seen["compared"] = inside("ram://bucket/compared")
assert main(["run.py", "--mode=export", f"--model_dir={TUNED}",
                 "--export_formats=saved_model,keras"]) == 0
seen["export"] = inside(f"{TUNED}/export")
assert main(["run.py", "--mode=embed", f"--model_dir={TUNED}"]) == 0
seen["embedded"] = [name for name in inside(TUNED) if name.startswith("embeddings")]
"""
EXPERIMENTS = """
resnet.BLOCKS_PER_GROUP[18] = (1,)
FEW = ["--train_mode=finetune", "--train_steps=1", "--keep_hub_module_max=0"]
command("--mode=label_efficiency", "--label_fractions=1", "--model_dir=ram://bucket/few", *FEW)
seen["fractions"] = inside("ram://bucket/few")
command("--mode=sweep", "--sweep_learning_rates=0.1", "--sweep_weight_decays=0", *FEW,
        "--model_dir=ram://bucket/grid", "--selection_split=train[:50%]", "--train_split=train[50%:]")
seen["sweep"] = inside("ram://bucket/grid")
"""
PREPARED = """
from etils.epath import backend, gpath, register

gpath._URI_PREFIXES += ("ram://",)
gpath._URI_SCHEMES |= {"ram"}
gpath._URI_MAP_ROOT["ram://"] = "/ram/"
gpath._PREFIX_TO_BACKEND["ram"] = backend.tf_backend
register.register_path_cls("ram://")(gpath.PosixGPath)
local = f"{sys.argv[1]}/tfds"
for at, _, names in gfile.walk(local):
    gfile.makedirs("ram://data" + at.removeprefix(local))
    for name in names:
        gfile.copy(f"{at}/{name}", f"ram://data{at.removeprefix(local)}/{name}")
gfile.rmtree(local)
DATA[2] = "--data_dir=ram://data"
command("--mode=verify")
command("--mode=train", "--train_steps=1", "--model_dir=ram://bucket/run")
seen["again"] = gfile.exists(local)
seen["inside"] = inside("ram://bucket/run")
seen["sheet"] = [n for _, _, names in gfile.walk("ram://data") for n in names if n.endswith("png")]
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What all three saw, one after the other in a process that works in an empty folder."""
    folder = tmp_path_factory.mktemp("world")
    tiny_runs.draw_folder(folder / "photos")
    where = folder / "empty"
    where.mkdir()
    script = SCRIPT + PRETRAINING + EXPERIMENTS + PREPARED + "\nprint('SEEN', json.dumps(seen))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(folder)],
        capture_output=True,
        text=True,
        cwd=where,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    assert os.listdir(where) == []
    return json.loads(done.stdout.rsplit("SEEN ", 1)[1])


def test_pretraining_evaluation_and_fine_tuning_in_a_remote_folder(seen):
    """Also resumes, falls back from a damaged checkpoint, follows, compares, exports and embeds."""
    assert seen["steps"] == [1, 2, 3] and seen["equal"]
    for name in (
        *("ckpt-1.index", "ckpt-3.json", "checkpoint", "config.json", "flags.json", "data.json"),
        *("metrics.jsonl", "events", "views.png", "curves.png", "embedding.png"),
        *("result.json", "predictions.csv", "report.html", "saved_model"),
    ):
        assert name in seen["pretrained"], name
    assert not [name for name in seen["pretrained"] if "tmp" in name or "unfinished" in name]
    assert "simclr_med.json" in seen["saved_model"] and "saved_model.pb" in seen["saved_model"]
    assert seen["embeddings"] == [2, 512]
    assert "selection.json" in seen["tuned"] and "report.html" in seen["tuned"]
    assert seen["compared"] == ["compare.csv", "compare.json"]
    exported = ["README.md", "encoder.keras", "encoder.weights.h5", "saved_model"]
    assert seen["export"] == exported
    assert seen["embedded"] == ["embeddings_validation.npz", "embeddings_validation.parquet"]


def test_label_efficiency_and_a_sweep_in_a_remote_folder(seen):
    assert {"label_efficiency.md", "report.html"} <= set(seen["fractions"])
    assert {"best.json", "sweep.png", "predictions.csv", "report.html"} <= set(seen["sweep"])


def test_prepared_data_in_a_remote_folder(seen):
    """TFDS opens paths by etils' epath, which knows gs:// and not ram://: the script tells it to."""
    assert not seen["again"] and "ckpt-1.index" in seen["inside"]
    assert seen["sheet"] == ["contact_sheet.png"]
