"""Checkpoints: what a damaged one is, which is taken instead, and what the writing thread does."""

import contextlib
import errno
import os
import re
import shutil
import subprocess
import sys
import threading

import numpy as np
import pytest
import tensorflow as tf

from helpers import ROOT
from simclr_med import checkpoints, transient
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints import reading
from simclr_med.checkpoints.restore import restore
from simclr_med.checkpoints.weights import open_weights
from simclr_med.errors import Diverged, StorageUnavailable, UserError
from simclr_med.keras_api import keras
from simclr_med.optim import make_head_optimizer, make_optimizer, supervised_variables
from simclr_med.signals import Interrupted

NAMES = [f"ckpt-{step}" for step in (1, 2, 3)]


class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense, self.norm = keras.layers.Dense(300), keras.layers.BatchNormalization()
        self.supervised_head = keras.layers.Dense(2)

    def call(self, x, training=False):
        return self.supervised_head(self.norm(self.dense(x), training=training))


def make_model(optimizer="lars"):
    model = Net()
    model(tf.zeros([1, 40]))
    built = make_optimizer(optimizer, 0.1, momentum=0.9, weight_decay=0.0, model=model)
    built.build(model.trainable_variables)
    return model, built


def run_in(folder, steps=(1, 2, 3), keep=5):
    """Saves checkpoints whose every weight is their step, and returns the model and its checkpoints."""
    model, optimizer = make_model()
    saved = checkpoints.RunCheckpoints(str(folder), model, optimizer, keep)
    with saved:
        for step in steps:
            at_step(model, optimizer, step)
            saved.save()
    return model, saved


def at_step(model, optimizer, step):
    optimizer.iterations.assign(step)
    for variable in model.variables:
        variable.assign(tf.fill(variable.shape, float(step)))


def resume(folder):
    """Returns the step, and the one number that all weights have, of a run that goes on there."""
    model, optimizer = make_model()
    saved = checkpoints.RunCheckpoints(str(folder), model, optimizer, 5)
    step = saved.restore_latest()
    (number,) = (
        {float(x) for v in model.variables for x in np.unique(v.numpy())} if step else (None,)
    )
    return step, number, saved


def flip_bit(path):
    """Changes one bit in the middle: the length stays."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def cut(path):
    path.write_bytes(path.read_bytes()[: -min(100, path.stat().st_size // 2)])


def dangle(path):
    path.unlink()
    path.symlink_to(path.parent / "moved" / path.name)


DAMAGES = {
    "a bit of the weights": lambda prefix: flip_bit(data_of(prefix)),
    "a bit of the index": lambda prefix: flip_bit(prefix.with_suffix(".index")),
    "weights cut short": lambda prefix: cut(data_of(prefix)),
    "weights of zeros": lambda p: data_of(p).write_bytes(bytes(data_of(p).stat().st_size)),
    "index cut short": lambda prefix: cut(prefix.with_suffix(".index")),
    "index empty": lambda prefix: prefix.with_suffix(".index").write_bytes(b""),
    "no weights": lambda prefix: data_of(prefix).unlink(),
    "an index that is a link to nowhere": lambda prefix: dangle(prefix.with_suffix(".index")),
    "a seal cut short": lambda prefix: cut(prefix.with_suffix(".json")),
    "a seal of nothing": lambda prefix: prefix.with_suffix(".json").write_text("{}"),
}
OF_THE_SEAL = ("a seal cut short", "a seal of nothing")


def data_of(prefix):
    return prefix.with_suffix(".data-00000-of-00001")


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_damaged_newest_falls_back_to_the_one_before(tmp_path, capsys, damage, sealed):
    """Unsealed: as written before there were seals."""
    run_in(tmp_path)
    if not sealed:
        if damage in OF_THE_SEAL:
            pytest.skip("there is none")
        for name in NAMES:
            (tmp_path / f"{name}.json").unlink()
    DAMAGES[damage](tmp_path / "ckpt-3")
    step, number, saved = resume(tmp_path)
    assert (step, number) == (2, 2.0)
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith(f"Warning: checkpoint {tmp_path / 'ckpt-3'} is damaged (")
    # Nobody else takes the damaged one now, and the run can write its own step 3.
    assert tf.train.latest_checkpoint(str(tmp_path)) == saved.latest == str(tmp_path / "ckpt-2")
    assert not list(tmp_path.glob("ckpt-3*"))


def test_all_that_are_whole_are_usable(tmp_path, capsys):
    run_in(tmp_path)
    cut(data_of(tmp_path / "ckpt-2"))
    whole = [str(tmp_path / name) for name in ("ckpt-1", "ckpt-3")]
    assert checkpoint_files.usable(str(tmp_path)) == whole
    assert "ckpt-2 is damaged (" in capsys.readouterr().out
    assert checkpoint_files.usable(str(tmp_path), at_most=1) == whole[1:]
    assert capsys.readouterr().out == ""  # nobody looked


def test_what_a_run_removes_while_it_is_read_is_not_damaged(tmp_path, monkeypatch, capsys):
    """With --keep_checkpoint_max=1 all that were listed may go, one after the other."""
    run_in(tmp_path / "run", steps=(1,))
    run_in(tmp_path / "later", steps=(2,))
    find_damage = checkpoint_files.find_damage

    def while_a_run_goes_on(prefix):
        if prefix.endswith("ckpt-1"):
            for path in (tmp_path / "later").glob("ckpt-2*"):
                shutil.copy(path, tmp_path / "run")
            checkpoint_files.remove(prefix)
        return find_damage(prefix)

    monkeypatch.setattr(checkpoint_files, "find_damage", while_a_run_goes_on)
    newest = checkpoint_files.newest_usable(str(tmp_path / "run"))
    assert newest == str(tmp_path / "run" / "ckpt-2") and capsys.readouterr().out == ""


def test_undamaged_ones_load_with_and_without_seals(tmp_path, capsys):
    run_in(tmp_path)
    assert resume(tmp_path)[:2] == (3, 3.0)
    (tmp_path / "ckpt-3.json").unlink()
    assert resume(tmp_path)[:2] == (3, 3.0)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["a [b]", "a\\b", "a*b?", "[", "]\\[x-"])
def test_a_folder_that_tensorflow_reads_as_a_pattern(tmp_path, name):
    """Sealed or not, resumed, restored for evaluation, listed, and read variable by variable."""
    folder = tmp_path / name
    for other in ("a b", "a1b2"):  # what the name would match
        run_in(tmp_path / other, steps=(7,))
    model, _ = run_in(folder)
    assert checkpoint_files.listed(str(folder)) == str(folder / "ckpt-3")
    assert resume(folder)[:2] == (3, 3.0)
    restore(model, str(folder / "ckpt-2"))
    assert {float(x) for v in model.variables for x in np.unique(v)} == {2.0}
    (folder / "ckpt-3.json").unlink()
    cut(data_of(folder / "ckpt-3"))
    assert resume(folder)[:2] == (2, 2.0)
    reader = reading.open_reader(str(folder / "ckpt-1"))
    assert set(reader.get_tensor(KEY)) == {1.0}


@pytest.mark.slow
def test_links_for_such_a_folder_go_with_the_process(tmp_path):
    (tmp_path / "[").mkdir()
    (tmp_path / "[" / "x[1].index").write_text("content")
    script = (
        "from simclr_med.checkpoints import reading; import sys; "
        "print(reading.plain_prefix(sys.argv[1]))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "[" / "x[1]")]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    prefix = done.stdout.strip().splitlines()[-1]
    assert not reading.is_pattern(prefix) and not os.path.exists(os.path.dirname(prefix))
    here = reading.plain_prefix(str(tmp_path / "[" / "x[1]"))
    with open(f"{here}.index") as file:
        assert file.read() == "content"


def test_files_of_a_remote_pattern_are_copied(tmp_path):
    folder = f"ram://{tmp_path.name}/a[b]"
    run_in(folder, steps=(1, 2))
    assert resume(folder)[:2] == (2, 2.0)


def test_checkpoints_of_tf_train_load(tmp_path):
    """As runs wrote them before there were seals."""
    model, optimizer = make_model()
    at_step(model, optimizer, 7)
    old = tf.train.Checkpoint(model=model, optimizer=optimizer, global_step=optimizer.iterations)
    tf.train.CheckpointManager(old, str(tmp_path), 2).save(checkpoint_number=7)
    assert resume(tmp_path)[:2] == (7, 7.0)


def test_without_a_usable_one_a_sentence_says_so(tmp_path):
    run_in(tmp_path, steps=(1, 2))
    cut(data_of(tmp_path / "ckpt-1"))
    dangle((tmp_path / "ckpt-2").with_suffix(".index"))  # listed, if not there
    with pytest.raises(UserError, match="None of the 2 checkpoints in .* can be used"):
        resume(tmp_path)
    assert resume(tmp_path / "new")[0] == 0  # none at all: a beginning


def test_who_cannot_read_now_does_not_call_it_damaged(tmp_path, monkeypatch):
    """Else a network that is down would cost the newest checkpoint."""
    run_in(tmp_path)

    def refuses(path, mode):
        raise tf.errors.UnavailableError(None, None, "no route to host")

    monkeypatch.setattr(tf.io.gfile, "GFile", refuses)
    monkeypatch.setattr(transient, "WAITS", (0.0, 0.0))
    with pytest.raises(StorageUnavailable, match="failed 3 times .*no route to host"):
        resume(tmp_path)
    assert checkpoint_files.list_prefixes(str(tmp_path))[-1].endswith("ckpt-3")


def test_remains_of_a_killed_write_are_neither_loaded_nor_left(tmp_path):
    run_in(tmp_path)
    data = data_of(tmp_path / "ckpt-3").read_bytes()
    (tmp_path / "unfinished-ckpt-4_temp").mkdir()
    (tmp_path / "unfinished-ckpt-4_temp" / "part-00000").write_bytes(data[:1000])
    (tmp_path / "unfinished-ckpt-5.index").write_bytes((tmp_path / "ckpt-3.index").read_bytes())
    (tmp_path / "ckpt-6.data-00000-of-00001").write_bytes(data)  # its .index comes after it
    (tmp_path / "ckpt-7_temp").mkdir()  # as older versions left it
    assert resume(tmp_path)[:2] == (3, 3.0)
    complete = sorted(f"{n}.{e}" for n in NAMES for e in ("data-00000-of-00001", "index", "json"))
    assert sorted(os.listdir(tmp_path)) == ["checkpoint", *complete]


class Died(BaseException):
    """Stands for SIGKILL: whatever would tidy up does not run, because it too would raise."""


@pytest.mark.parametrize("rewritten", [False, True])
def test_death_at_any_operation_leaves_the_old_or_the_new_one(tmp_path, monkeypatch, rewritten):
    """Dies before the first, the second, ... operation on files of a save until one comes through."""
    gfile, model_and_optimizer = tf.io.gfile, make_model()
    left = [0]
    for name in ("rename", "remove", "rmtree", "GFile", "listdir", "exists", "isdir"):
        monkeypatch.setattr(gfile, name, _dies_when_none_are_left(getattr(gfile, name), left))
    outcomes = []
    for operations in range(1000):
        folder = tmp_path / str(operations)
        left[0] = 10**9
        run_in(folder, steps=(1, 2, 3) if rewritten else (1, 2), keep=2)
        saved = checkpoints.RunCheckpoints(str(folder), *model_and_optimizer, 2)
        at_step(*model_and_optimizer, 3)
        with contextlib.suppress(Died):
            left[0] = operations  # before the thread that writes begins
            saved.save()
            saved.finish()
        died, left[0] = left[0] < 0, 10**9
        step, number, _ = resume(folder)
        assert step == number
        outcomes.append(step)
        shutil.rmtree(folder)
        if not died:
            break
    when_new = outcomes[outcomes.index(2) :] if rewritten else outcomes  # first the old step 3
    assert set(outcomes) == {2, 3} and when_new == sorted(when_new) and len(outcomes) > 15


def _dies_when_none_are_left(function, left):
    def dies(*args, **kwargs):
        left[0] -= 1
        if left[0] < 0:
            raise Died
        return function(*args, **kwargs)

    return dies


def test_a_checkpoint_is_on_the_disk_before_the_old_one_goes(tmp_path, monkeypatch):
    """Else a power failure, after which only what was synced is sure to be there, takes both."""
    run_in(tmp_path, steps=(1,), keep=1)
    model, optimizer = make_model()
    done = []

    def noted(what, function, path_of=str):
        def notes(path, *args, **kwargs):
            done.append((what, os.path.basename(path_of(path))))
            return function(path, *args, **kwargs)

        return notes

    path_of = "/proc/self/fd/{}".format
    monkeypatch.setattr(os, "fsync", noted("sync", os.fsync, lambda d: os.readlink(path_of(d))))
    for name in ("rename", "remove"):
        monkeypatch.setattr(tf.io.gfile, name, noted(name, getattr(tf.io.gfile, name)))
    with checkpoints.RunCheckpoints(str(tmp_path), model, optimizer, 1) as saved:
        at_step(model, optimizer, 2)
        saved.save()
    before = done[: done.index(("remove", "ckpt-1.index"))]
    renamed = [name for what, name in before if what == "rename"]
    assert renamed[:2] == [f"unfinished-ckpt-2.{e}" for e in ("data-00000-of-00001", "index")]
    of_process = re.compile(r"unfinished-[0-9a-f]{8}-\d+-")
    assert [of_process.sub("", name) for name in renamed[2:]] == ["ckpt-2.json", "checkpoint"]
    for name in renamed:
        position = before.index(("rename", name))
        assert ("sync", name) in before[:position] and ("sync", tmp_path.name) in before[position:]


@pytest.mark.parametrize("code, fails", [(errno.EIO, True), (errno.EINVAL, False)])
def test_a_disk_that_fails_is_told_not_one_without_sync(tmp_path, monkeypatch, code, fails):
    def refuses(descriptor):
        raise OSError(code, os.strerror(code))

    run_in(tmp_path, steps=(1,))
    refused = pytest.raises(UserError, match="could not be written .*Input/output error")
    with refused if fails else contextlib.nullcontext(), monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuses)
        run_in(tmp_path, steps=(2,))
    assert resume(tmp_path)[0] == (1 if fails else 2)


def test_a_rewritten_step_is_not_judged_by_its_old_seal(tmp_path):
    run_in(tmp_path)
    model, optimizer = make_model()
    saved = checkpoints.RunCheckpoints(str(tmp_path), model, optimizer, 5)
    with saved:
        at_step(model, optimizer, 3)
        model.variables[0].assign_add(tf.ones_like(model.variables[0]))
        saved.save()
    assert checkpoint_files.find_damage(str(tmp_path / "ckpt-3")) is None


@pytest.mark.parametrize("optimizer", ["lars", "momentum", "adam"])
def test_the_copy_is_what_tf_train_would_have_written(tmp_path, optimizer):
    """Names, dtypes and values; what training changes after `save` is not in it."""
    model, own_optimizer = make_model(optimizer)
    gradients = [tf.random.stateless_normal(v.shape, [1, 2]) for v in model.trainable_variables]
    own_optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    direct = tf.train.Checkpoint(
        model=model, optimizer=own_optimizer, global_step=own_optimizer.iterations
    )
    direct.save_counter.assign(1)
    direct.write(str(tmp_path / "direct"))
    with checkpoints.RunCheckpoints(str(tmp_path), model, own_optimizer, 5) as saved:
        saved.save()
        own_optimizer.apply_gradients(zip(gradients, model.trainable_variables))
    actual, expected = map(
        tf.train.load_checkpoint, (str(tmp_path / "ckpt-1"), str(tmp_path / "direct"))
    )
    assert actual.get_variable_to_shape_map() == expected.get_variable_to_shape_map()
    assert actual.get_variable_to_dtype_map() == expected.get_variable_to_dtype_map()
    for key in expected.get_variable_to_shape_map():
        if key != "_CHECKPOINTABLE_OBJECT_GRAPH":
            np.testing.assert_array_equal(actual.get_tensor(key), expected.get_tensor(key), key)


@pytest.fixture
def blocked_writes(monkeypatch):
    """Writing waits for this event; `blocked_writes.writes` are the writes that began."""
    blocked_writes = threading.Event()
    blocked_writes.writes = []
    commit = checkpoint_files.commit

    def waits(temporary, prefix):
        blocked_writes.writes.append(prefix)
        assert blocked_writes.wait(60)
        commit(temporary, prefix)

    monkeypatch.setattr(checkpoint_files, "commit", waits)
    return blocked_writes


def test_training_goes_on_while_one_checkpoint_is_written_and_the_next_waits(
    tmp_path, blocked_writes
):
    model, optimizer = make_model()
    with checkpoints.RunCheckpoints(str(tmp_path), model, optimizer, 5) as saved:
        at_step(model, optimizer, 1)
        saved.save()  # comes back, though it is held
        assert checkpoint_files.list_prefixes(str(tmp_path)) == []
        at_step(model, optimizer, 2)
        second = threading.Thread(target=saved.save)
        second.start()
        second.join(0.3)
        assert second.is_alive() and len(blocked_writes.writes) <= 1
        blocked_writes.set()
        second.join()
        assert saved.latest == str(tmp_path / "ckpt-2")
    assert resume(tmp_path)[:2] == (2, 2.0)
    assert float(tf.train.load_checkpoint(str(tmp_path / "ckpt-1")).get_tensor(KEY)[0]) == 1.0


KEY = "model/dense/bias/.ATTRIBUTES/VARIABLE_VALUE"


def test_leaving_waits_for_the_write_also_after_an_error(tmp_path, blocked_writes):
    threading.Timer(0.3, blocked_writes.set).start()
    model, optimizer = make_model()
    saved = checkpoints.RunCheckpoints(str(tmp_path), model, optimizer, 5)
    with pytest.raises(ZeroDivisionError), saved:
        at_step(model, optimizer, 1)
        saved.save()
        raise ZeroDivisionError
    assert checkpoint_files.find_damage(str(tmp_path / "ckpt-1")) is None


@pytest.mark.parametrize("ended_by", [None, Interrupted(15), ZeroDivisionError()])
def test_a_write_that_fails_is_an_error_message(tmp_path, monkeypatch, capsys, ended_by):
    model, saved = run_in(tmp_path, steps=(1,))
    model, optimizer = make_model()

    def full(self, path):
        raise tf.errors.ResourceExhaustedError(None, None, f"{path}; No space left on device")

    sentence = r"could not be written to .*No space left.*last good checkpoint is .*ckpt-1\."
    expected = type(ended_by) if isinstance(ended_by, ZeroDivisionError) else UserError
    saved = checkpoints.RunCheckpoints(str(tmp_path), model, optimizer, 5)
    assert saved.restore_latest() == 1
    monkeypatch.setattr(tf.train.Checkpoint, "write", full)
    at_step(model, optimizer, 2)
    with pytest.raises(expected) as raised, saved:
        saved.save()
        if ended_by:
            raise ended_by
    message = capsys.readouterr().out if expected is ZeroDivisionError else str(raised.value)
    assert re.search(sentence, message)
    assert checkpoint_files.list_prefixes(str(tmp_path)) == [str(tmp_path / "ckpt-1")]


def test_weights_that_are_not_finite_are_not_written(tmp_path):
    model, optimizer = make_model()
    with checkpoints.RunCheckpoints(str(tmp_path), model, optimizer, 5) as saved:
        at_step(model, optimizer, 1)
        saved.save()
        at_step(model, optimizer, 2)
        model.trainable_variables[0].assign_add(tf.fill([40, 300], float("nan")))
        with pytest.raises(Diverged, match=r"good checkpoint is .*ckpt-1\."):
            saved.save()


def test_only_the_newest_are_kept_and_listed(tmp_path):
    run_in(tmp_path, steps=(1, 5, 10, 20), keep=2)
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert [os.path.basename(p) for p in state.all_model_checkpoint_paths] == ["ckpt-10", "ckpt-20"]
    assert sorted(p.stem for p in tmp_path.glob("*.index")) == ["ckpt-10", "ckpt-20"]
    assert sorted(p.stem for p in tmp_path.glob("*.json")) == ["ckpt-10", "ckpt-20"]


def test_the_file_that_names_the_newest_may_be_lost(tmp_path):
    run_in(tmp_path)
    for damage in (lambda path: path.write_bytes(b""), lambda path: path.unlink()):
        damage(tmp_path / "checkpoint")
        assert resume(tmp_path)[:2] == (3, 3.0)


def test_weights_of_a_run_are_taken_from_its_newest_whole_checkpoint(tmp_path, capsys, monkeypatch):
    """`--checkpoint=RUN`."""
    run_in(tmp_path)
    cut(data_of(tmp_path / "ckpt-3"))
    opened = []
    monkeypatch.setattr(
        "simclr_med.checkpoints.weights.open._variables",
        lambda path, prefix, what: opened.append(prefix),
    )
    open_weights(str(tmp_path))
    assert opened == [str(tmp_path / "ckpt-2")]
    assert "ckpt-3 is damaged" in capsys.readouterr().out


def test_a_worker_that_keeps_none_reads_all_and_writes_none(tmp_path):
    """Of several workers; to read is what all have to do together."""
    _, saved = run_in(tmp_path, keep=0)
    assert os.listdir(tmp_path) == []
    pairs = [(of.numpy(), copy.numpy()) for of, copy in saved._copy._pairs]
    assert len(pairs) > 8 and all(np.array_equal(of, copy) for of, copy in pairs)


@pytest.mark.parametrize("name", ["lars", "momentum", "adam"])
def test_a_run_of_before_the_heads_own_optimiser_goes_on(tmp_path, capsys, name):
    """Its optimiser had the head's variables too, and last; those of the others keep their places."""
    rng = np.random.default_rng(0)
    model, old = make_model(name)
    at_step(model, old, 7)
    slots = [v for v in old.variables if v is not old.iterations and v.shape.rank]
    for variable in slots:
        variable.assign(rng.normal(size=variable.shape))
    with checkpoints.RunCheckpoints(str(tmp_path), model, old, 5) as saved:
        saved.save()
    model, _ = make_model(name)
    of_head = supervised_variables(model)
    head = make_head_optimizer(model, 10)
    head.build(of_head)
    new = make_optimizer(name, 0.1, momentum=0.9, weight_decay=0.0, model=model)
    remaining = [v for v in model.trainable_variables if all(v is not h for h in of_head)]
    new.build(remaining)
    with checkpoints.RunCheckpoints(str(tmp_path), model, new, 5, head) as saved:
        assert saved.restore_latest() == 7
        assert "has an optimiser of its own" in capsys.readouterr().out
        restored = [v for v in new.variables if v is not new.iterations and v.shape.rank]
        assert 0 < len(restored) < len(slots)
        for variable, expected in zip(restored, slots):
            np.testing.assert_array_equal(variable, expected)
        head.iterations.assign(3)
        new.iterations.assign(8)
        saved.save()
    with checkpoints.RunCheckpoints(str(tmp_path), model, new, 5, head) as saved:
        head.iterations.assign(0)
        assert saved.restore_latest() == 8 and int(head.iterations) == 3
    assert not capsys.readouterr().out
