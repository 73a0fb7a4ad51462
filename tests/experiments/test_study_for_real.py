"""A study with real training, evaluation, probes and report, of an encoder that is a stem."""

import gc
import json

import numpy as np
import pytest
from tensorflow.python.framework.func_graph import FuncGraph

from helpers import encoders
from helpers.folders import draw_cases
from helpers.sweep_worker import BASE, SWEEP
from simclr_med.config import Config
from simclr_med.evaluation import draw
from simclr_med.experiments import study
from simclr_med.metrics.predictions import read_predictions
from simclr_med.training import train
from tfds_builders.derm_bags import Builder, folder_config


def step_graphs():
    """Returns the graphs of training steps that are in memory."""
    graphs = [x for x in gc.get_objects() if isinstance(x, FuncGraph)]
    return [graph for graph in graphs if graph.name == "step_on_all"]


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_real_study_ends_with_its_report(strategy, tmp_path, monkeypatch):
    splits = {"train": 12, "validation": 6, "test": 24}
    photos = folder_config(draw_cases(tmp_path / "photos", splits))
    builder = Builder(config=photos, data_dir=tmp_path / "tfds")
    builder.download_and_prepare()
    encoders.shorten(monkeypatch, blocks=())
    for picture in (train.curves, draw.embedding):
        monkeypatch.setattr(picture, "save", lambda *args: None)
    config = Config().replace(
        **{"label_fractions": "1", "uses": "probe,probe_finetune", "shift_dataset": "derm_bags"},
        **{"sweep_learning_rates": "0.1", "sweep_weight_decays": "0", "shift_split": "test"},
    )
    pretrain = BASE.replace(train_mode="pretrain", optimizer="lars", warmup_epochs=1.0)
    recipes = {
        "simclr": pretrain,
        "micle": pretrain.replace(micle=True, train_steps=3),
        "finetune": SWEEP,
    }
    folder = tmp_path / "study"
    before = step_graphs()  # which other tests' failures may hold
    content = study.run(config, recipes, lambda config: builder, str(folder), strategy, {})
    assert not [g for g in step_graphs() if not any(g is b for b in before)]  # memory would grow
    assert json.loads((folder / "study.json").read_text()) == content
    page = (folder / "study.md").read_text()
    for arm in content["arms"]:
        assert arm["name"] in page

    def scores(path):
        return read_predictions(str(folder / path)).scores

    # A probe is the linear probe of an evaluation of its encoder, with the same labels.
    for arm, path in (
        ("simclr", "pretrain_simclr/seed_0/predictions.csv"),
        ("micle", "pretrain_micle/seed_0/predictions.csv"),
        ("scratch", "pretrain_simclr/seed_0/predictions_untrained.csv"),
    ):
        probed = scores(f"probe/{arm}/fraction_1/seed_0/predictions.csv")
        np.testing.assert_allclose(probed, scores(path), atol=1e-5)
    # Here the shift set is the evaluated one.
    for use in content["uses"]:
        one = f"{use}/control/fraction_1/seed_0"
        shifted = scores(f"{one}/predictions_shift.csv")
        np.testing.assert_allclose(scores(f"{one}/predictions.csv"), shifted, atol=1e-6)
    assert all(row["use"] for row in content["best_use"])
    assert not list(folder.glob("*finetune/**/ckpt-*"))
    times = {path: path.stat().st_mtime_ns for path in folder.glob("**/predictions*.csv")}
    again = study.run(config, recipes, lambda config: builder, str(folder), strategy, {})
    assert again == content
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("**/predictions*.csv")}
