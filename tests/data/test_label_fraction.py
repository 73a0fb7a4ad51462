"""Which labels train: nested, by patient, stratified, seeded; and how classes are weighed."""

import numpy as np
import pytest
import tensorflow as tf
from sklearn.utils.class_weight import compute_class_weight

from simclr_med.data import Bags
from simclr_med.data.cases import Cases
from simclr_med.data.label_fraction import balanced_weights, chosen_cases, hide_labels, keep_cases


def make_cases(labels, patients=None):
    n = len(labels)
    return Cases(
        ids=np.array([f"c{i}" for i in range(n)]),
        patients=np.array(patients if patients is not None else [f"p{i}" for i in range(n)]),
        labels=np.array(labels),
        num_images=np.arange(n) % 3 + 1,
    )


@pytest.fixture
def skewed():
    """400 cases of 150 patients; classes of 70, 25 and 5 %; one case in ten has no label."""
    rng = np.random.default_rng(0)
    patients = rng.integers(0, 150, 400)
    of_patient = rng.choice(3, 150, p=[0.7, 0.25, 0.05])
    labels = np.where(rng.random(400) < 0.1, -1, of_patient[patients])
    return make_cases(labels, [f"p{p:03d}" for p in patients])


def test_a_smaller_fraction_is_part_of_a_larger_one(skewed):
    chosen = [chosen_cases(skewed, f, seed=3) for f in (0.1, 0.2, 0.5, 0.9, 1.0)]
    for less, more in zip(chosen, chosen[1:]):
        assert (more | ~less).all() and more.sum() > less.sum()
    assert (chosen[-1] == skewed.labelled).all()


def test_a_patient_is_chosen_with_all_labelled_cases_or_none(skewed):
    chosen = chosen_cases(skewed, 0.3, seed=1)
    for patient in np.unique(skewed.patients):
        of_patient = chosen[(skewed.patients == patient) & skewed.labelled]
        assert of_patient.all() or not of_patient.any()
    assert not chosen[~skewed.labelled].any()


@pytest.mark.parametrize("fraction", [0.01, 0.1, 0.5])
def test_every_class_keeps_its_share_of_patients_and_at_least_one(skewed, fraction):
    chosen = chosen_cases(skewed, fraction, seed=2)
    for c in range(3):
        of_class = skewed.labels == c
        whole = len(np.unique(skewed.patients[of_class]))
        part = len(np.unique(skewed.patients[of_class & chosen]))
        assert part == max(1, int(fraction * whole + 0.5))


def test_the_seed_decides_and_the_order_of_cases_does_not(skewed):
    first = chosen_cases(skewed, 0.2, seed=1)
    assert not (first == chosen_cases(skewed, 0.2, seed=2)).all()
    turned = make_cases(skewed.labels[::-1], skewed.patients[::-1])
    assert (chosen_cases(turned, 0.2, seed=1)[::-1] == first).all()


def test_several_labels_are_stratified_by_the_rarest():
    rng = np.random.default_rng(1)
    labels = (rng.random((500, 3)) < [0.5, 0.2, 0.04]).astype(np.float32)
    labels[rng.random((500, 3)) < 0.1] = np.nan
    cases = make_cases(labels)
    chosen = chosen_cases(cases, 0.2, seed=0)
    rare = np.flatnonzero(labels[:, 2] == 1)
    assert chosen[rare].sum() == int(0.2 * len(rare) + 0.5)
    assert abs(chosen.mean() - 0.2) < 0.02


@pytest.fixture
def bags():
    dataset = tf.data.Dataset.from_tensor_slices(
        {"bag_id": [f"c{i}" for i in range(6)], "label": np.arange(6) % 3}
    )
    return Bags(lambda: dataset, 6, 12, ("a", "b", "c"))


def test_kept_and_hidden_bags(bags):
    cases = make_cases(np.arange(6) % 3)
    kept = np.array([True, False, False, True, True, False])
    few = keep_cases(bags, cases, kept)
    assert [bag["bag_id"] for bag in few.dataset.as_numpy_iterator()] == [b"c0", b"c3", b"c4"]
    assert (few.num_bags, few.num_images) == (3, 1 + 1 + 2)
    hidden = hide_labels(bags, kept)
    assert [bag["label"] for bag in hidden.dataset.as_numpy_iterator()] == [0, -1, -1, 0, 1, -1]
    assert hidden.num_bags == 6


def test_balanced_weights_equal_scikit_learn():
    labels = np.array([0] * 7 + [1] * 2 + [2] + [-1] * 5)
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels[labels >= 0])
    np.testing.assert_allclose(balanced_weights(labels, 4), [*expected * 3 / 4, 0], rtol=1e-6)
    multilabel = np.array([[1, 0], [0, 0], [0, np.nan], [np.nan, np.nan]], np.float32)
    weights = balanced_weights(multilabel, 2)
    expected = compute_class_weight("balanced", classes=np.arange(2), y=[1, 0, 0])
    np.testing.assert_allclose(weights[0], expected, rtol=1e-6)
    np.testing.assert_allclose(weights[1], [0.5, 0.0])  # nobody has it: its presence weighs nothing
