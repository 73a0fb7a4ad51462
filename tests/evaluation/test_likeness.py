"""What is unlike the training images: against the Mahalanobis distance written out, and on pictures."""

import numpy as np
import pytest
import tensorflow as tf

from simclr_med.build import make_model
from simclr_med.checkpoints.restore import restore
from simclr_med.config import Config
from simclr_med.evaluation import likeness
from simclr_med.evaluation.likeness import Likeness, looks

pytestmark = pytest.mark.usefixtures("one_block")


def random_looks(n, seed, shift=0.0, colour=0.1):
    """Returns looks of n images, correlated, [n, 4], and how much colour they have, [n, 1]."""
    rng = np.random.default_rng(seed)
    mixing = np.array([[2, 0, 0, 0], [1, 1, 0, 0], [0, 0.5, 1, 0], [0, 0, 0, 0.1]])
    values = rng.normal(size=(n, 4)) @ mixing + shift
    return np.concatenate([values, np.full((n, 1), colour)], axis=1).astype(np.float32)


def test_the_distance_is_that_of_mahalanobis():
    training = random_looks(5000, 0)
    fitted = Likeness.of(training, random_looks(300, 1), "300 images")
    covariance = np.cov(training[:, :-1].T, bias=True)  # of 5,000: hardly shrunk
    new = random_looks(7, 2, shift=1.0)
    off = new[:, :-1] - training[:, :-1].mean(axis=0)
    expected = [np.sqrt(row @ np.linalg.inv(covariance) @ row) for row in off]
    np.testing.assert_allclose(fitted.distances(new), expected, rtol=0.03)


def test_one_in_a_hundred_known_images_is_beyond_the_limit_and_others_are():
    fitted = Likeness.of(random_looks(1000, 0), random_looks(5000, 1), "known")
    known = fitted.notes(random_looks(5000, 1))
    assert sum(map(bool, known)) == 50
    assert all(fitted.notes(random_looks(50, 2, shift=9.0)))


@pytest.mark.parametrize(
    ("training", "new", "words"),
    [(0.2, 0.0, "no colour"), (0.0, 0.2, "training images have none"), (0.2, 0.2, "")],
)
def test_colour_is_compared_by_itself(training, new, words):
    looks_of = random_looks(200, 0, colour=training)
    fitted = Likeness.of(looks_of, looks_of, "known")
    near = np.concatenate([fitted.mean, [new]])[np.newaxis]  # the commonest image there is
    (note,) = fitted.notes(near)
    assert words in note if words else note == ""


def test_some_grey_training_images_are_enough_for_grey_to_be_usual():
    some = np.concatenate([random_looks(95, 0), random_looks(5, 1, colour=0.0)])
    assert Likeness.of(some, some, "known").notes(np.append(some.mean(0)[:-1], 0)[np.newaxis]) == [
        ""
    ]


def test_the_looks_are_of_the_first_layer():
    """A black picture has the mean that the stem gives it everywhere, without deviation or colour."""
    model = make_model(Config().replace(resnet_depth=18, image_size=34), 0)
    pixels = tf.random.stateless_uniform([3, 34, 34, 3], (0, 0))
    actual = looks(model, tf.concat([pixels, tf.zeros([1, 34, 34, 3])], axis=0)).numpy()
    seen = model.encoder.stem(pixels, training=False).numpy()
    np.testing.assert_allclose(actual[:3, :64], seen.mean((1, 2)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(actual[:3, 64:128], seen.std((1, 2)), rtol=1e-4, atol=1e-5)
    spread = pixels.numpy().max(-1) - pixels.numpy().min(-1)
    np.testing.assert_allclose(actual[:3, 128], spread.mean((1, 2)), rtol=1e-6)
    assert actual[3, 128] == 0


def test_a_file_of_another_checkpoint_is_not_used(tmp_path):
    fitted = Likeness.of(random_looks(100, 0), random_looks(100, 1), "100 images of split 'x'")
    fitted.write(str(tmp_path), "abc")
    again = Likeness.read(str(tmp_path), "abc")
    new = random_looks(9, 3)
    np.testing.assert_array_equal(again.distances(new), fitted.distances(new))
    assert again.notes(new) == fitted.notes(new) and again.basis == fitted.basis
    assert Likeness.read(str(tmp_path), "other") is None
    assert Likeness.read(str(tmp_path / "elsewhere"), "abc") is None


def test_the_limit_is_taken_from_images_that_were_not_trained_on(tiny_data, tiny_tuned, strategy):
    from helpers import tiny_runs

    config = tiny_runs.FINETUNE
    model = make_model(config, 2)
    restore(model, tf.train.latest_checkpoint(str(tiny_tuned)))
    measured = likeness.measure(config, tiny_data, strategy, model)
    assert measured.basis == "10 images of split 'validation'"  # of 4 cases, of 1 to 4 images
    chosen = likeness.measure(config.replace(selection_split="train"), tiny_data, strategy, model)
    assert chosen.basis == "20 images of split 'train'" and chosen.limit != measured.limit
    few = config.replace(selection_split="train[:2]")  # cases of 1 to 4 images
    assert likeness.measure(few, tiny_data, strategy, model) is None
