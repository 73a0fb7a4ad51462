"""--init_head=probe: fine-tuning starts as the linear probe, whatever the labels, and once."""

import dataclasses
import math
import os
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers import encoders, tiny_runs
from simclr_med import distribution
from simclr_med.build import make_model, open_bags
from simclr_med.config import Config
from simclr_med.data.cases import read_cases
from simclr_med.errors import UserError
from simclr_med.evaluation import baselines, probe_head
from simclr_med.evaluation.features import case_features
from simclr_med.evaluation.probes import linear_probe
from simclr_med.training import train

CONFIG = tiny_runs.FINETUNE.replace(init_head="probe", eval_batch_size=20)
NAN = math.nan


@pytest.fixture
def eager():
    """Steps of a stem, eagerly: to trace one takes longer than a few of them."""
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch, blocks=())
        tf.config.run_functions_eagerly(True)
        yield
        tf.config.run_functions_eagerly(False)


def random_features(classes, n=40, d=5, seed=0):
    """Returns (features whose scales and means differ widely, labels, patients)."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n)
    x = rng.normal(size=(n, d)) + labels[:, np.newaxis] * [1, -0.5, 0, 0.3, 2]
    return x * [1, 100, 0.01, 5, 1] + [0, 1000, 3, -20, 0.5], labels, np.arange(n) // 2


@pytest.mark.parametrize("classes", [(0, 1), (1, 3), (0, 2, 3), (0, 1, 2, 3)])
def test_the_logits_of_the_head_are_the_log_odds_of_the_probe(classes):
    x, y, patients = random_features(classes)
    elsewhere = random_features(classes, seed=1)[0]
    kernel, bias, (c,) = linear_probe.head(x, y, patients, 4, 0)
    assert c in linear_probe.PENALTIES
    logits = elsewhere @ kernel + bias
    expected = np.log(
        linear_probe.fit_predict_proba(x, y, patients, elsewhere, 4, 0)[:, list(classes)]
    )
    seen_logits = logits[:, list(classes)]
    np.testing.assert_allclose(
        seen_logits - seen_logits[:, :1], expected - expected[:, :1], rtol=1e-6, atol=1e-6
    )
    # Of all classes together, those without a case are improbable at every point.
    far = 3 * elsewhere @ kernel + bias
    probabilities = tf.nn.softmax(tf.constant(far)).numpy()
    for k in set(range(4)) - set(classes):
        assert (kernel[:, k] == 0).all() and (probabilities[:, k] <= 1 / 42 + 1e-9).all()


def test_a_probe_of_one_class_is_a_constant():
    x, _, patients = random_features((0, 1))
    kernel, bias, _ = linear_probe.head(x, np.full(40, 2), patients, 3, 0)
    assert (kernel == 0).all()
    np.testing.assert_allclose(bias, [-math.log(41), -math.log(41), 0])


def test_each_label_has_a_regression_of_its_own():
    x, y, patients = random_features((0, 1))
    labels = np.stack([y, 1.0 - y, np.ones(40), np.full(40, NAN), y], axis=1)
    labels[::3, 1] = labels[:20, 2] = labels[5:9, 4] = NAN
    kernel, bias, penalties = linear_probe.head(x, labels, patients, 5, 0)
    probabilities = tf.sigmoid(tf.constant(x @ kernel + bias)).numpy()
    expected = linear_probe.fit_predict_proba(x, labels, patients, x, 5, 0)
    for label in (0, 1, 4):
        np.testing.assert_allclose(probabilities[:, label], expected[:, label], rtol=1e-6)
    np.testing.assert_allclose(probabilities[:, 2], 21 / 22)  # 20 cases have it, none lacks it
    np.testing.assert_allclose(probabilities[:, 3], 0.5)  # nobody knows it
    assert len(penalties) == 4


def log_odds(probabilities):
    return np.log(probabilities) - np.log(probabilities[:, :1])


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.usefixtures("eager")
def test_a_model_starts_as_the_probe_of_the_untrained_encoder(tiny_data, strategy):
    """Logits of step 0, of images and of cases, against the probe that an evaluation would fit."""
    bags = open_bags(CONFIG, tiny_data, "train")
    with strategy.scope():
        model = make_model(CONFIG, 2)
    encoder = [v.numpy() for v in model.encoder.trainable_variables]
    lines = probe_head.start(CONFIG, tiny_data, bags, strategy, model)
    other, _ = baselines.untrained(CONFIG, tiny_data, bags, strategy, 2)
    x = case_features(CONFIG, strategy, {"": other}, bags)[""]
    cases = read_cases(bags, 0)
    expected = linear_probe.fit_predict_proba(
        x, cases.labels, cases.patients, x, 2, CONFIG.run.seed
    )
    model_features = case_features(CONFIG, strategy, {"": model}, bags)[""]
    model_logits = model.classify(tf.constant(model_features)).numpy()
    assert np.ptp(model_logits[:, 1]) > 0.05
    np.testing.assert_allclose(model_logits - model_logits[:, :1], log_odds(expected), atol=1e-4)
    images = np.random.default_rng(0).uniform(0, 1, (3, 34, 34, 3)).astype(np.float32)
    outputs = model(images, training=False)
    features = outputs["features"].numpy()
    expected = linear_probe.fit_predict_proba(
        x, cases.labels, cases.patients, features, 2, CONFIG.run.seed
    )
    logits = outputs["logits"].numpy()
    np.testing.assert_allclose(logits - logits[:, :1], log_odds(expected), atol=1e-4)
    assert all((a == b.numpy()).all() for a, b in zip(encoder, model.encoder.trainable_variables))
    assert lines[0].startswith("The head starts as the linear probe: C = ")
    assert " on 8 labelled cases, 64 features, in " in lines[0] and len(lines) == 1


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.usefixtures("eager")
def test_a_model_of_several_labels_starts_as_their_probes(tiny_data, strategy):
    """From --checkpoint, whose statistics stay as they are; one label has no case without it."""
    plain = open_bags(CONFIG, tiny_data, "train")
    table = tf.constant([[1.0, 0.0, 1.0], [0.0, NAN, 1.0], [0.0, 1.0, 1.0], [1.0, 0.0, NAN]] * 2)

    def labelled():
        return plain.dataset.enumerate().map(lambda i, bag: {**bag, "label": table[i]})

    bags = dataclasses.replace(plain, open=labelled, class_names=("a", "b", "c"), multilabel=True)
    config = CONFIG.replace(checkpoint="given", ft_proj_selector=1)
    with strategy.scope():
        model = make_model(config, 3)
    statistics = [v.numpy() for v in model.non_trainable_variables]
    lines = probe_head.start(config, None, bags, strategy, model)
    assert all((a == b.numpy()).all() for a, b in zip(statistics, model.non_trainable_variables))
    x = case_features(config, strategy, {"": model}, bags)[""]
    patients = read_cases(bags, 0).patients
    expected = linear_probe.fit_predict_proba(x, table.numpy(), patients, x, 3, config.run.seed)
    logits = model.classify(tf.constant(x)).numpy()
    odds = np.log(expected[:, :2] / (1 - expected[:, :2]))
    np.testing.assert_allclose(logits[:, :2], odds, atol=1e-4)
    np.testing.assert_allclose(logits[:, 2], math.log(7), rtol=1e-6)
    assert lines[1:] == ["Of c no probe can be fitted: a constant that training cases suggest."]


def weights_of(folder, step):
    reader = tf.train.load_checkpoint(os.path.join(folder, f"ckpt-{step}"))
    names = [
        n
        for n in reader.get_variable_to_shape_map()
        if not n.startswith(("_CHECKP", "save_counter"))
    ]
    return {name: np.asarray(reader.get_tensor(name)).tobytes() for name in names}


def never(*args):
    raise AssertionError("a resumed run does not fit again")


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.usefixtures("eager")
def test_a_run_starts_as_the_probe_and_a_resumed_one_does_not_fit_again(
    tiny_data, strategy, tmp_path, capsys
):
    config = CONFIG.replace(train_steps=2, learning_rate=0.5)
    whole = str(tmp_path / "whole")
    train.train(config, tiny_data, whole, strategy, {}, probe_head.start)
    assert "The head starts as the linear probe: C = " in capsys.readouterr().out
    part = shutil.copytree(whole, tmp_path / "part")
    for name in os.listdir(part):
        if name.startswith("ckpt-2"):
            os.remove(part / name)
    train.train(config, tiny_data, str(part), strategy, {}, never)
    assert "Resuming at step 1 of 2" in capsys.readouterr().out
    assert weights_of(whole, 2) == weights_of(part, 2)
    # A run that learns nothing ends as it began: with the probe's head.
    still = str(tmp_path / "still")
    idle = config.replace(learning_rate=1e-30, train_steps=1)
    train.train(idle, tiny_data, still, strategy, {}, probe_head.start)
    model = make_model(config, 2)
    probe_head.start(config, tiny_data, open_bags(config, tiny_data, "train"), strategy, model)
    restored = make_model(config, 2)
    tf.train.Checkpoint(model=restored).restore(f"{still}/ckpt-1").expect_partial()
    for a, b in zip(
        restored.supervised_head.variables, model.supervised_head.variables, strict=True
    ):
        np.testing.assert_array_equal(a.numpy(), b.numpy())
    assert restored.supervised_head.dense.kernel.numpy().any()


def test_several_workers_are_refused(monkeypatch, strategy):
    monkeypatch.setattr(distribution, "worker_of", lambda strategy: (0, 2))
    with pytest.raises(UserError, match="--init_head=probe fits the head in one process"):
        train.train(CONFIG, None, "nowhere", strategy, {}, probe_head.start)


@pytest.mark.parametrize(
    "flags",
    [
        {"init_head": "probe", "zero_init_logits_layer": True},
        {"init_head": "probe", "keep_head": True, "checkpoint": "x"},
        {"init_head": "zero", "keep_head": True, "checkpoint": "x"},
    ],
)
def test_two_ways_to_start_a_head_contradict(flags):
    with pytest.raises(UserError, match=f"--init_head={flags['init_head']} and --.* in two ways"):
        Config().replace(train_mode="finetune", **flags).validate()
    Config().replace(
        train_mode="finetune", init_head="zero", zero_init_logits_layer=True
    ).validate()
