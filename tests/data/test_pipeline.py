"""The data pipeline: pairs, epochs, resumption, evaluation. Images here are one-pixel colours."""

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from helpers.png_bags import SIZES, make_bags
from simclr_med.data import Bags, evaluation_batches, pipeline, training_batches
from simclr_med.data.cases import count_multi
from simclr_med.training.methods import METHODS, micle


@pytest.fixture(scope="module")
def bags():
    return make_bags()


def batches(bags, method, batch_size=3, **options):
    m = METHODS[method]
    options = {"image_size": 16, "seed": 5, **options}
    return iter(
        training_batches(
            bags,
            sample_images=m.sample_images,
            keep_bags=m.keeps_bags,
            batch_size=batch_size,
            **options,
        )
    )


@tf.function  # eager, a thousand draws take seconds
def pairs_of_seeds(k, seeds):
    return tf.map_fn(lambda seed: micle.sample_images(k, seed), seeds, fn_output_signature=tf.int32)


def draw_pairs(k, seeds):
    return pairs_of_seeds(tf.constant(k), seeds).numpy()


def equal(a, b):
    return all((a[name].numpy() == b[name].numpy()).all() for name in a)


@pytest.mark.parametrize(("method", "count"), [("micle", 3), ("simclr", 2)])
def test_the_parts_of_the_workers_are_the_global_batches_in_order(bags, method, count):
    """Whatever the number of workers, also after a resumption: nobody's part is another's."""
    size = 6
    whole = batches(bags, method, batch_size=size, start_step=2)
    options = {"batch_size": size, "start_step": 2}
    parts = [batches(bags, method, part=(i, count), **options) for i in range(count)]
    for _ in range(8):
        batch, pieces = next(whole), [next(part) for part in parts]
        assert all(piece["label"].shape == [size // count] for piece in pieces)
        joined = {name: tf.concat([piece[name] for piece in pieces], 0) for name in batch}
        assert equal(batch, joined)


@pytest.mark.parametrize(("method", "buffer"), [("micle", 2), ("micle", 100), ("simclr", 2)])
def test_a_resumed_pipeline_gives_the_batches_it_would_have_given(bags, method, buffer):
    uninterrupted = batches(bags, method, shuffle_buffer=buffer)
    seen = [next(uninterrupted) for _ in range(8)]
    for step in (4, 7):  # within an epoch, and as micle begins one
        again = next(batches(bags, method, start_step=step, shuffle_buffer=buffer))
        assert equal(seen[step], again)
    assert not equal(seen[0], seen[7])


def test_an_epoch_of_micle_shows_every_bag_once_and_of_simclr_every_image_once(bags):
    for method, n, expected in (("micle", 7, [1] * 7), ("simclr", 19, SIZES)):
        stream = batches(bags, method, batch_size=1)
        for _ in range(2):
            labels = [int(next(stream)["label"][0]) for _ in range(n)]
            counts = collections.Counter(labels)
            assert [counts[k] for k in range(7)] == expected


@pytest.mark.parametrize("repeats", [1, 3])
def test_simclr_of_bags_differs_from_micle_in_the_second_image_alone(bags, repeats):
    """The control of MICLe: the same bags in the same batches, in every epoch."""
    counted = dataclasses.replace(bags, num_multi=5)
    one, other = (
        batches(counted, method, shuffle_buffer=4, repeats=repeats)
        for method in ("micle", "simclr_of_bags")
    )
    different = 0
    for _ in range(20):
        micles, control = next(one), next(other)
        assert all(
            (micles[key].numpy() == control[key].numpy()).all() for key in ("label", "patient")
        )
        of_pairs, of_images = (b["images"].numpy()[:, :, 8, 8, 0] for b in (micles, control))
        assert (of_images[:, 0] == of_images[:, 1]).all()
        assert (of_images[:, 0] == of_pairs[:, 0]).all()
        different += int((of_pairs[:, 0] != of_pairs[:, 1]).sum())
    assert different > 20


@pytest.mark.parametrize("cache", [False, True])
def test_bags_of_several_images_are_repeated_and_each_copy_draws_anew(bags, cache):
    counted = dataclasses.replace(bags, num_multi=count_multi(bags))
    size = pipeline.examples_per_epoch(counted, True, 3)
    assert size == 2 + 3 * 5
    stream = batches(counted, "micle", batch_size=1, repeats=3, cache=cache)
    alone = batches(counted, "micle", batch_size=1, cache=cache)
    of_largest = set()
    for _ in range(4):
        rows = [next(stream) for _ in range(size)]
        pairs = [tuple(row["images"].numpy()[0, :, 8, 8, 0].tolist()) for row in rows]
        counts = collections.Counter(int(row["label"][0]) for row in rows)
        assert [counts[k] for k in range(7)] == [1 if size == 1 else 3 for size in SIZES]
        without = [tuple(next(alone)["images"].numpy()[0, :, 8, 8, 0].tolist()) for _ in range(7)]
        assert set(without) <= set(pairs)  # the first copy of a bag draws what it would alone
        of_largest |= {pair for pair in pairs if pair[0] // 30 == 5}
    assert len(of_largest) > 8  # of 12 draws among 30 ordered pairs; 4 if the copies were alike


def test_repeated_bags_resume_and_are_shared_between_workers(bags):
    counted = dataclasses.replace(bags, num_multi=5)
    options = {"batch_size": 4, "repeats": 3, "shuffle_buffer": 5}
    whole = batches(counted, "micle", **options)
    seen = [next(whole) for _ in range(12)]  # 48 examples of epochs of 17
    assert equal(seen[9], next(batches(counted, "micle", start_step=9, **options)))
    parts = [batches(counted, "micle", part=(i, 2), start_step=3, **options) for i in range(2)]
    pieces = [next(part) for part in parts]
    assert equal(seen[3], {name: tf.concat([p[name] for p in pieces], 0) for name in seen[3]})


def test_epochs_are_shuffled_and_seeds_differ(bags):
    def labels(stream):
        return [int(next(stream)["label"][0]) for _ in range(14)]

    first = labels(batches(bags, "micle", batch_size=1))
    assert first[:7] != first[7:]
    assert first != labels(batches(bags, "micle", batch_size=1, seed=6))


def test_micle_pairs_are_two_different_images_of_one_bag(bags):
    stream = batches(bags, "micle", batch_size=7)
    for _ in range(30):
        batch = next(stream)
        greys = batch["images"].numpy()[:, :, 8, 8, 0].astype(int)  # [B, 2]
        for label, (a, b) in zip(batch["label"].numpy(), greys):
            assert a // 30 == b // 30 == label
            assert (a == b) == (SIZES[label] == 1)


def test_the_pair_of_a_bag_does_not_depend_on_where_the_bag_is_read(bags):
    """Of each epoch; the order in the batch and the crops do."""
    skipped, first = bags.dataset.skip(4), bags.dataset.take(4)
    turned = dataclasses.replace(bags, open=lambda: skipped.concatenate(first))

    def pairs(read):
        batch = next(batches(read, "micle", batch_size=14))  # two epochs
        greys = batch["images"].numpy()[:, :, 8, 8, 0].tolist()
        epochs = greys[:7], greys[7:]
        return [sorted(pair for pair in epoch) for epoch in epochs]

    assert pairs(bags) == pairs(turned)
    assert pairs(bags)[0] != pairs(bags)[1]


def test_simclr_pairs_are_one_image_twice(bags):
    greys = next(batches(bags, "simclr", batch_size=19))["images"].numpy()[:, :, 8, 8, 0]
    assert (greys[:, 0] == greys[:, 1]).all()


def test_micle_draws_every_ordered_pair_equally_often():
    seeds = tf.stack([tf.range(6000), tf.range(6000) + 3], axis=1)
    drawn = draw_pairs(4, seeds)
    counts = collections.Counter(map(tuple, drawn))
    assert len(counts) == 12
    chi_squared = sum((count - 500) ** 2 / 500 for count in counts.values())
    assert chi_squared < 31.3  # 99.9 % of chi-squared with 11 degrees of freedom


def test_micle_takes_a_lone_image_twice():
    assert micle.sample_images(tf.constant(1), tf.constant([1, 2])).numpy().tolist() == [0, 0]


def test_images_that_are_not_drawn_are_never_decoded(bags):
    def only_first(num_images, seed):
        del num_images, seed
        return tf.constant([0, 0])

    def spoil(bag):
        rest = tf.fill(tf.shape(bag["images"][1:]), b"not an image")
        return {**bag, "images": tf.concat([bag["images"][:1], rest], 0)}

    spoiled = Bags(
        lambda: bags.dataset.map(spoil), bags.num_bags, bags.num_images, bags.class_names
    )
    stream = training_batches(
        spoiled, sample_images=only_first, keep_bags=True, batch_size=7, image_size=16, seed=0
    )
    assert next(iter(stream))["images"].shape == (7, 2, 16, 16, 3)


def test_evaluation_sees_every_image_once_and_pads_the_last_batch(bags):
    options = dict(batch_size=4, image_size=16, max_bag_size=6, max_bags=0, seed=0)
    numbers = np.concatenate([b["bag"].numpy() for b in evaluation_batches(bags, **options)])
    assert len(numbers) % 4 == 0
    assert collections.Counter(numbers[numbers >= 0].tolist()) == dict(enumerate(SIZES))


def test_a_large_bag_is_cut_to_a_random_draw_of_its_images(bags):
    def greys_of_bag_5(seed):
        options = dict(batch_size=1, image_size=16, max_bag_size=2, max_bags=0, seed=seed)
        return [
            int(round(float(b["images"][0, 8, 8, 0]) * 255)) - 150
            for b in evaluation_batches(bags, **options)
            if int(b["bag"][0]) == 5
        ]

    draws = [greys_of_bag_5(seed) for seed in range(12)]
    assert all(len(set(draw)) == 2 for draw in draws)
    assert set(sum(draws, [])) == set(range(6))


def test_max_bags_limits_evaluation(bags):
    options = dict(batch_size=1, image_size=16, max_bag_size=6, max_bags=3, seed=0)
    assert max(int(b["bag"][0]) for b in evaluation_batches(bags, **options)) == 2


def test_no_pipeline_has_the_thread_of_autotuning_that_delays_the_end_of_a_run(bags):
    options = dict(batch_size=3, image_size=8, seed=0)
    pipelines = [
        evaluation_batches(bags, max_bag_size=2, max_bags=0, **options),
        training_batches(
            bags, sample_images=METHODS["micle"].sample_images, keep_bags=True, **options
        ),
    ]
    assert [dataset.options().autotune.enabled for dataset in pipelines] == [False, False]


def test_every_image_of_a_bag_is_drawn_equally_often_whatever_its_size():
    seeds = tf.stack([tf.range(3000), tf.range(3000) + 11], axis=1)
    for k in (2, 3, 5):
        drawn = draw_pairs(k, seeds)
        assert (drawn[:, 0] != drawn[:, 1]).all()
        for side in (0, 1):
            counts = np.unique(drawn[:, side], return_counts=True)[1]
            assert len(counts) == k
            assert np.abs(counts / 3000 - 1 / k).max() < 4 * np.sqrt(1 / k * (1 - 1 / k) / 3000)


def test_a_cache_keeps_the_batches_resumable(bags):
    uninterrupted = batches(bags, "micle", cache=True)
    seen = [next(uninterrupted) for _ in range(5)]
    assert equal(seen[4], next(batches(bags, "micle", start_step=4, cache=True)))


def test_the_uses_of_a_seed_have_keys_of_their_own():
    """No two of the keys of 300 seeds are equal, and the draws of one tell nothing of another's."""
    all_keys = np.array(
        [[key.numpy() for key in pipeline._keys(seed)] for seed in range(300)]
    )  # [seeds, uses]
    assert all_keys.dtype == np.int64 and len(np.unique(all_keys)) == all_keys.size
    assert (np.abs(all_keys) > 2**40).mean() > 0.99  # of 64 bits, all used

    @tf.function
    def draws(keys, epoch):  # as a pair, or a crop, is drawn: [seeds]
        seeds = tf.stack([keys, tf.fill(tf.shape(keys), tf.cast(epoch, tf.int64))], axis=1)
        uniform = tf.random.stateless_uniform
        return tf.map_fn(lambda s: uniform([], s), seeds, fn_output_signature=tf.float32)

    columns = np.stack(
        [draws(all_keys[:, use], epoch) for use in range(3) for epoch in (0, 1, 2**40)]
        + [draws(np.roll(all_keys[:, 0], 1), 0)]
    )
    correlation = np.corrcoef(columns) - np.eye(len(columns))
    assert np.abs(correlation).max() < 4 / np.sqrt(300)


def test_another_seed_changes_order_pairs_and_crops_each(bags, monkeypatch):
    """A use whose key depends on nothing, or on another use, would not notice."""
    make_keys = pipeline._keys
    base = [batch for batch, _ in zip(batches(bags, "micle", shuffle_buffer=7), range(20))]
    order = [b["label"].numpy().tolist() for b in base]

    def with_key(use):
        def keys(seed, data_order):
            own = make_keys(seed, data_order)
            return [make_keys(seed + 1)[i] if i == use else key for i, key in enumerate(own)]

        monkeypatch.setattr(pipeline, "_keys", keys)
        return [b for b, _ in zip(batches(bags, "micle", shuffle_buffer=7), range(20))]

    def greys(some_batches):  # which image of which bag, whatever the crop
        return [b["images"].numpy()[..., 0, 0, 0].tolist() for b in some_batches]

    by_order, by_pair, by_pixels = map(with_key, range(3))
    assert [b["label"].numpy().tolist() for b in by_order] != order
    assert [b["label"].numpy().tolist() for b in by_pair] == order
    assert greys(by_pair) != greys(base)
    assert greys(by_pixels) == greys(base)  # a crop of one grey is that grey


# Three batches of seed 7 at commit e8753c1, before the keys: the grey of each view, 30 k + i.
OF_BEFORE = {
    "micle": [[[62, 61], [0, 0], [150, 154]], [[30, 31], [120, 120], [180, 181]]]
    + [[[91, 90], [0, 0], [30, 31]]],
    "simclr": [[[31, 31], [0, 0], [62, 62]], [[30, 30], [61, 61], [92, 92]]]
    + [[[60, 60], [93, 93], [150, 150]]],
}


@pytest.mark.parametrize("method", OF_BEFORE)
def test_a_run_of_before_goes_on_with_its_batches(bags, method):
    old = batches(bags, method, seed=7, shuffle_buffer=4, data_order=1)
    new = batches(bags, method, seed=7, shuffle_buffer=4)
    actual, now = (
        [next(which)["images"].numpy()[..., 0, 0, 0].tolist() for _ in range(3)]
        for which in (old, new)
    )
    assert actual == OF_BEFORE[method] != now
