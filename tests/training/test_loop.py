"""The pace of the loop: what is logged, saved and found diverged does not depend on it."""

import json

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny_runs
from simclr_med import distribution
from simclr_med.errors import Diverged
from simclr_med.signals import Interrupted
from simclr_med.training import loop, plan, train


class Program:
    """Stands for make_run_steps: counts steps; the loss of step n is 1 / n, NaN at `bad`."""

    def __init__(self, bad=None, at_step=lambda n: None):
        self.bad, self.at_step, self.calls = bad, at_step, []

    def make(self, config, method, strategy, trained, ops):
        def run_steps(iterator, n):
            next(iterator)
            number = int(trained.optimizer.iterations.assign_add(1))
            self.calls.append(int(n))
            self.at_step(number)
            value = float("nan") if number == self.bad else 1 / number
            return {"supervised_loss": tf.constant(value), "supervised_acc": tf.constant(0.5)}

        return run_steps


@pytest.fixture
def go(monkeypatch, tmp_path, tiny_data):
    def run(program, seconds_between_looks, name="run", steps=40):
        monkeypatch.setattr(loop, "make_run_steps", program.make)
        monkeypatch.setattr(loop, "_SECONDS_BETWEEN_LOOKS", seconds_between_looks)
        monkeypatch.setattr(plan, "num_train_steps", lambda *_: steps)
        config = tiny_runs.BASE.replace(
            train_mode="finetune", train_steps=steps, checkpoint_steps=15
        )
        folder = tmp_path / name
        train.train(config, tiny_data, str(folder), distribution.make_strategy(), {})
        return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]

    return run


@pytest.mark.slow
@pytest.mark.usefixtures("one_block")
def test_lines_and_checkpoints_are_the_same_at_every_pace(go, tmp_path, monkeypatch):
    monkeypatch.setattr(loop._Stops, "logs", lambda self, step: step % 8 == 0)
    slow = go(Program(), 0.0, "slow")
    fast = go(Program(), 1e9, "fast")
    assert slow == fast and [row["step"] for row in slow] == [8, 15, 16, 24, 30, 32, 40]
    np.testing.assert_allclose(slow[0]["supervised_loss"], np.mean(1 / np.arange(1, 9)), rtol=1e-6)
    names = [
        {path.name for path in (tmp_path / run).glob("ckpt-*.index")} for run in ("slow", "fast")
    ]
    assert names[0] == names[1]


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.usefixtures("one_block")
def test_a_loss_that_is_not_finite_is_named_by_its_step_and_not_saved(go, tmp_path):
    for name, pace in (("slow", 0.0), ("fast", 1e9)):
        with pytest.raises(Diverged, match=r"at step 20; .* last good checkpoint is .*ckpt-15"):
            go(Program(bad=20), pace, name)


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.usefixtures("one_block")
def test_a_signal_ends_a_look_early_where_nobody_else_takes_part(go, monkeypatch, tmp_path):
    received = []
    monkeypatch.setattr(train.stop_signals, "__enter__", lambda self: received)
    monkeypatch.setattr(train.stop_signals, "__exit__", lambda self, *exc: None)
    monkeypatch.setattr(loop._Stops, "logs", lambda self, step: False)
    program = Program(at_step=lambda number: received.append(15) if number == 5 else None)
    with pytest.raises(Interrupted):
        go(program, 1e9)
    assert len(program.calls) == 5
    assert (tmp_path / "run" / "ckpt-5.index").exists()
