"""The supervised head beside pretraining learns at any --learning_rate, and moves nothing else."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny_runs
from simclr_med import run_folder
from simclr_med.training import plan, train

# Of all 20 images at once, six passes: chance is 1/2, and the two classes differ in tint.
CONFIG = tiny_runs.BASE.replace(
    optimizer="lars",
    train_batch_size=20,
    train_steps=60,
    checkpoint_steps=60,
    color_jitter_strength=0.0,
    grayscale_probability=0.0,
    use_blur=False,
)


def weights_of(folder):
    reader = tf.train.load_checkpoint(str(folder))
    return {
        key: reader.get_tensor(key)
        for key in reader.get_variable_to_shape_map()
        if key.startswith(("model/", "optimizer/")) and "VARIABLE_VALUE" in key
    }


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.usefixtures("one_block")
@pytest.mark.parametrize("changed", [{}, {"micro_batch": 10}])
@pytest.mark.parametrize("learning_rate", [1e-3, 100.0])
def test_at_any_learning_rate_the_head_beats_the_majority(
    tiny_data, strategy, tmp_path, learning_rate, changed
):
    config = CONFIG.replace(learning_rate=learning_rate, **changed)
    run = tiny_runs.trained(config, tiny_data, tmp_path / "run", strategy)
    last = run_folder.read_metrics(str(run))[-10:]
    assert np.mean([row["supervised_acc"] for row in last]) > 0.75
    assert np.mean([row["supervised_loss"] for row in last]) < np.log(2)


@pytest.mark.usefixtures("one_block")
def test_the_rest_is_what_it_is_without_a_head(tiny_data, strategy, tmp_path):
    """Weights, momenta and statistics, to the last bit."""
    config = CONFIG.replace(train_steps=3, train_batch_size=4, learning_rate=5.0)
    runs = {}
    for beside in (True, False):
        run = tiny_runs.trained(
            config.replace(lineareval_while_pretraining=beside),
            tiny_data,
            tmp_path / f"{beside}",
            strategy,
        )
        runs[beside] = weights_of(run)
    more = set(runs[True]) - set(runs[False])
    assert more and all(key.startswith("model/supervised_head/") for key in more)
    for key, value in runs[False].items():
        np.testing.assert_array_equal(runs[True][key], value, err_msg=key)


@pytest.mark.usefixtures("one_block")
def test_a_run_of_before_goes_on_in_its_order(
    tiny_data, strategy, tmp_path, monkeypatch, capsys, tiny_pretrained
):
    """config.json of then does not say how the seed decides batches; it goes on to say that."""
    run = tmp_path / "run"
    shutil.copytree(tiny_pretrained, run)
    path = run / "config.json"
    saved = json.loads(path.read_text())
    assert saved.pop("data_order") == 3 and saved.pop("num_streams") == 1
    path.write_text(json.dumps(saved))
    orders = []
    original = plan.training_batches

    def spy(*args, **options):
        orders.append(options["data_order"])
        return original(*args, **options)

    monkeypatch.setattr(plan, "training_batches", spy)
    monkeypatch.setattr(plan, "num_train_steps", lambda *_: 3)
    config = tiny_runs.BASE.replace(**{k: saved[k] for k in ("manual_dir", "data_dir")})
    train.train(config, tiny_data, str(run), strategy, {})
    assert orders and set(orders) == {1}
    assert json.loads(path.read_text())["data_order"] == 1
    assert "began with an older version" in capsys.readouterr().out
