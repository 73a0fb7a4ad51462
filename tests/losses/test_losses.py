"""NT-Xent and the supervised loss against the reference's numbers and against slow NumPy."""

import json
import math

import numpy as np
import pytest
import tensorflow as tf

from helpers.slow_nt_xent import slow_nt_xent
from simclr_med import losses
from simclr_med.losses import contrastive
from simclr_med.training.methods import METHODS

CASES = [f"single{i}" for i in range(10)] + ["edge_correlated", "edge_zero_row", "edge_duplicates"]


@pytest.mark.parametrize("case", CASES)
def test_nt_xent_equals_the_reference(golden, case):
    numbers = np.load(golden / "contrastive_loss.npz")
    options = json.loads((golden / "contrastive_loss.json").read_text())[case]
    hidden = tf.Variable(numbers[f"{case}/hidden"])
    with tf.GradientTape() as tape:
        loss, logits_ab, labels = losses.nt_xent(
            *tf.split(hidden, 2),
            temperature=options["temperature"],
            normalize=options["hidden_norm"],
        )
    gradient = tape.gradient(loss, hidden).numpy()
    expected = numbers[f"{case}/grad"]
    np.testing.assert_allclose(loss, numbers[f"{case}/loss"], rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(logits_ab, numbers[f"{case}/logits_ab"], rtol=2e-6, atol=4e-6)
    np.testing.assert_array_equal(labels, numbers[f"{case}/labels"])
    assert np.abs(gradient - expected).max() <= 2e-6 * max(np.abs(expected).max(), 1e-6)
    accuracy = losses.contrastive_accuracy(logits_ab, labels)
    np.testing.assert_allclose(accuracy, numbers[f"{case}/contrast_acc"], atol=1e-6)
    entropy = losses.contrastive_entropy(logits_ab)
    np.testing.assert_allclose(entropy, numbers[f"{case}/contrast_entropy"], atol=1e-5)


def test_nt_xent_equals_a_loop_over_equation_1():
    z1, z2 = np.random.default_rng(0).normal(size=(2, 3, 5)).astype(np.float32)
    loss, _, _ = losses.nt_xent(z1, z2, temperature=0.3)
    np.testing.assert_allclose(loss, slow_nt_xent(z1, z2, 0.3), rtol=1e-6)


def test_nt_xent_leaves_other_bags_of_a_patient_out_of_the_denominator():
    z1, z2 = np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)
    groups = [7, 3, 7, 9, 7]
    loss, _, _ = losses.nt_xent(z1, z2, temperature=0.5, group_ids=tf.constant(groups))
    np.testing.assert_allclose(loss, slow_nt_xent(z1, z2, 0.5, groups), rtol=1e-6)
    unmasked, _, _ = losses.nt_xent(z1, z2, temperature=0.5)
    assert float(loss) < float(unmasked)


def test_both_methods_leave_other_images_of_a_patient_out():
    z1, z2 = np.random.default_rng(5).normal(size=(2, 4, 3)).astype(np.float32)
    patients = [1, 2, 1, 3]
    outputs = {"projection": tf.constant(np.concatenate([z1, z2]))}
    batch = {"patient": tf.constant(patients)}
    for name in ("simclr", "micle"):
        loss, _ = METHODS[name].loss(outputs, batch, temperature=0.5, hidden_norm=True)
        np.testing.assert_allclose(loss, slow_nt_xent(z1, z2, 0.5, patients), rtol=1e-6)


@pytest.mark.parametrize("chunk", [0, 2])
def test_kept_they_are_negatives_as_in_equation_1(chunk):
    z1, z2 = np.random.default_rng(5).normal(size=(2, 4, 3)).astype(np.float32)
    outputs = {"projection": tf.constant(np.concatenate([z1, z2]))}
    batch = {"patient": tf.constant([1, 2, 1, 1])}
    options = dict(temperature=0.5, hidden_norm=True, nt_xent_chunk=chunk)
    for name in ("simclr", "micle"):
        loss, metrics = METHODS[name].loss(outputs, batch, same_patient_negatives="keep", **options)
        np.testing.assert_allclose(loss, slow_nt_xent(z1, z2, 0.5), rtol=1e-6)
        assert float(metrics["contrast_negatives"]) == 6


@pytest.mark.parametrize("chunk", [0, 2])
@pytest.mark.parametrize("patients", [[1, 2, 1, 1, 3], [4, 3, 2, 1, 0], [7, 7, 7, 7, 7]])
def test_chance_is_the_loss_of_views_that_are_all_alike(patients, chunk):
    """Counted, too, by a loop over who may be told apart from whom."""
    loss, metrics = METHODS["simclr"].loss(
        {"projection": tf.ones([10, 3])},
        {"patient": tf.constant(patients)},
        temperature=0.5,
        hidden_norm=True,
        nt_xent_chunk=chunk,
    )
    np.testing.assert_allclose(metrics["contrast_chance_loss"], loss, rtol=1e-6, atol=1e-6)
    num_negatives = [sum(p != q for q in patients) for p in patients]
    assert float(metrics["contrast_negatives"]) == pytest.approx(2 * np.mean(num_negatives))
    chance = np.mean([1 / (1 + n) for n in num_negatives])
    assert float(metrics["contrast_chance_acc"]) == pytest.approx(chance)


def test_nt_xent_without_information_is_twice_ln_2n_minus_1():
    z = tf.ones([6, 3])
    loss, _, _ = losses.nt_xent(z, z, temperature=0.1)
    np.testing.assert_allclose(loss, 2 * math.log(11), rtol=1e-6)


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_nt_xent_is_computed_in_float32(dtype):
    z1, z2 = np.random.default_rng(2).normal(size=(2, 4, 8))
    z1, z2 = tf.cast(z1, dtype), tf.cast(z2, dtype)
    loss, logits, _ = losses.nt_xent(z1, z2, temperature=0.1)
    exact = slow_nt_xent(tf.cast(z1, tf.float32).numpy(), tf.cast(z2, tf.float32).numpy(), 0.1)
    assert loss.dtype == logits.dtype == tf.float32
    np.testing.assert_allclose(loss, exact, rtol=1e-6)


def value_and_gradient(loss_of, z1, z2):
    """Returns what `loss_of` returns, and the gradient of its first result, as NumPy."""
    z = tf.constant(np.stack([z1, z2]), tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(z)
        results = loss_of(z[0], z[1])
    return [x.numpy() for x in results], tape.gradient(results[0], z).numpy()


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("chunk", [1, 3, 7, 50])
@pytest.mark.parametrize("patients", [None, [4, 1, 4, 2, 2, 9, 4]])
def test_in_chunks_the_loss_is_that_of_one_piece(chunk, patients, compiled):
    z1, z2 = np.random.default_rng(6).normal(size=(2, 7, 5)).astype(np.float32)
    z2 += 0.5 * z1  # some partners are found, some are not
    options = dict(temperature=0.4, group_ids=None if patients is None else tf.constant(patients))

    def in_one_piece(z1, z2):
        loss, logits_ab, labels = losses.nt_xent(z1, z2, **options)
        accuracy = losses.contrastive_accuracy(logits_ab, labels)
        return loss, accuracy, losses.contrastive_entropy(logits_ab)

    @tf.function(jit_compile=compiled)
    def in_chunks(z1, z2):
        return losses.nt_xent_in_chunks(z1, z2, **options, chunk=chunk)

    expected, gradient = value_and_gradient(in_one_piece, z1, z2)
    chunked, chunked_gradient = value_and_gradient(in_chunks, z1, z2)
    assert 0 < expected[1] < 1
    np.testing.assert_allclose(chunked, expected, rtol=1e-6)
    np.testing.assert_allclose(chunked_gradient, gradient, atol=1e-6 * np.abs(gradient).max())
    np.testing.assert_allclose(chunked[0], slow_nt_xent(z1, z2, 0.4, patients), rtol=1e-6)


@pytest.mark.parametrize("case", CASES)
def test_in_chunks_nt_xent_equals_the_reference(golden, case):
    numbers = np.load(golden / "contrastive_loss.npz")
    options = json.loads((golden / "contrastive_loss.json").read_text())[case]

    def in_chunks(z1, z2):
        return losses.nt_xent_in_chunks(
            z1, z2, temperature=options["temperature"], normalize=options["hidden_norm"], chunk=3
        )

    values, gradient = value_and_gradient(in_chunks, *np.split(numbers[f"{case}/hidden"], 2))
    np.testing.assert_allclose(values[0], numbers[f"{case}/loss"], rtol=2e-6, atol=2e-6)
    np.testing.assert_allclose(values[1], numbers[f"{case}/contrast_acc"], atol=1e-6)
    np.testing.assert_allclose(values[2], numbers[f"{case}/contrast_entropy"], atol=1e-5)
    expected = numbers[f"{case}/grad"].reshape(gradient.shape)
    assert np.abs(gradient - expected).max() <= 2e-6 * max(np.abs(expected).max(), 1e-6)


def largest_tensor(loss_of, b):
    """Returns the number of elements of the largest tensor in the graph of a loss and its gradient."""

    @tf.function
    def step(z):
        with tf.GradientTape() as tape:
            tape.watch(z)
            results = loss_of(z[0], z[1])
        return results, tape.gradient(results[0], z)

    concrete = step.get_concrete_function(tf.TensorSpec([2, b, 4]))
    definition = concrete.graph.as_graph_def(add_shapes=True)
    nodes = [*definition.node]
    for function in definition.library.function:  # the bodies of loops too
        nodes += function.node_def
    shapes = [
        tf.TensorShape(shape) for node in nodes for shape in node.attr["_output_shapes"].list.shape
    ]
    assert len(shapes) > 100
    return max(shape.num_elements() or 0 for shape in shapes)


def test_in_chunks_no_more_rows_are_in_memory_than_requested():
    options = dict(temperature=0.1, group_ids=tf.range(64))
    unchunked = largest_tensor(lambda z1, z2: losses.nt_xent(z1, z2, **options), 64)
    assert unchunked == 64 * 128
    chunked = lambda z1, z2: losses.nt_xent_in_chunks(z1, z2, **options, chunk=8)  # noqa: E731
    assert largest_tensor(chunked, 64) == 8 * 128


def test_logits_are_cut_off_from_the_gradient():
    z = tf.random.stateless_normal([4, 3], [1, 2])
    with tf.GradientTape() as tape:
        tape.watch(z)
        _, logits_ab, _ = contrastive.nt_xent(z, z, temperature=0.5)
    assert tape.gradient(logits_ab, z) is None


def test_a_method_shows_the_same_metrics_with_and_without_chunks():
    z = tf.random.stateless_normal([10, 3], [3, 4])
    batch = {"patient": tf.constant([1, 2, 1, 3, 4])}
    for name in ("simclr", "micle"):
        (_, expected), (_, chunked) = (
            METHODS[name].loss(
                {"projection": z}, batch, temperature=0.5, hidden_norm=True, nt_xent_chunk=chunk
            )
            for chunk in (0, 2)
        )
        assert list(chunked) == list(expected)
        for metric, value in expected.items():
            np.testing.assert_allclose(chunked[metric], value, rtol=1e-6, err_msg=metric)


def test_masked_cross_entropy_is_the_mean_over_labelled_examples():
    logits = np.random.default_rng(3).normal(size=(5, 3)).astype(np.float32)
    labels = np.array([2, -1, 0, -1, 1])
    loss, accuracy = losses.masked_cross_entropy(tf.constant(labels), tf.constant(logits))
    logs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    seen = labels >= 0
    np.testing.assert_allclose(loss, -logs[seen, labels[seen]].mean(), rtol=1e-6)
    np.testing.assert_allclose(accuracy, (logits.argmax(1) == labels)[seen].mean(), rtol=1e-6)


def test_masked_cross_entropy_of_an_unlabelled_batch_is_zero():
    loss, accuracy = losses.masked_cross_entropy(tf.constant([-1, -1]), tf.ones([2, 3]))
    assert float(loss) == float(accuracy) == 0.0


def test_gradient_equals_finite_differences_of_equation_1():
    z1, z2 = np.random.default_rng(4).normal(size=(2, 3, 4))
    groups, step = [0, 1, 0], 1e-6
    a, b = tf.Variable(z1, dtype=tf.float32), tf.Variable(z2, dtype=tf.float32)
    with tf.GradientTape() as tape:
        loss, _, _ = losses.nt_xent(a, b, temperature=0.5, group_ids=tf.constant(groups))
    gradients = tape.gradient(loss, [a, b])
    for side, gradient in enumerate(gradients):
        for index in np.ndindex(3, 4):
            up, down = np.stack([z1, z2]), np.stack([z1, z2])
            up[side][index] += step
            down[side][index] -= step
            difference = slow_nt_xent(*up, 0.5, groups) - slow_nt_xent(*down, 0.5, groups)
            assert gradient.numpy()[index] == pytest.approx(difference / (2 * step), abs=2e-6)


def test_accuracy_and_entropy_equal_numpy():
    logits = np.array([[3.0, 1.0, 0.0], [0.0, 1.0, 2.0], [0.5, 0.0, 4.0]], np.float32)
    labels = np.eye(3, 6, dtype=np.float32)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert float(losses.contrastive_accuracy(tf.constant(logits), labels)) == pytest.approx(2 / 3)
    entropy = -(p * np.log(p)).sum(1).mean()
    assert float(losses.contrastive_entropy(tf.constant(logits))) == pytest.approx(
        entropy, rel=1e-5
    )
