"""curves.png: metrics as they are, per direction and beside chance; the line over them is a mean."""

import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers.saved_figures import saved_figures
from simclr_med.run_folder import curves
from simclr_med.training.methods import simclr

STEPS = list(range(2, 102, 2))
ROWS = [
    {
        "step": step,
        "contrast_loss": 2 * (4.8 - step / 50),
        "contrast_chance_loss": 2 * math.log(127),
        "contrast_acc": step / 200,
        "contrast_chance_acc": 1 / 64,
        "supervised_loss": 1.0,
        "supervised_acc": 0.5,
        "learning_rate": 3.0,
    }
    for step in STEPS
]


@pytest.fixture
def drawn(monkeypatch):
    """Returns the panels of the figure that was saved, by their titles."""
    figures = saved_figures(monkeypatch)

    def panels():
        (figure,) = figures
        return {axis.get_title(loc="left"): axis for axis in figure.axes}

    return panels


def test_losses_are_per_direction_and_beside_chance(drawn, tmp_path):
    curves.save(str(tmp_path / "curves.png"), ROWS, "SimCLR, run_$1$")
    panels = drawn()
    assert list(panels) == [
        *("contrastive loss, per direction", "contrastive accuracy"),
        *("supervised loss", "supervised accuracy", "learning rate"),
    ]
    raw, smooth, chance = panels["contrastive loss, per direction"].lines
    np.testing.assert_allclose(raw.get_ydata(), [4.8 - step / 50 for step in STEPS])
    np.testing.assert_allclose(chance.get_ydata(), math.log(127))  # of 64 pairs
    # A straight line stays one, to the point where the window is cut on the right.
    np.testing.assert_allclose(smooth.get_ydata()[:-2], raw.get_ydata()[:-2])
    for name in ("contrastive loss, per direction", "contrastive accuracy"):
        texts = [text.get_text() for text in panels[name].texts]
        assert texts[0] == ("chance 4.84" if "loss" in name else "chance 0.016")
    assert len(panels["supervised loss"].lines) == 2  # chance is not known
    width, height = Image.open(tmp_path / "curves.png").size
    assert width == 800 and 400 < height < 900


@pytest.mark.parametrize("length", [1, 2, 9, 10, 40])
def test_the_smoothed_line_is_the_mean_of_its_window(length):
    values = np.random.default_rng(length).normal(size=length)
    values[length // 2 :: 7] = np.nan
    slow = []
    for i in range(length):
        k = min(length // 20, i)
        window = [values[j] for j in range(i - k, min(i + k, length - 1) + 1)]
        known = [value for value in window if not math.isnan(value)]
        slow.append(sum(known) / len(known) if known else math.nan)
    np.testing.assert_allclose(curves.smoothed(values), slow)


def test_runs_of_one_step_of_an_older_version_and_of_no_loss_are_drawn(drawn, tmp_path):
    path = tmp_path / "curves.png"
    curves.save(str(path), [], "")
    curves.save(str(path), [{"step": 1, "learning_rate": 0.1}], "")
    assert not path.exists()
    curves.save(str(path), [{"step": 1, "contrast_loss": 9.0, "contrast_acc": None}], "")
    panels = drawn()
    assert len(panels["contrastive loss, per direction"].lines) == 2  # no chance was counted
    assert path.exists() and list(
        panels["contrastive loss, per direction"].lines[0].get_ydata()
    ) == [4.5]


def test_a_loss_at_chance_lies_on_the_line_of_chance():
    """As the step logs it: without information, with chunks and with masked negatives."""
    for chunk, patients in (
        (0, [0, 1, 2, 3]),
        (3, [0, 1, 2, 3]),
        (0, [0, 0, 1, 1]),
        (3, [0, 0, 1, 2]),
    ):
        outputs = {
            "projection": tf.ones([8, 5])
        }  # all alike: every negative as near as the partner
        options = dict(temperature=0.1, hidden_norm=True, nt_xent_chunk=chunk)
        _, metrics = simclr.loss(outputs, {"patient": tf.constant(patients)}, **options)
        row = {"step": 1, **{name: float(value) for name, value in metrics.items()}}
        (loss, _) = curves.panels([row])
        pairs = np.array([4 - sum(p == q for p in patients) for q in patients])
        assert loss.chance[0] == pytest.approx(np.log(1 + 2 * pairs).mean(), rel=1e-5)
        assert loss.values[0] == pytest.approx(loss.chance[0], rel=1e-5)
    assert np.log(1 + 2 * 3) == pytest.approx(math.log(2 * 4 - 1))  # ln(2N - 1) of N pairs


def test_a_fine_tuning_stands_beside_its_class_shares(drawn, tmp_path):
    rows = [{"step": i, "supervised_loss": 1.5, "supervised_acc": 0.5} for i in range(1, 9)]
    guess = {"loss": math.log(7), "accuracy": 0.72}
    chosen = {
        "metric": "macro-AUC",
        "split": "val",
        "value_of_step": {"10": None, "4": 0.6, "8": 0.7},
    }
    curves.save(str(tmp_path / "curves.png"), rows, "Fine-tuning, run x", guess, chosen)
    panels = drawn()
    texts = [panels[f"supervised {name}"].texts[0].get_text() for name in ("loss", "accuracy")]
    assert texts == ["class shares alone 1.95", "commonest class 0.720"]
    np.testing.assert_allclose(panels["supervised loss"].lines[2].get_ydata(), math.log(7))
    (line,) = panels["macro-AUC on val, which chose the checkpoint"].lines
    np.testing.assert_array_equal(line.get_xdata(), [4, 8, 10])  # as numbers, not as text
    np.testing.assert_array_equal(line.get_ydata(), [0.6, 0.7, np.nan])
