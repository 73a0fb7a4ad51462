"""The training step is traced once, whatever the loop does with it."""

import pytest

from helpers import tiny_runs
from simclr_med import build, distribution
from simclr_med.training import loop, plan, train


@pytest.mark.slow
@pytest.mark.usefixtures("one_block")
@pytest.mark.parametrize(("train_mode", "steps_per_call"), [("pretrain", 3), ("finetune", 1)])
def test_nothing_is_traced_after_the_first_step(
    monkeypatch, tmp_path, tiny_data, train_mode, steps_per_call
):
    """Saves, logs and a resumption come between; fine-tuning's batches differ in their images."""
    config = tiny_runs.BASE.replace(train_mode=train_mode, train_steps=7, checkpoint_steps=2)
    steps = []

    def make_run_steps(*args):
        steps.append(original(*args))
        return steps[-1]

    original = loop.make_run_steps
    monkeypatch.setattr(loop, "make_run_steps", make_run_steps)
    if steps_per_call > 1:  # as on TPUs, whose calls are cut where a save or a log is due
        monkeypatch.setattr(distribution, "is_tpu", lambda strategy: True)
        monkeypatch.setattr(loop, "_TPU_STEPS_PER_CALL", steps_per_call)
    strategy = build.set_up(config)
    for until in (5, 7):  # the second goes on from the first's last checkpoint
        monkeypatch.setattr(plan, "num_train_steps", lambda *_, until=until: until)
        train.train(config, tiny_data, str(tmp_path / "run"), strategy, {})
    assert [run_steps.experimental_get_tracing_count() for run_steps in steps] == [1, 1]
