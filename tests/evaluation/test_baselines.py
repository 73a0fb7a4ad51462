"""What a pretrained encoder is measured beside: untrained, BatchNorm calibrated, and before its run."""

import json
import shutil

import numpy as np
import pytest

from helpers import encoders, tiny_runs
from simclr_med.build import make_model, open_bags
from simclr_med.data import evaluation_batches
from simclr_med.evaluation import baselines, evaluate
from simclr_med.evaluation.report import results
from simclr_med.keras_api import keras
from simclr_med.metrics import text

IMAGES = 20  # of the training split of the tiny data: five batches of four


def norms_of(model):
    kind = keras.layers.BatchNormalization
    return [m for m in model.encoder.submodules if isinstance(m, kind)]


def statistics(model):
    return [(n.moving_mean.numpy(), n.moving_variance.numpy()) for n in norms_of(model)]


@pytest.mark.usefixtures("one_block")
@pytest.mark.parametrize("antialias", ["true", "false"])
def test_calibrated_statistics_are_those_of_all_images_together(tiny_data, strategy, antialias):
    """Of the first BatchNorm: the others see what batches normalised. Of one batch: of all of them."""
    config = tiny_runs.BASE.replace(antialias=antialias)
    bags = open_bags(config, tiny_data, "train")
    as_read = {"image_size": 34, "antialias": antialias == "true", "max_bags": 0, "seed": 0}
    every = evaluation_batches(bags, batch_size=IMAGES, max_bag_size=6, **as_read)
    at_once = make_model(config.replace(batch_norm_decay=0.0), 0)
    at_once(next(iter(every))["images"], training=True)
    calibrated, again = (make_model(config.replace(batch_norm_decay=0.0), 0) for _ in range(2))
    assert baselines.calibrate(config, strategy, calibrated, bags) == IMAGES
    expected = statistics(at_once)
    for name, value, other in zip(("mean", "variance"), statistics(calibrated)[0], expected[0]):
        np.testing.assert_allclose(value, other, rtol=1e-4, atol=1e-6, err_msg=name)
    assert not np.allclose(expected[0][1], 1, atol=0.1)
    baselines.calibrate(config, strategy, again, bags)
    for one, other in zip(statistics(calibrated), statistics(again)):
        np.testing.assert_array_equal(one, other)
    # Of a batch of all images each layer's statistics are exact.
    one_image_each = open_bags(config.replace(max_bag_size=1), tiny_data, "train")
    config = config.replace(max_bag_size=1, eval_batch_size=100)
    of_one_batch = make_model(config.replace(batch_norm_decay=0.0), 0)
    assert baselines.calibrate(config, strategy, of_one_batch, one_image_each) == 8
    trained_once = make_model(config.replace(batch_norm_decay=0.0), 0)
    eight = evaluation_batches(bags, batch_size=8, max_bag_size=1, **as_read)
    trained_once(next(iter(eight))["images"], training=True)
    for one, other in zip(statistics(of_one_batch), statistics(trained_once)):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.usefixtures("one_block")
def test_without_batch_norm_nothing_is_calibrated_or_reported(tiny_data, strategy):
    config = tiny_runs.BASE.replace(encoder="bit", resnet_depth=50)
    bags = open_bags(config, tiny_data, "train")
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch)
        model, facts = baselines.untrained(config, tiny_data, bags, strategy, 0)
    assert facts == {} and text.encoder_title({"encoders": {"untrained": facts}}, "untrained") == (
        "untrained"
    )
    assert model.encoder.family == "bit"


@pytest.fixture
def went_on(tiny_pretrained, tiny_data, strategy, tmp_path, one_block):
    """(a run that began at a copy of the pretrained one, that copy): folders."""
    began = tmp_path / "began"
    shutil.copytree(tiny_pretrained, began)
    config = tiny_runs.BASE.replace(checkpoint=str(began), learning_rate=1.0)
    return tiny_runs.trained(config, tiny_data, tmp_path / "run", strategy), began, config


def test_a_run_that_began_at_weights_is_measured_beside_them(
    went_on, tiny_pretrained, tiny_data, strategy, capsys
):
    """The row "before this run" is the one that the run before has of itself."""
    run, _, config = went_on
    result = evaluate.evaluate(config, tiny_data, str(run), strategy)
    expected = json.loads((tiny_pretrained / "result.json").read_text())
    for evaluator in ("linear probe", "kNN"):
        rows = result["classification"][evaluator]
        assert list(rows) == ["trained", "before this run", "untrained"]
        assert rows["before this run"] == expected["classification"][evaluator]["trained"]
        assert rows["untrained"] == expected["classification"][evaluator]["untrained"]
    assert (run / "predictions_before.csv").read_text() == (
        tiny_pretrained / "predictions.csv"
    ).read_text()
    assert result["encoders"]["before this run"]["verified"]
    # Of the tiny split's 20 images, in batches of four.
    assert result["encoders"]["untrained"] == {
        "batch_norm_images": IMAGES,
        "batch_norm_split": "train",
    }
    output = capsys.readouterr().out
    assert "untrained *" in output
    assert f"* BatchNorm calibrated on {IMAGES} images of split 'train'" in output
    report = (run / "report.html").read_text()
    assert "linear probe, before this run" in report
    assert "linear probe, untrained, BatchNorm calibrated" in report
    assert "What this run alone added" in report


@pytest.mark.parametrize(
    ("change", "problem"),
    [("gone", "are gone"), ("other", "not those that the run began with"), ("unknown", None)],
)
def test_weights_that_are_gone_or_changed_are_left_out_with_a_note(
    went_on, tiny_data, strategy, capsys, change, problem
):
    run, began, config = went_on
    if change == "gone":
        shutil.rmtree(began)
    elif change == "other":
        shutil.rmtree(began)
        shutil.copytree(run, began)
    else:
        (run / "initial_weights.json").unlink()
    result = evaluate.evaluate(config, tiny_data, str(run), strategy, pictures=False)
    output = capsys.readouterr().out
    facts = result["encoders"]["before this run"]
    if problem:
        assert problem in facts["problem"] and "Note: no row 'before this run'" in output
        assert "before this run" not in result["classification"]["linear probe"]
        assert not (run / "predictions_before.csv").exists()
    else:
        assert facts["verified"] is False and "kept no record" in output
        assert "before this run" in result["classification"]["linear probe"]
    results.print_table(result)


def test_a_run_from_scratch_has_no_such_row(tiny_pretrained):
    result = json.loads((tiny_pretrained / "result.json").read_text())
    assert list(result["classification"]["kNN"]) == ["trained", "untrained"]
    assert not (tiny_pretrained / "initial_weights.json").exists()
