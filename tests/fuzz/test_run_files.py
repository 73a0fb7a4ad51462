"""Files of runs that are read back, changed in any way: a result or an error message, nothing else.

No other exception, nothing written outside the folder, no more than 10 s and 2 GB for an input.
"""

import contextlib
import io
import json
import os
import resource
import shutil
import time

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simclr_med import run_folder
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.weights import initial, input_range, load, open_weights
from simclr_med.commands import run_config
from simclr_med.config import Config
from simclr_med.data.cases import Cases
from simclr_med.errors import UserError
from simclr_med.evaluation import lineage, run_origins
from simclr_med.evaluation.report.results import predictions_csv
from simclr_med.export import source
from simclr_med.metrics.predictions import align, read_predictions
from simclr_med.run_folder import data_json

pytestmark = [pytest.mark.slow, pytest.mark.one_stack]
SECONDS, GIGABYTES = 10, 2


def fuzz(examples):
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


@contextlib.contextmanager
def survived(folder):
    """Nothing but a UserError comes out, in time, in memory, and no file appears beside `folder`."""
    beside = set(os.listdir(folder.parent))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.suppress(UserError):
        yield
    assert time.process_time() - start < SECONDS
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < GIGABYTES * 2**20  # kB
    assert set(os.listdir(folder.parent)) == beside and os.listdir(".") == []


@st.composite
def changes(draw):
    """Returns a function from bytes to other bytes: cut, zeroed, overwritten, repeated, inserted."""
    steps = draw(
        st.lists(
            st.tuples(
                st.sampled_from(["cut", "zero", "set", "insert", "repeat", "drop"]),
                st.floats(0, 1),
                st.integers(1, 64),
                st.binary(min_size=1, max_size=16),
            ),
            min_size=1,
            max_size=4,
        )
    )

    def change(data):
        for kind, place, size, other in steps:
            start = int(place * max(len(data) - 1, 0))
            end = start + size
            data = {
                "cut": data[:start],
                "zero": data[:start] + bytes(len(data[start:end])) + data[end:],
                "set": data[:start] + other + data[start + len(other) :],
                "insert": data[:start] + other + data[start:],
                "repeat": data[:end] + data[start:],
                "drop": data[:start] + data[end:],
            }[kind]
        return data

    return change


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["", "ckpt-1", "../ckpt-1", "1e999", "train[:50%]", "auto"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def changed_json(draw, value):
    """Returns a JSON text: `value` with keys replaced or missing, another value, or damaged bytes."""
    kind = draw(st.sampled_from(["keys", "keys", "keys", "other", "bytes"]))
    text = json.dumps(value).encode()
    if kind == "bytes":
        return draw(changes())(text)
    if kind == "other":
        return json.dumps(draw(JSON)).encode()
    value = dict(value)
    for key in draw(st.lists(st.sampled_from(sorted(value)), min_size=1, max_size=3)):
        if draw(st.booleans()):
            value[key] = draw(JSON)
        else:
            value.pop(key, None)
    return json.dumps(value).encode()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    (tmp_path / "cwd").mkdir()
    monkeypatch.chdir(tmp_path / "cwd")


CONFIG = {
    **Config().replace(train_mode="finetune", checkpoint="nothing").to_dict(),
    **{"class_names": ["a", "b"], "prepared_dataset": "derm_bags/x/1.0.0", "data_order": 3},
    "num_streams": 1,
}
DATA = {
    **{"dataset": "d/x", "fingerprint": "f", "split": "train", "bags": 3, "images": 4},
    **{"bags_of_splits": {"train": 3}, "patients_of_all_splits": 3, "skipped_images": []},
    **{"missing_images": 0, "class_names": ["a", "b"], "several_labels": False, "reading": {}},
}
SELECTION = {
    **{"checkpoint": "ckpt-1", "thresholds": None, "split": "validation", "metric": "macro_auc"},
    **{"candidates": ["ckpt-1"], "checkpoints": {"ckpt-1": "0"}, "made_of": {"seed": 0}},
    "value_of_step": {"1": 0.5},
}
METRICS = [{"step": step, "contrast_loss": 1.0, "contrast_acc": 0.5} for step in range(1, 12)]


@fuzz(1200)
@given(data=st.data())
def test_json_files_of_a_run(tmp_path, data):
    """config.json, data.json, selection.json, initial_weights.json, metrics.jsonl; by all readers."""
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    contents = {
        "config.json": CONFIG,
        "data.json": DATA,
        "selection.json": SELECTION,
        "initial_weights.json": {"checkpoint": "c", "encoder_sha256": "0" * 64},
    }
    broken = data.draw(st.sampled_from([*contents, "metrics.jsonl"]))
    for name, value in contents.items():
        text = data.draw(changed_json(value)) if name == broken else json.dumps(value).encode()
        (folder / name).write_bytes(text)
    lines = "".join(json.dumps(row) + "\n" for row in METRICS).encode()
    if broken == "metrics.jsonl":
        lines = data.draw(changes())(lines)
    (folder / "metrics.jsonl").write_bytes(lines)
    where, config = str(folder), Config().replace(train_mode="finetune")
    readers = (
        lambda: run_config.config_of_run({"model_dir": where, "mode": "eval"}, "eval"),
        lambda: run_config.config_of_run({"model_dir": where, "dataset": "d"}, "embed"),
        lambda: run_folder.check_same_run(where, config, "d", ("a",)),
        lambda: run_folder.data_order(where),
        lambda: run_folder.num_streams(where),
        lambda: run_folder.read_metrics(where),
        lambda: run_folder.RunLog(where, 5, 10, 2.0).close(),
        lambda: input_range.resolve(config, where),
        lambda: lineage.stages({**CONFIG, "checkpoint": where}),
        lambda: run_origins.pretraining_of(str(folder / "predictions.csv")),
        lambda: run_origins.blocks_of([str(folder / "predictions.csv")], []),
        lambda: source.newest_or_chosen(config, where),
        lambda: source.class_names_of(config, where),
        lambda: data_json.read(where),
        lambda: initial.read(where),
        lambda: open_weights(where),
    )
    for read in readers:
        with survived(folder):
            read()


def predictions(multilabel):
    rng = np.random.default_rng(0)
    ids = np.array([f"c{i}" for i in range(12)])
    labels = np.arange(12) % 3
    if multilabel:
        labels = rng.integers(0, 2, (12, 3)).astype(float)
    cases = Cases(ids, ids, labels, np.ones(12, int), {"sex": ids})
    return predictions_csv(cases, rng.dirichlet(np.ones(3), 12), ("a, b", "=c", "d")).encode()


@fuzz(1200)
@given(multilabel=st.booleans(), change=changes())
def test_predictions(tmp_path, multilabel, change):
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    text = predictions(multilabel)
    (folder / "one.csv").write_bytes(text)
    (folder / "two.csv").write_bytes(change(text))
    with survived(folder):
        second = read_predictions(str(folder / "two.csv"))
        assert len(second.ids) == len(second.scores) == len(second.truth) > 0
        align([read_predictions(str(folder / "one.csv")), second])
        second.labelled()


class Layer(tf.Module):
    def __init__(self, **parts):
        super().__init__()
        for name, part in parts.items():
            setattr(self, name, part)


def read_all(weights):
    """Reads every array, as `load` does before it changes a model."""
    load._check_values(weights.path, weights.entries)
    load._differing(weights.shapes(), weights.shapes(), ())


def write_checkpoint(folder, step):
    variables = [tf.Variable(np.arange(n, dtype=np.float32)) for n in (12, 300, 5)]
    stem = Layer(kernel=variables[0], norm=Layer(gamma=variables[1]))
    model = Layer(encoder=Layer(stem=stem), head=Layer(bias=variables[2]))
    prefix = str(folder / f"ckpt-{step}")
    tf.train.Checkpoint(model=model).write(checkpoint_files.temp_prefix(prefix))
    checkpoint_files.commit(checkpoint_files.temp_prefix(prefix), prefix)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Two checkpoints of a run, as it leaves them."""
    folder = tmp_path_factory.mktemp("whole")
    for step in (1, 2):
        write_checkpoint(folder, step)
    checkpoint_files.write_list(str(folder), [str(folder / "ckpt-1"), str(folder / "ckpt-2")])
    return folder


@fuzz(2000)
@given(
    ending=st.sampled_from([".index", ".index", ".data-00000-of-00001", ".json", "checkpoint"]),
    change=changes(),
    sealed=st.booleans(),
)
def test_checkpoints(tmp_path, whole, ending, change, sealed):
    """With the seals of a run, and without, as other people's are read."""
    folder = tmp_path / "run"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(whole, folder)
    if not sealed:
        for path in folder.glob("*.json"):
            path.unlink()
    path = folder / (ending if ending == "checkpoint" else f"ckpt-2{ending}")
    if path.exists():
        path.write_bytes(change(path.read_bytes()))
    with survived(folder):
        newest = checkpoint_files.newest_usable(str(folder))
        if sealed and ending != "checkpoint" and not checkpoint_files.find_damage(newest):
            assert newest.endswith(("ckpt-1", "ckpt-2"))
    with survived(folder):
        read_all(open_weights(str(folder)))
    with survived(folder):
        checkpoint_files.listed(str(folder))
        checkpoint_files.remove_leftovers(str(folder))


def npz():
    rng = np.random.default_rng(0)
    prefix = "resnet/block1/unit01/a"
    arrays = {
        "resnet/root_block/standardized_conv2d/kernel": rng.normal(size=(7, 7, 3, 4)),
        f"{prefix}/standardized_conv2d/kernel": rng.normal(size=(1, 1, 4, 4)),
        f"{prefix}/group_norm/gamma": rng.normal(size=4),
        "resnet/group_norm/gamma": rng.normal(size=4),
        "resnet/head/conv2d/bias": rng.normal(size=3),
    }
    file = io.BytesIO()
    np.savez(file, **{name: value.astype(np.float32) for name, value in arrays.items()})
    return file.getvalue()


@fuzz(2000)
@given(change=changes())
def test_arrays_of_others(tmp_path, change):
    folder = tmp_path / "run"
    folder.mkdir(exist_ok=True)
    path = folder / "weights.npz"
    path.write_bytes(change(npz()))
    with survived(folder):
        read_all(open_weights(str(path)))
