"""The index of cases against the records themselves, and that it is never another's."""

import dataclasses
import random

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow_datasets as tfds

from helpers import cxr_twins
from helpers.derm_folders import scin_folder
from simclr_med.data import case_index, known, open_split, patients
from simclr_med.data.cases import count_multi, read_cases
from simclr_med.data.folds import open_part
from simclr_med.data.label_fraction import hide_labels
from simclr_med.data.labels import LabelReading
from tfds_builders import chexpert_studies, derm_bags, nih_cxr14

EVERYTHING = {"with_metadata": True, "with_differential": True}


@pytest.fixture(autouse=True)
def nothing_remembered():
    for function in (case_index._read, known.read, known._table, patients._patients):
        function.cache_clear()


@pytest.fixture(scope="module")
def datasets(tmp_path_factory):
    """Prepared with an index: chest X-rays in their order, and shuffled cases in 17 files a split."""
    root = tmp_path_factory.mktemp("indexed")
    cxr_twins.draw_chexpert(root / "chexpert", num_patients=60, seed=3, size=16)
    cxr_twins.draw_nih(root / "nih", num_patients=40, seed=3, size=16)
    rng, cases = random.Random(1), []
    for i in range(480):
        weights = {label: rng.choice([0.5, 1.0, 0.2]) for label in rng.sample("abcd", i % 4)}
        cases.append((str(2**60 + i), [f"{i}_{k}" for k in range(1 + i % 2)], weights))
    scin_folder(root / "scin", cases)
    builders = {}
    for package in (chexpert_studies, nih_cxr14, derm_bags):
        name = {"chexpert_studies": "chexpert", "nih_cxr14": "nih", "derm_bags": "scin"}[
            package.__name__.split(".")[-1]
        ]
        config = package.folder_config(str(root / name), keep_metadata="all")
        builder = package.Builder(config=config, data_dir=root / "tfds")
        many = tfds.download.DownloadConfig(num_shards=17) if name == "scin" else None
        builder.download_and_prepare(download_config=many)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(case_index, "_AT_ONCE", 50)
            case_index.write(builder)
        builders[name] = builder
    return builders


def from_records(bags):
    return read_cases(dataclasses.replace(bags, known=None), 0)


def check_equal(actual, expected):
    for field in dataclasses.fields(expected):
        one, other = getattr(actual, field.name), getattr(expected, field.name)
        if isinstance(one, dict):
            assert list(one) == list(other)
            for key in one:
                assert one[key].tolist() == other[key].tolist()
        elif other is None:
            assert one is None
        else:
            assert one.shape == other.shape and one.dtype.kind == other.dtype.kind
            np.testing.assert_array_equal(one, other)


READINGS = [
    ("chexpert", "train", LabelReading()),
    ("chexpert", "all", LabelReading(label_set="chexpert5", uncertain_policy="ones")),
    (
        "chexpert",
        "train",
        LabelReading(
            projection="frontal",
            uncertain_policy="zeros,Edema:ones,Fracture:ignore",
            blank_policy="ignore",
        ),
    ),
    ("chexpert", "paper_train", LabelReading(projection="lateral")),
    ("chexpert", "train[13:61]", LabelReading(bag_by="patient", projection="frontal")),
    ("chexpert", "train", LabelReading(bag_by="patient", uncertain_policy="ignore")),
    ("chexpert", "train[10%:30%]+test", LabelReading()),
    ("nih", "train:fold_2_of_3", LabelReading(label_set="chexpert5")),
    ("nih", "test", LabelReading(bag_by="patient")),
    ("scin", "train", LabelReading()),
    ("scin", "train[5:50]", LabelReading()),
    ("scin", "train[50%:]+test", LabelReading()),
    ("scin", "all", LabelReading()),
    ("scin", "train:without_fold_1_of_4", LabelReading()),
]


@pytest.mark.parametrize("name, split, reading", READINGS)
def test_cases_are_those_of_the_records_in_their_order(datasets, name, split, reading):
    builder = datasets[name]
    bags = open_part(builder, split, reading, **EVERYTHING)
    expected = from_records(bags)
    check_equal(read_cases(bags, 0), expected)
    check_equal(read_cases(bags, 7), expected.of(slice(7)))
    assert len(expected.ids) == bags.num_bags and expected.num_images.sum() == bags.num_images
    assert count_multi(bags) == (expected.num_images > 1).sum()
    assert patients.patients_of(builder, split, reading) == set(expected.patients)
    plain = read_cases(open_part(builder, split, reading), 0)
    check_equal(plain, dataclasses.replace(expected, metadata={}, differential=None))
    hidden = hide_labels(bags, np.arange(bags.num_bags) % 3 > 0)
    check_equal(read_cases(hidden, 0), from_records(hidden))


def test_the_cases_differ_enough_to_be_told_apart(datasets):
    """Or the test above could not fail: several images, unknown labels, shares, disagreeing texts."""
    cases = read_cases(open_split(datasets["chexpert"], "train", **EVERYTHING), 0)
    assert len(set(cases.num_images)) > 1 and np.isnan(cases.labels).any()
    assert "several" in cases.metadata["view"]
    cases = read_cases(open_split(datasets["scin"], "train", **EVERYTHING), 0)
    assert ((cases.differential > 0) & (cases.differential < 1)).any() and (cases.labels < 0).any()
    order = known.case_index.rows_of(datasets["scin"], "train")[1]
    assert (np.diff(order) != 1).sum() > 10  # files are interleaved


def test_with_an_index_no_record_is_read(datasets, monkeypatch):
    builder = datasets["chexpert"]

    def refuse(*args, **kwargs):
        raise AssertionError("the records are read")

    monkeypatch.setattr(builder, "as_dataset", refuse)
    for projection in ("all", "frontal"):
        reading = LabelReading(projection=projection)
        bags = open_part(builder, "train[:50]:fold_1_of_2", reading, **EVERYTHING)
        assert len(read_cases(bags, 0).ids) and len(patients.patients_of(builder, "test", reading))
    with pytest.raises(AssertionError):
        next(iter(bags.dataset))


def test_what_is_read_once_is_remembered(datasets, monkeypatch, caplog):
    monkeypatch.setattr(case_index, "path_of", lambda b, s: b.data_path / "missing")
    reads = []
    original = case_index._from_records
    monkeypatch.setattr(
        case_index, "_from_records", lambda *args: reads.append(args) or original(*args)
    )
    for split in ("train", "train[:30]", "train[3:]"):
        for reading in (LabelReading(), LabelReading(projection="frontal")):
            bags = open_split(datasets["chexpert"], split, reading)
            assert len(read_cases(bags, 0).ids) == bags.num_bags
    assert len(reads) == 1 and not caplog.records  # as AutoGraph's, of what it cannot convert
    check_equal(read_cases(bags, 0), from_records(bags))


def other_shards(path):
    table = pq.read_table(path)
    about = table.schema.metadata
    about = {key: value.replace(b'"shards": [', b'"shards": [1') for key, value in about.items()}
    pq.write_table(table.replace_schema_metadata(about), path)


@pytest.mark.parametrize(
    "spoil, words",
    [
        (other_shards, "is of other data"),
        (lambda path: pq.write_table(pq.read_table(path).slice(1), path), "is of other data"),
        (lambda path: pq.write_table(pa.table({"a": [1]}), path), "is of other data"),
        (lambda path: path.write_bytes(path.read_bytes()[:-50]), "cannot be read"),
    ],
)
def test_an_index_that_does_not_fit_is_told_and_not_used(
    datasets, spoil, words, tmp_path, monkeypatch, capsys
):
    builder = datasets["nih"]
    copy = tmp_path / "index.parquet"
    copy.write_bytes(case_index.path_of(builder, "train").read_bytes())
    spoil(copy)
    monkeypatch.setattr(case_index, "path_of", lambda b, s: copy)
    bags = open_split(builder, "train")
    check_equal(read_cases(bags, 0), from_records(bags))
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 1 and printed[0].startswith(f"Note: {copy} {words}")


def test_bags_that_were_changed_otherwise_are_read(datasets):
    bags = open_split(datasets["nih"], "train")
    some = dataclasses.replace(bags, open=lambda: bags.dataset.skip(3))
    assert read_cases(some, 0).ids.tolist() == read_cases(bags, 0).ids[3:].tolist()


def test_shared_cases_cannot_be_written_to(datasets):
    cases = read_cases(open_split(datasets["nih"], "train"), 0)
    with pytest.raises(ValueError, match="read-only"):
        cases.labels[0] = 1
