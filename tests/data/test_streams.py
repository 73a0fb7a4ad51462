"""Reading in streams: the same batches for any number of workers, each of which reads its own alone."""

import dataclasses
import hashlib
import pathlib

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from helpers import many_files
from simclr_med.data import open_split, pipeline, records, streams, training_batches
from simclr_med.data.cases import count_multi, read_cases
from simclr_med.data.folds import open_part
from simclr_med.data.label_fraction import hide_labels, keep_cases
from simclr_med.data.labels import AS_STORED, LabelReading
from simclr_med.errors import UserError
from simclr_med.training import startup
from simclr_med.training.methods import METHODS

SIZE = 48  # of a global batch
BY_PATIENT, LATERAL = LabelReading(bag_by="patient"), LabelReading(projection="lateral")


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    """16 files of 31 or 32 records."""
    return many_files.prepare(tmp_path_factory.mktemp("sixteen"), 16)


@pytest.fixture(scope="module")
def in_one_file(tmp_path_factory):
    return many_files.prepare(tmp_path_factory.mktemp("one"), 1)


@pytest.fixture(autouse=True)
def short_streams(monkeypatch):
    monkeypatch.setattr(streams, "_LEAST", 10)
    monkeypatch.setattr(streams, "_UNEQUAL", 0.3)
    monkeypatch.setattr(streams, "_SKIPPED", 0.3)  # few files, and many of them cut


def batches(bags, method, steps, **options):
    m = METHODS[method]
    options = {"batch_size": SIZE, "image_size": 8, "seed": 11, "shuffle_buffer": 90, **options}
    stream = training_batches(
        bags, sample_images=m.sample_images, keep_bags=m.keeps_bags, **options
    )
    return [{name: v.numpy() for name, v in batch.items()} for batch in stream.take(steps)]


def streams_of(bags, method, repeats=1):
    keep_bags = METHODS[method].keeps_bags
    num_examples = pipeline.examples_per_epoch(bags, keep_bags, repeats)
    return streams.streams_of(bags, num_examples, SIZE, keep_bags, repeats)


def assert_equal(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert one.keys() == other.keys()
        for name in one:
            np.testing.assert_array_equal(one[name], other[name], err_msg=name)


def joined(parts):
    return [
        {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        for pieces in zip(*parts, strict=True)
    ]


def labelled(bags):
    """The bags of a third of the cases, of which every fifth hides its label."""
    cases = read_cases(bags, 0)
    kept = np.random.default_rng(0).random(bags.num_bags) < 0.4
    bags = keep_cases(bags, cases, kept)
    return hide_labels(bags, np.arange(bags.num_bags) % 5 > 0)


CASES = {  # {: (method, reading, change of the bags, repeats, streams, workers)}
    "simclr": ("simclr", AS_STORED, None, 1, (4, 8, 16), (2,)),
    "micle": ("micle", AS_STORED, None, 1, (16,), (2, 4)),
    "images": ("simclr", AS_STORED, None, 1, (4, 8, 16), (2, 4)),
    "repeats": ("micle", AS_STORED, None, 3, (4, 8, 16), (2, 4)),
    "patients": ("micle", BY_PATIENT, None, 1, (4, 8, 16), (2, 4)),
    "views": ("simclr", LATERAL, None, 1, (4, 8, 16), (2, 4)),
    "labels": ("micle", AS_STORED, labelled, 1, (4, 8, 16), (2, 4)),
    "three": ("micle", AS_STORED, None, 1, (16,), (3, 48)),  # which do not divide the streams
}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=[pytest.mark.slow] * (case != "simclr")) for case in CASES]
)
def test_parts_of_workers_and_resumed_runs_are_the_global_batches(builder, case):
    """Bit by bit, from before the ends of the streams' epochs to behind."""
    method, reading, change, repeats, counts, workers = CASES[case]
    bags = open_split(builder, "train", reading)
    bags = change(bags) if change else bags
    options = {}
    if repeats > 1:
        bags, options = dataclasses.replace(bags, num_multi=count_multi(bags)), {"repeats": repeats}
    streams = streams_of(bags, method, repeats)
    assert streams.count in counts
    steps = streams.lengths.max() * streams.count // SIZE + 3  # an epoch, and more
    whole = batches(bags, method, steps, **options)
    for count in workers:
        chosen = range(count) if count < 10 else (0, 7, 47)
        parts = [batches(bags, method, steps, part=(i, count), **options) for i in chosen]
        if count < 10:
            assert_equal(joined(parts), whole)
        else:
            for i, part in zip(chosen, parts, strict=True):
                assert_equal(part, [{k: v[i : i + 1] for k, v in b.items()} for b in whole])
    for start in (1, steps - 3, steps - 2, steps - 1):
        again = batches(bags, method, 1, start_step=start, **options)
        assert_equal(again, whole[start : start + 1])
    part = batches(bags, method, 2, start_step=steps - 2, part=(1, 2), **options)
    assert_equal(part, [{k: v[SIZE // 2 :] for k, v in b.items()} for b in whole[-2:]])


def test_every_bag_is_once_in_an_epoch_of_its_stream_whose_orders_all_differ(builder):
    bags = open_split(builder, "train")
    streams = streams_of(bags, "micle")
    assert streams.count == 16 and streams.lengths.sum() == bags.num_bags == many_files.NUM_TRAIN
    assert set(streams.lengths) == {31, 32}
    of_each = SIZE // 16
    labels = np.array([batch["label"] for batch in batches(bags, "micle", 22)])
    orders = []
    for s, length in enumerate(streams.lengths):
        of_stream = labels[:, s * of_each : (s + 1) * of_each].reshape(-1)
        for epoch in (of_stream[:length], of_stream[length : 2 * length]):
            assert sorted(epoch) == list(range(streams.cuts[s], streams.cuts[s + 1]))
            orders.append(tuple(epoch[:31] - streams.cuts[s]))
    assert len(set(orders)) == 32


def digest(batches):
    total = hashlib.sha256()
    for batch in batches:
        for name in sorted(batch):
            total.update(batch[name].tobytes())
    return total.hexdigest()[:16]


# Of commit 7d71b22, before streams: 12 batches from the first (two epochs of micle end in them), and a
# third of 3 of those from the tenth.
OF_BEFORE = {
    ("micle", "study"): ("11c648d27ad1c7a6", "166d2851758e56f9"),
    ("simclr", "study"): ("d7c2afa87ac9dc14", "02ff7bb96ce660dc"),
}


@pytest.mark.parametrize("method", ["micle", "simclr"])
def test_a_split_in_one_file_has_the_batches_it_had(in_one_file, method):
    bags = open_split(in_one_file, "train")
    first, later = OF_BEFORE[method, "study"]
    whole = batches(bags, method, 12)
    assert digest(whole) == first
    assert digest(batches(bags, method, 3, start_step=9, part=(1, 3))) == later


@pytest.mark.slow
def test_a_run_of_before_goes_on_with_one_stream(builder, in_one_file):
    """However many files there are."""
    old = batches(open_split(builder, "train"), "micle", 12, data_order=2)
    assert digest(old) == OF_BEFORE["micle", "study"][0]
    oldest, new = (
        digest(batches(open_split(which, "train"), "micle", 3, **order))
        for which, order in ((in_one_file, {"data_order": 1}), (builder, {}))
    )
    assert len({digest(old[:3]), oldest, new}) == 3


@pytest.mark.parametrize("reading", [AS_STORED, BY_PATIENT, LATERAL])
@pytest.mark.parametrize("split", ["train", "train[10%:70%]", "all", "train:without_fold_1_of_3"])
def test_pieces_are_the_bags_of_the_split(builder, reading, split):
    """No patient of --bag_by=patient is torn, and nothing that is stored beside it comes along."""
    bags = open_part(builder, split, reading)
    whole = list(bags.dataset.as_numpy_iterator())
    assert len(whole) == bags.num_bags
    assert bags.pieces.sizes().tolist() == [len(bag["images"]) for bag in whole]
    opened = tf.function(lambda i, j: bags.pieces.open(i, j)._variant_tensor)
    spec = bags.dataset.element_spec
    cuts = [0, 1, 40, 41, 90, bags.num_bags]
    for first, last in zip(cuts, cuts[1:]):
        variant = opened(tf.constant(first, tf.int64), tf.constant(last, tf.int64))
        piece = list(tf.data.experimental.from_variant(variant, spec).as_numpy_iterator())
        assert len(piece) == last - first
        for one, other in zip(piece, whole[first:last], strict=True):
            assert all(np.array_equal(one[name], other[name]) for name in other)


def test_a_worker_reads_the_files_of_its_streams_alone(tmp_path):
    builder = many_files.prepare(tmp_path, 16)
    bags = open_split(builder, "train")
    assert streams_of(bags, "micle").count == 16
    whole = batches(bags, "micle", 12)
    for file in list(pathlib.Path(builder.data_path).glob("*train*-of-00016"))[:]:
        if int(file.name.split("-")[-3]) >= 8:
            file.unlink()
    half = batches(bags, "micle", 12, part=(0, 2))  # an epoch is 10.4 steps
    assert_equal(half, [{k: v[: SIZE // 2] for k, v in b.items()} for b in whole])
    with pytest.raises(tf.errors.NotFoundError):
        batches(bags, "micle", 1, part=(1, 2))


@pytest.mark.parametrize("method", ["micle", "simclr"])
def test_a_cache_holds_the_streams(tmp_path, method):
    """After an epoch the files are not needed."""
    builder = many_files.prepare(tmp_path, 16)
    bags, m = open_split(builder, "train"), METHODS[method]
    assert streams_of(bags, method).count > 1
    steps = 12 if method == "micle" else 22
    whole = batches(bags, method, 2 * steps)
    options = {"batch_size": SIZE, "image_size": 8, "seed": 11, "shuffle_buffer": 90, "cache": True}
    cached = iter(
        training_batches(bags, sample_images=m.sample_images, keep_bags=m.keeps_bags, **options)
    )
    read = [next(cached) for _ in range(steps)]
    for file in pathlib.Path(builder.data_path).glob("*.tfrecord*"):
        file.unlink()
    read += [next(cached) for _ in range(steps)]
    assert_equal([{name: v.numpy() for name, v in batch.items()} for batch in read], whole)


@pytest.mark.parametrize(
    ("changed", "count"),
    [
        ({}, 64),
        ({"batch_size": 1000}, 8),
        ({"batch_size": 999}, 1),
        ({"files": 1}, 1),
        (
            {"files": 40},
            4,
        ),  # 4 streams begin 220 records into a file: 6.9 %; of 8, two for each worker
        ({"files": 4}, 4),
        ({"files": 1000}, 64),
        ({"num_bags": 640, "files": 64}, 4),  # of at least 100
    ],
)
def test_how_many_streams_there_are(monkeypatch, in_one_file, changed, count):
    monkeypatch.undo()
    options = {"files": 128, "num_bags": 12800, "batch_size": 1024, **changed}
    num_bags, files = options["num_bags"], options["files"]
    bags = open_split(in_one_file, "train")
    starts = np.array([round(num_bags * i / files) for i in range(files + 1)])
    if files == 40:
        starts[1:-1] += 100
    pieces = dataclasses.replace(bags.pieces, files=starts)
    bags = dataclasses.replace(bags, num_bags=num_bags, pieces=pieces)
    result = streams.streams_of(bags, num_bags, options["batch_size"], True, 1)
    assert result.count == count
    assert result.lengths.sum() == num_bags and np.ptp(result.lengths) <= 1
    assert result.cuts[0] == 0 and result.cuts[-1] == num_bags
    without = dataclasses.replace(bags, pieces=None)
    assert streams.streams_of(without, num_bags, options["batch_size"], True, 1).count == 1


def test_streams_of_images_are_equal_up_to_those_of_a_bag(builder):
    bags = open_split(builder, "train")
    streams = streams_of(bags, "simclr")
    assert streams.count > 1 and streams.lengths.sum() == bags.num_images > bags.num_bags
    assert np.ptp(streams.lengths) <= 2 * 3
    sizes = [many_files.size(bag) for bag in range(bags.num_bags)]
    for s, length in enumerate(streams.lengths):
        assert sum(sizes[streams.cuts[s] : streams.cuts[s + 1]]) == length


@pytest.mark.parametrize("count", [1, 2, 3, 4, 8, 48])
def test_a_part_of_the_batch_needs_the_streams_of_its_rows(builder, count):
    streams = streams_of(open_split(builder, "train"), "micle")
    rows = np.arange(SIZE).reshape(streams.count, -1)  # of each stream
    for i in range(count):
        own = np.arange(SIZE).reshape(count, -1)[i]
        needed = [s for s in range(streams.count) if set(rows[s]) & set(own)]
        assert list(streams.of_part((i, count))) == needed


def test_what_records_hold_is_what_a_loop_over_them_counts(tmp_path):
    builder = many_files.prepare(tmp_path, 4)
    for split in ("train", "test", "train[100:]", "train[:50]+test[7:]", "all"):
        dataset = builder.as_dataset(split=split, decoders={"images": tfds.decode.SkipDecoding()})
        examples = list(tfds.as_numpy(dataset))
        patients = [example["patient_id"] for example in examples]
        for view in ("all", "lateral", "frontal", "nothing"):
            counted = records.read_records(records.Prepared(builder), split, view)
            for example, size in zip(examples, counted.sizes, strict=True):
                views = example["views"].astype(str)
                assert size == (len(views) if view == "all" else (views == view).sum())
            assert len(set(counted.patients)) == len(set(patients))
            same = [one == other for one, other in zip(patients, patients[1:])]
            np.testing.assert_array_equal(np.diff(counted.patients) == 0, same)


def test_workers_are_told_how_much_each_reads():
    def line(count, part):
        return startup.reading(streams.Streams(np.arange(count + 1), np.ones(count)), part)

    assert line(64, (1, 4)).endswith("is read in 64 streams; of 4 workers each reads 1/4.")
    assert "this one reads 34% (a number of workers that divides 64 would" in line(64, (1, 3))
    assert "in 1 stream; of 2 workers this one reads 100% (too few" in line(1, (0, 2))


def test_a_run_goes_on_in_its_streams_whatever_the_files_are(builder, in_one_file):
    """Another prepared copy may be cut into files otherwise; config.json keeps the number of streams."""
    begun = batches(open_split(builder, "train"), "micle", 3)
    again = batches(open_split(in_one_file, "train"), "micle", 1, num_streams=16, start_step=2)
    assert_equal(again, begun[2:])


def test_a_number_of_streams_that_cannot_be_is_refused(builder):
    bags = open_split(builder, "train")
    with pytest.raises(UserError, match="num_streams=5, in which --train_batch_size=48"):
        batches(bags, "micle", 1, num_streams=5)
    with pytest.raises(UserError, match="num_streams=2"):
        batches(dataclasses.replace(bags, pieces=None), "micle", 1, num_streams=2)
