"""Differentials from the folder to the loss and to the cases that are scored."""

import json

import numpy as np
import pytest
import tensorflow as tf

from helpers import tiny_runs
from helpers.folders import draw_cases
from simclr_med import build, metrics, run_folder
from simclr_med.data.cases import read_cases, with_classes
from simclr_med.training import plan
from tfds_builders.derm_bags import Builder, folder_config

# Weights need not add up to 1; the last has no label.
LABELS = ["\"{'a': 3, 'b': 1}\"", "b", "\"{'b': 0.5, 'c': 0.5}\"", ""]
SHARES = {"c0": [0.75, 0.25, 0], "c1": [0, 1, 0], "c2": [0, 0.5, 0.5], "c3": [0, 0, 0]}
CONFIG = tiny_runs.FINETUNE.replace(train_batch_size=3)


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    root = tmp_path_factory.mktemp("differentials")
    photos = draw_cases(root / "photos", {"train": 4, "validation": 4}, classes=LABELS)
    prepared = Builder(config=folder_config(photos), data_dir=root / "tfds")
    prepared.download_and_prepare()
    return prepared


def test_cases_have_the_shares_of_their_labels(builder):
    bags = build.open_bags(CONFIG, builder, "train", with_differential=True)
    assert bags.class_names == ("a", "b", "c")
    cases = read_cases(bags, 0)
    assert cases.differential.dtype == np.float32
    for case, shares in zip(cases.ids, cases.differential):
        np.testing.assert_allclose(shares, SHARES[case], rtol=1e-6)
    assert read_cases(build.open_bags(CONFIG, builder, "train"), 0).differential is None


def test_without_differentials_there_are_none(tiny_data):
    bags = build.open_bags(CONFIG, tiny_data, "train", with_differential=True)
    assert read_cases(bags, 0).differential is None


@pytest.mark.parametrize("trained", [("b", "a", "x", "c"), ("a", "Other"), ("c", "b", "a")])
def test_they_follow_their_classes_to_another_head(builder, trained):
    """What the head does not know is Other."""
    bags = build.open_bags(CONFIG, builder, "train", with_differential=True)
    before = read_cases(bags, 0)
    after = with_classes(before, bags.class_names, trained)
    for old, new in zip(before.differential, after.differential):
        expected = dict.fromkeys(trained, 0.0)
        for name, share in zip(bags.class_names, old):
            expected[name if name in trained else "Other"] = (
                expected.get(name if name in trained else "Other", 0.0) + share
            )
        np.testing.assert_allclose(new, [expected[name] for name in trained])


@pytest.mark.parametrize(("soft", "order"), [(True, None), (False, None), (True, 1), (True, 2)])
def test_batches_have_them_unless_told_not_to_or_older(builder, soft, order):
    made_plan = plan.make_plan(CONFIG.replace(soft_labels=soft), builder, 1, order)
    batch = next(iter(plan.batches_from(made_plan, 0, (0, 1))))
    assert ("differential" in batch) == (soft and order != 1)
    if "differential" in batch:
        rows = sorted(map(tuple, batch["differential"].numpy().round(3)))
        assert rows == sorted(tuple(SHARES[f"c{i}"]) for i in range(3))


def test_the_loss_of_a_batch_is_against_them(builder):
    made_plan = plan.make_plan(CONFIG, builder, 1)
    batch = next(iter(plan.batches_from(made_plan, 0, (0, 1))))
    logits = tf.constant(np.random.default_rng(0).normal(size=(3, 3)).astype(np.float32))
    loss, _ = made_plan.method.loss({"logits": logits}, batch)
    log = tf.nn.log_softmax(logits).numpy()
    expected = -(batch["differential"].numpy() * log).sum() / 3
    assert float(loss) == pytest.approx(expected, rel=1e-5)


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.usefixtures("one_block")
@pytest.mark.parametrize("changed", [{}, {"micro_batch": 1}, {"class_weights": "balanced"}])
def test_they_train_in_every_kind_of_step(builder, strategy, tmp_path, changed):
    """A case of two labels keeps the loss above the entropy of its shares; hard targets reach 0."""
    config = CONFIG.replace(train_steps=2, **changed)
    run = tiny_runs.trained(config, builder, tmp_path / "run", strategy)
    for row in run_folder.read_metrics(str(run)):
        assert 0.3 < row["supervised_loss"] < 5
    trained = json.loads((run / "data.json").read_text())
    assert trained["bags"] == 3


@pytest.mark.parametrize(("soft", "missing"), [(True, []), (False, ["c"])])
def test_a_class_of_a_differential_alone_is_learnt_and_weighed(builder, soft, missing):
    """Nobody's heaviest label is c; half of one case is."""
    config = CONFIG.replace(soft_labels=soft, class_weights="balanced")
    made_plan = plan.make_plan(config, builder, 1)
    assert made_plan.without_cases["training"] == missing
    counts = np.sum([SHARES[f"c{i}"] for i in range(3)], axis=0) if soft else np.array([1, 2, 0])
    expected = [3 / (3 * count) if count else 0 for count in counts]
    np.testing.assert_allclose(made_plan.class_weights, expected, rtol=1e-6)


def test_answers_count_that_are_in_the_differential():
    differential = np.array([[0.7, 0.3, 0], [0, 0, 1], [0, 0, 0]])
    scores = np.array([[0.2, 0.5, 0.3], [0.4, 0.35, 0.25], [1, 0, 0]])
    in_differential = {
        k: metrics.in_differential(differential, scores, k).tolist() for k in (1, 2, 3)
    }
    assert in_differential == {
        1: [True, False, False],
        2: [True, False, False],
        3: [True, True, False],
    }
