"""Fine-tuning on whole cases: padding, order and number of images must not leak into a score."""

import functools

import numpy as np
import pytest
import tensorflow as tf

from helpers.png_bags import SIZES, make_bags
from simclr_med.augment import augment_views
from simclr_med.config import ModelConfig
from simclr_med.data import training_batches
from simclr_med.losses import masked_binary_cross_entropy, masked_cross_entropy
from simclr_med.models import Model, mean_over_cases, resnet
from simclr_med.training.methods import finetune
from simclr_med.training.step import case_of_image, fill_places

RNG = np.random.default_rng(0)
COUNTS = [1, 3, 2]
IMAGES = [RNG.integers(0, 256, (count, 34, 34, 3), np.uint8) for count in COUNTS]


@pytest.fixture(scope="module")
def bags():
    return make_bags()


@pytest.fixture(scope="module")
def model():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(resnet.BLOCKS_PER_GROUP, 18, (1, 1))
        built = Model(
            ModelConfig(resnet_depth=18), image_size=34, num_classes=4, with_projection=False
        )
        built.build_weights(34)
    return built


def padded(num_views, filling=0):
    """Returns the cases padded to `num_views` images, uint8 [3, num_views, ...], and which are valid."""
    images = np.full((3, num_views, 34, 34, 3), filling, np.uint8)
    valid = np.zeros((3, num_views), bool)
    for i, of_case in enumerate(IMAGES):
        images[i, : len(of_case)], valid[i, : len(of_case)] = of_case, True
    return tf.constant(images), tf.constant(valid)


def outputs(model, images, valid, fixed_shapes=False, training=False):
    """Returns what the training step computes of cases, without augmentation."""
    left = valid
    if fixed_shapes:
        images, left = fill_places(images, valid), None
    views = augment_views(images, {}, tf.constant([0, 0]), valid=left)
    return model(views, training=training, **case_of_image(valid, left))


def test_padding_changes_no_bit_of_a_score(model):
    tight = outputs(model, *padded(3))
    for num_views, filling in ((4, 0), (6, 255)):
        loose = outputs(model, *padded(num_views, filling))
        assert (loose["logits"].numpy() == tight["logits"].numpy()).all()
        assert (loose["features"].numpy() == tight["features"].numpy()).all()


def test_a_score_is_that_of_the_mean_feature_of_the_real_images(model):
    result = outputs(model, *padded(5))
    for i, of_case in enumerate(IMAGES):
        features = [model(image[np.newaxis] / np.float32(255))["features"][0] for image in of_case]
        mean = np.mean(features, axis=0)
        np.testing.assert_allclose(result["features"][i], mean, rtol=1e-4, atol=1e-6)
        kernel, bias = (v.numpy() for v in model.supervised_head.variables)
        np.testing.assert_allclose(result["logits"][i], mean @ kernel + bias, rtol=1e-4, atol=1e-6)


def test_padding_does_not_reach_batch_norm(model):
    initial = [v.numpy() for v in model.variables]

    def statistics(num_views, filling):
        for variable, value in zip(model.variables, initial):
            variable.assign(value)
        outputs(model, *padded(num_views, filling), training=True)
        return [v.numpy() for v in model.non_trainable_variables]

    tight, loose = statistics(3, 0), statistics(6, 255)
    assert all((a == b).all() for a, b in zip(tight, loose))
    assert not (tight[0] == initial[0].ravel()[0]).all()


def test_where_shapes_are_fixed_scores_are_the_same(model):
    """As on a TPU: every place passes the encoder, and counts for nothing if it is empty."""
    expected = outputs(model, *padded(3))["logits"]
    logits = outputs(model, *padded(6, 255), fixed_shapes=True)["logits"]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-6)


def test_empty_places_are_filled_with_the_case_itself():
    images, valid = padded(6, 255)
    filled = fill_places(images, valid).numpy()
    for i, of_case in enumerate(IMAGES):
        for view in range(6):
            assert (filled[i, view] == of_case[view % len(of_case)]).all()


def test_mean_over_cases_leaves_out_what_is_of_no_case():
    features = tf.constant([[1.0, 2.0], [3.0, 4.0], [100.0, 100.0], [7.0, 7.0]])
    means = mean_over_cases(features, tf.constant([1, 1, -1, 0]), 3)
    np.testing.assert_array_equal(means, [[7, 7], [2, 3], [0, 0]])


def test_a_case_brings_its_images_once_each_and_a_large_one_a_new_draw(bags):  # noqa: F811
    batches = training_batches(
        bags,
        sample_images=functools.partial(finetune.sample_images, max_images=4),
        keep_bags=True,
        batch_size=7,
        image_size=16,
        seed=1,
    )
    seen_of_six = set()
    for batch in batches.take(12):
        for images, valid, label in zip(batch["images"], batch["real"], batch["label"]):
            valid, size = valid.numpy(), SIZES[int(label)]
            assert valid.tolist() == [True] * min(size, 4) + [False] * max(0, 4 - size)
            greys = images.numpy()[valid].mean((1, 2, 3)).round().astype(int)
            first = 30 * int(label)
            assert len(set(greys)) == len(greys) and set(greys) <= set(range(first, first + size))
            assert not images.numpy()[~valid].any()
            if size == 6:
                seen_of_six.add(tuple(sorted(greys)))
    assert len(seen_of_six) > 3


def test_class_weights_weigh_the_loss_as_scikit_learn_does():
    from sklearn.metrics import log_loss

    logits = RNG.normal(size=(6, 3)).astype(np.float32)
    labels = np.array([2, -1, 0, 0, 1, 2])
    weights = np.array([0.5, 2.0, 3.0], np.float32)
    loss, accuracy = masked_cross_entropy(tf.constant(labels), tf.constant(logits), weights)
    seen = labels >= 0
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = log_loss(labels[seen], p[seen], sample_weight=weights[labels[seen]])
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert float(accuracy) == pytest.approx((logits.argmax(1) == labels)[seen].mean())


def test_weights_of_presence_and_absence():
    logits = RNG.normal(size=(4, 2)).astype(np.float32)
    labels = np.array([[1, 0], [0, np.nan], [np.nan, 1], [0, 0]], np.float32)
    weights = np.array([[1.0, 4.0], [0.5, 2.0]], np.float32)
    loss, _ = masked_binary_cross_entropy(tf.constant(labels), tf.constant(logits), weights)
    total = terms = 0.0
    for i, j in np.ndindex(4, 2):
        if labels[i, j] == labels[i, j]:
            p = 1 / (1 + np.exp(-logits[i, j]))
            weight = weights[j, int(labels[i, j])]
            total -= weight * np.log(p if labels[i, j] else 1 - p)
            terms += weight
    assert float(loss) == pytest.approx(total / terms, rel=1e-5)
