"""Storage that answers 503 for a while costs waits; for good, exit code 75 and one line."""

import json
import random
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny_runs
from helpers.command_line import run
from simclr_med import transient
from simclr_med.commands import dataset
from simclr_med.errors import StorageUnavailable
from simclr_med.evaluation import evaluate
from simclr_med.training import loop, train

BUSY = tf.errors.UnavailableError(None, None, "HTTP response code 503 with body 'busy'")
CONFIG = tiny_runs.BASE.replace(train_steps=4, checkpoint_steps=2, learning_rate=0.1)
NAMES = ("exists", "isdir", "listdir", "walk", "stat", "makedirs", "copy", "rename", "remove")


@pytest.fixture(autouse=True)
def no_waits(monkeypatch):
    monkeypatch.setattr(transient.time, "sleep", lambda seconds: None)


def refused(code, errors):
    """Checks what a command says where storage does not answer."""
    assert code == 75, errors
    assert len(errors.splitlines()) == 1 and errors.startswith("run.py: "), errors
    assert "503" in errors and "Give the same command again later." in errors


def weights_of(folder):
    reader = tf.train.load_checkpoint(str(folder / "ckpt-4"))
    return {k: reader.get_tensor(k) for k in sorted(reader.get_variable_to_shape_map())}


@pytest.fixture(scope="module")
def undisturbed_run(tiny_data, strategy, tmp_path_factory):
    from helpers import encoders

    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch)
        train.train(CONFIG, tiny_data, str(folder), strategy, {})
    return folder


def check_equal(folder, other):
    actual, expected = weights_of(folder), weights_of(other)
    for name, value in expected.items():
        if name != "_CHECKPOINTABLE_OBJECT_GRAPH":
            np.testing.assert_array_equal(actual[name], value, name)
    assert (folder / "metrics.jsonl").read_text() == (other / "metrics.jsonl").read_text()


def test_a_run_on_storage_that_often_fails_is_the_same_run(
    undisturbed_run, tiny_data, strategy, tmp_path, monkeypatch, one_block, capsys
):
    """A third of all operations on files fail, before or after they are done."""
    rng = random.Random(0)

    def unreliable(function):
        def act(*args, **kwargs):
            fault = rng.random()
            if fault < 0.15:
                raise BUSY
            result = function(*args, **kwargs)
            if fault > 0.85:
                raise BUSY
            return result

        return act

    monkeypatch.setattr(transient, "WAITS", (0.0,) * 30)
    for name in NAMES:
        monkeypatch.setattr(tf.io.gfile, name, unreliable(getattr(tf.io.gfile, name)))
    monkeypatch.setattr(tf.train.Checkpoint, "write", unreliable(tf.train.Checkpoint.write))
    train.train(CONFIG, tiny_data, str(tmp_path / "run"), strategy, {})
    monkeypatch.undo()
    assert capsys.readouterr().out.count("attempt 2 of 31") > 8
    check_equal(tmp_path / "run", undisturbed_run)
    assert not [p for p in (tmp_path / "run").iterdir() if "unfinished" in p.name]


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("faults", [{1: 1, 3: 2}, {0: 1}])
def test_images_that_cannot_be_read_for_a_while_change_nothing(
    undisturbed_run, tiny_data, strategy, tmp_path, monkeypatch, one_block, faults
):
    """A batch that was lost on the way is read again."""
    left, make_run_steps = dict(faults), loop.make_run_steps

    def make(config, method, strategy, trained, ops):
        run_steps = make_run_steps(config, method, strategy, trained, ops)

        def failing(iterator, n):
            step = int(trained.optimizer.iterations)
            if left.get(step, 0):
                left[step] -= 1
                next(iterator)
                raise BUSY
            return run_steps(iterator, n)

        return failing

    monkeypatch.setattr(loop, "make_run_steps", make)
    train.train(CONFIG, tiny_data, str(tmp_path / "run"), strategy, {})
    assert not any(left.values())
    check_equal(tmp_path / "run", undisturbed_run)


def test_images_that_never_come_end_the_run_with_its_checkpoints_kept(
    tiny_data, strategy, tmp_path, monkeypatch, one_block
):
    def make(config, method, strategy, trained, ops):
        def failing(iterator, n):
            raise BUSY

        return failing

    monkeypatch.setattr(loop, "make_run_steps", make)
    with pytest.raises(StorageUnavailable, match="Reading images to train on failed 6 times"):
        train.train(CONFIG, tiny_data, str(tmp_path / "run"), strategy, {})


@pytest.mark.parametrize(
    "arguments",
    [
        ("--mode=compare", "--runs=gs://bucket/a,gs://bucket/b"),
        ("--mode=eval", "--model_dir=gs://bucket/run"),
        ("--mode=export", "--model_dir=gs://bucket/run"),
    ],
)
def test_a_bucket_that_never_answers(monkeypatch, arguments):
    def busy(*args, **kwargs):
        raise BUSY

    for name in NAMES:
        monkeypatch.setattr(tf.io.gfile, name, busy)
    code, out, errors = run(*arguments)
    refused(code, errors)
    assert "attempt 6 of 6" in out


@pytest.mark.parametrize("times", [2, 10**6])
def test_prepared_data_that_cannot_be_opened_for_now(monkeypatch, times, tmp_path):
    calls = []

    def prepare(*args, **kwargs):
        calls.append(1)
        if len(calls) <= times:
            raise OSError("HTTP 503 Service Unavailable")  # as etils and fsspec pass it on
        raise KeyboardInterrupt  # far enough

    monkeypatch.setattr(dataset.preparation, "prepare", prepare)
    code, _, errors = run("--dataset=derm_bags", f"--manual_dir={tmp_path}", "--mode=build")
    if times == 2:
        assert code == 130 and len(calls) == 3
    else:
        refused(code, errors)


def test_an_evaluation_begins_again_and_gives_the_same(
    tiny_tuned, tiny_data, strategy, tmp_path, monkeypatch, one_block
):

    folder = tmp_path / "run"
    shutil.copytree(tiny_tuned, folder)
    before = json.loads((folder / "result.json").read_text())
    del before["provenance"]  # when
    (folder / "result.json").unlink()
    calls, measure = [], evaluate.measure

    def busy_at_first(*args, **kwargs):
        calls.append(1)
        if len(calls) < 3:
            raise RuntimeError("reading failed") from BUSY
        return measure(*args, **kwargs)

    monkeypatch.setattr(evaluate, "measure", busy_at_first)
    evaluate.evaluate(tiny_runs.FINETUNE, tiny_data, str(folder), strategy, pictures=False)
    after = json.loads((folder / "result.json").read_text())
    del after["provenance"]
    assert {**after, "files": 0} == {**before, "files": 0}


def test_any_other_fault_of_the_same_kind_ends_a_command_with_75(monkeypatch, tmp_path):
    """Where nothing tries again: in a part that nobody thought of."""

    def busy(*args, **kwargs):
        raise BUSY

    monkeypatch.setattr(dataset, "retried", lambda action, what: busy())
    code, _, errors = run("--dataset=derm_bags", f"--manual_dir={tmp_path}", "--mode=build")
    refused(code, errors)
