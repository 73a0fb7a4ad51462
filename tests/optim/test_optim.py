"""LARS, the schedule and what decays, against the reference's numbers and plain NumPy."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from helpers import simclr_layout
from simclr_med import optim
from simclr_med.config import Config, ModelConfig
from simclr_med.errors import UserError
from simclr_med.models import Model

SETTINGS = ["default", "wd1e-4", "lr4.8_wd1e-4", "no_exclude", "wd0_finetune"]


@pytest.mark.parametrize("setting", SETTINGS)
def test_lars_equals_the_reference_over_five_steps(golden, setting):
    numbers = np.load(golden / "lars.npz")
    document = json.loads((golden / "lars.json").read_text())
    options, names = document["settings"][setting], list(document["names"])
    variables = {name: tf.Variable(numbers[f"init|{name}"]) for name in names}
    patterns = options.get("exclude_from_weight_decay", [])
    excluded = [v for name, v in variables.items() if any(p in name for p in patterns)]
    lars = optim.LARS(
        options["learning_rate"], options["momentum"], options["weight_decay"], excluded=excluded
    )
    for step in range(5):
        gradients = [tf.constant(numbers[f"grads|{name}"][step]) for name in names]
        lars.apply_gradients(zip(gradients, variables.values()))
        for name in names:
            expected = numbers[f"{setting}|{name}|value"][step]
            np.testing.assert_allclose(variables[name], expected, rtol=2e-7, atol=1e-9)


def test_lars_equals_its_formula_in_numpy():
    rng = np.random.default_rng(0)
    w, v = rng.normal(size=(3, 2)).astype(np.float32), np.zeros((3, 2))
    variable = tf.Variable(w)
    lars = optim.LARS(0.7, momentum=0.9, weight_decay=0.01, trust_coefficient=0.02)
    for _ in range(4):
        g = rng.normal(size=w.shape).astype(np.float32)
        lars.apply_gradients([(tf.constant(g), variable)])
        g = g + 0.01 * w
        v = 0.9 * v + 0.7 * 0.02 * np.linalg.norm(w) / np.linalg.norm(g) * g
        w = w - v
    np.testing.assert_allclose(variable, w, rtol=1e-5)


def test_lars_excludes_batch_norm_biases_and_the_supervised_head_by_layer_type():
    model = Model(ModelConfig(resnet_depth=18, se_ratio=0.1), image_size=32, num_classes=3)
    model.build_weights(32)
    lars = optim.make_optimizer("lars", 0.1, momentum=0.9, weight_decay=1e-6, model=model)
    adapted = [v for v in model.trainable_variables if lars._var_key(v) not in lars._excluded_keys]
    kernels = [v for v in model.trainable_variables if v.shape.rank > 1]
    head = model.supervised_head.dense.kernel
    assert {v.ref() for v in adapted} == {v.ref() for v in kernels if v is not head}


def test_l2_penalty_equals_the_reference(golden, golden_checkpoint):
    numbers = np.load(golden / "model_r18.npz")
    config = ModelConfig(resnet_depth=18, num_proj_layers=2, proj_out_dim=64, ft_proj_selector=1)
    model = Model(config, image_size=64, num_classes=10)
    model.build_weights(64)
    reader = tf.train.load_checkpoint(str(golden_checkpoint / "ckpt-0"))
    for key, variable in simclr_layout.checkpoint_keys(model).items():
        variable.assign(reader.get_tensor(key))
    for name in ("lars", "momentum", "adam"):
        expected = numbers[f"add_weight_decay_at_1e_4/{name}"]
        np.testing.assert_allclose(optim.l2_penalty(model, name, 1e-4), expected, rtol=1e-6)


@pytest.mark.parametrize("case", [f"case{i}" for i in range(8)])
def test_schedule_equals_the_reference(golden, case):
    options = json.loads((golden / "lr_schedule.json").read_text())[case]
    numbers = np.load(golden / "lr_schedule.npz")
    n, batch = options["n"], options["train_batch_size"]
    total = optim.num_train_steps(
        n, batch, options.get("train_epochs", 0), options.get("train_steps", 0)
    )
    warmup = optim.num_warmup_steps(n, batch, options["warmup_epochs"])
    assert (total, warmup) == (options["train_steps_total"], options["warmup_steps"])
    peak = optim.scaled_learning_rate(
        options["learning_rate"], batch, options["learning_rate_scaling"]
    )
    rates = [
        optim.warmup_cosine(int(step), peak=peak, warmup_steps=warmup, total_steps=total)
        for step in numbers[f"{case}/steps"]
    ]
    np.testing.assert_allclose(rates, numbers[f"{case}/lr"], atol=2e-7 * peak)


def test_schedule_equals_its_closed_form():
    def rate(step):
        return float(optim.warmup_cosine(step, peak=2.0, warmup_steps=4, total_steps=20))

    assert [rate(0), rate(2), rate(4), rate(20)] == pytest.approx([0.0, 1.0, 2.0, 0.0], abs=1e-6)
    assert rate(8) == pytest.approx(1 + math.cos(math.pi / 4), abs=1e-6)


def test_lars_gives_excluded_variables_plain_momentum():
    w, g = np.array([1.0, -2.0], np.float32), np.array([0.5, 0.25], np.float32)
    variable = tf.Variable(w)
    lars = optim.LARS(0.1, momentum=0.9, weight_decay=10.0, excluded=[variable])
    for _ in range(2):
        lars.apply_gradients([(tf.constant(g), variable)])
    np.testing.assert_allclose(variable, w - 0.1 * g - (0.9 * 0.1 * g + 0.1 * g), rtol=1e-6)


@pytest.mark.parametrize("start, gradient", [([0.0, 0.0], [1.0, 2.0]), ([1.0, 2.0], [0.0, 0.0])])
def test_lars_trusts_fully_where_a_norm_is_zero(start, gradient):
    variable = tf.Variable(start)
    optim.LARS(0.5).apply_gradients([(tf.constant(gradient), variable)])
    np.testing.assert_allclose(variable, np.array(start) - 0.5 * np.array(gradient), rtol=1e-6)


def test_l2_penalty_equals_half_the_sum_of_squares_of_what_decays():
    model = Model(ModelConfig(resnet_depth=18, se_ratio=0.1), image_size=16, num_classes=3)
    model.build_weights(16)
    head = model.supervised_head.dense
    norms = {v.ref() for v in optim.norm_variables(model)}

    def half_squares(variables):
        return 0.5 * sum(np.sum(np.float64(v.numpy()) ** 2) for v in variables)

    decayed = [v for v in model.trainable_variables if v.ref() not in norms]
    assert any(v is head.bias for v in decayed)
    expected = {"lars": half_squares([head.kernel]), "momentum": half_squares(decayed)}
    expected["adam"] = expected["momentum"]
    for name, value in expected.items():
        assert float(optim.l2_penalty(model, name, 0.1)) == pytest.approx(0.1 * value, rel=1e-5)


def test_counts_of_steps_and_scaled_rates_equal_their_closed_form():
    assert optim.num_train_steps(1000, 32, train_epochs=3, train_steps=0) == 94  # 93.75 -> 93 + 1
    assert optim.num_train_steps(1000, 32, train_epochs=3, train_steps=7) == 7
    assert optim.num_warmup_steps(1000, 32, 0.5) == 15
    assert optim.scaled_learning_rate(0.3, 512, "linear") == pytest.approx(0.6)
    assert optim.scaled_learning_rate(0.075, 64, "sqrt") == pytest.approx(0.6)


def test_warmup_longer_than_the_run_grows_to_its_end():
    rates = [optim.warmup_cosine(s, peak=1.0, warmup_steps=8, total_steps=4) for s in range(5)]
    np.testing.assert_allclose(rates, np.arange(5) / 8, rtol=1e-6)


class Layered(tf.Module):
    """A model whose encoder has a stem, two groups (of two blocks and one) and something after them."""

    def __init__(self):
        super().__init__()
        counts = {"stem": 1, "first": 2, "second": 1, "last": 1, "head": 1}
        self.layers = {name: [tf.Module() for _ in range(n)] for name, n in counts.items()}
        for layer in [layer for layers in self.layers.values() for layer in layers]:
            layer.kernel, layer.bias = tf.Variable(tf.ones([3, 2])), tf.Variable(tf.ones([2]))
        self.encoder = tf.Module()
        self.encoder.stem = self.layers["stem"][0]
        self.encoder.groups = [self.layers["first"], self.layers["second"]]
        self.encoder.finish = self.layers["last"]

    def variables_of(self, name):
        return [v for layer in self.layers[name] for v in layer.trainable_variables]


@pytest.mark.parametrize("name", ["momentum", "adam"])
@pytest.mark.parametrize("graph", [False, True])
def test_layer_decay_is_another_learning_rate_for_each_group(name, graph):
    """To the bit: beside plain optimisers at those rates, over a schedule. 0.5**k is exact."""
    model = Layered()
    factors = {"stem": 1 / 8, "first": 1 / 4, "second": 1 / 2, "last": 1 / 2, "head": 1}
    options = dict(momentum=0.9, weight_decay=0.0, model=model)

    def schedule(factor):
        return optim.WarmupCosine(peak=0.5 * factor, warmup_steps=2, total_steps=9)

    by_layer = optim.make_optimizer(name, schedule(1), **options, layer_decay=0.5)
    variables = [v for part in factors for v in model.variables_of(part)]
    by_layer.build(variables)
    copies = {part: [tf.Variable(v) for v in model.variables_of(part)] for part in factors}
    plain = {
        part: optim.make_optimizer(name, schedule(f), **options) for part, f in factors.items()
    }
    for part, optimizer in plain.items():
        optimizer.build(copies[part])
    rng = np.random.default_rng(0)
    step = tf.function(by_layer.apply_gradients) if graph else by_layer.apply_gradients
    for number in range(5):
        gradients = {v.ref(): tf.constant(rng.normal(size=v.shape), tf.float32) for v in variables}
        rate = float(tf.convert_to_tensor(by_layer.learning_rate))  # as the log reads it
        assert number == 0 or rate == float(schedule(1)(number - 1))
        step([(gradients[v.ref()], v) for v in variables])
        for part, optimizer in plain.items():
            of_part = [gradients[v.ref()] for v in model.variables_of(part)]
            optimizer.apply_gradients(zip(of_part, copies[part]))
            for v, copy in zip(model.variables_of(part), copies[part], strict=True):
                np.testing.assert_array_equal(v, copy, err_msg=part)


def test_the_groups_of_each_encoder_are_told_apart():
    for config, k_of in (
        (ModelConfig(resnet_depth=18), {"stem": 5, 0: 4, 1: 3, 2: 2, 3: 1}),
        (ModelConfig(encoder="bit"), {"stem": 5, 0: 4, 1: 3, 2: 2, 3: 1, "finish": 1}),
    ):
        model = Model(config, image_size=34, num_classes=3, with_projection=False)
        model.build_weights(34)
        factors = {v.ref(): f for v, f in optim.rate_factors(model, 0.5)}
        encoder = model.encoder
        parts = {"stem": encoder.stem.trainable_variables}
        for i, group in enumerate(encoder.groups):
            parts[i] = [v for block in group for v in block.trainable_variables]
        inside = {v.ref() for of_part in parts.values() for v in of_part}
        parts["finish"] = [v for v in encoder.trainable_variables if v.ref() not in inside]
        assert bool(parts["finish"]) == ("finish" in k_of)
        for part, variables in parts.items():
            assert {factors.pop(v.ref()) for v in variables} == (
                {0.5 ** k_of[part]} if variables else set()
            )
        assert not factors


def test_lars_has_no_rates_by_layer():
    changed = dict(train_mode="finetune", layer_decay=0.5)
    with pytest.raises(UserError, match="--layer_decay=0.5: LARS sets the rate of each layer"):
        Config().replace(**changed).validate()
    Config().replace(**changed, optimizer="adam").validate()
