"""Who is in a split, and whether two prepared folders are copies, against reading everything."""

import shutil

import numpy as np
import pytest

from helpers import cxr_twins
from helpers.folders import draw_cases
from simclr_med.data import open_split
from simclr_med.data.labels import LabelReading
from simclr_med.data.patients import named_by, patients_of, same_pictures
from simclr_med.errors import UserError
from tfds_builders import chexpert_studies, derm_bags, nih_cxr14


def built(package, photos, root, **options):
    config = package.folder_config(str(photos), **options)
    builder = package.Builder(config=config, data_dir=root)
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def builders(tmp_path_factory):
    """A prepared folder of each kind; of the photographs two cases are of one patient."""
    root = tmp_path_factory.mktemp("patients")
    cxr_twins.draw_chexpert(root / "chexpert", num_patients=40, seed=3, size=16)
    cxr_twins.draw_nih(root / "nih", num_patients=40, seed=3, size=16)
    draw_cases(
        root / "derm",
        {"train": 12, "validation": 4, "test": 4},
        columns={"patient_id": lambda case: f"p{case // 2}"},
    )
    packages = {"chexpert": chexpert_studies, "nih": nih_cxr14, "derm": derm_bags}
    return {name: built(package, root / name, root / "tfds") for name, package in packages.items()}


@pytest.mark.parametrize(
    ("which", "projection", "split"),
    [
        ("chexpert", "all", "train"),  # from splits.csv
        ("chexpert", "all", "all"),
        ("chexpert", "all", "train[:30%]"),
        ("chexpert", "lateral", "train"),
        ("nih", "all", "test"),
        ("derm", "all", "train[5:]"),
        ("derm", "all", "train+test"),
        ("derm", "all", "all"),
    ],
)
def test_patients_are_those_of_the_bags_that_are_read(builders, which, projection, split):
    reading, builder = LabelReading(projection=projection), builders[which]
    bags = open_split(builder, split, reading).dataset.as_numpy_iterator()
    assert patients_of(builder, split, reading) == {bag["patient_id"].decode() for bag in bags}


def test_a_named_part_and_an_official_split_are_splits_too(builders):
    chexpert = builders["chexpert"]
    assert patients_of(chexpert, "paper_train") < patients_of(chexpert, "train")
    assert not patients_of(chexpert, "official_valid") & patients_of(chexpert, "train")
    assert patients_of(chexpert, "all") > patients_of(chexpert, "official_valid")


def test_two_slices_share_the_patient_whose_cases_they_divide(builders):
    shared = patients_of(builders["derm"], "train[:5]") & patients_of(builders["derm"], "train[5:]")
    bags = open_split(builders["derm"], "train").dataset.as_numpy_iterator()
    cases = [bag["patient_id"].decode() for bag in bags]
    slow = set(cases[:5]) & set(cases[5:])
    assert shared == slow and slow


@pytest.mark.parametrize("split", ["nowhere", "all[:10%]", "train[:0]"])
def test_a_split_that_is_not_there_is_named(builders, split):
    with pytest.raises(UserError, match="has no split|is empty"):
        patients_of(builders["derm"], split)


def test_what_tells_patients_apart_is_said(builders):
    assert {name: named_by(builder) for name, builder in builders.items()} == {
        "chexpert": "patient_id",
        "nih": "patient_id",
        "derm": "patient_id",
    }


def test_copies_are_known_by_their_pictures_not_by_their_ids(builders, tmp_path):
    photos = builders["derm"].builder_config.manifest.folder
    moved = tmp_path / "moved"
    shutil.copytree(photos, moved)
    with (moved / "manifest.csv").open("a") as table:  # so its fingerprint is another
        table.write("\n")
    copy = built(derm_bags, moved, tmp_path / "tfds")
    other_folder = draw_cases(
        tmp_path / "others",
        {"train": 12, "test": 4},
        seed=9,
        columns={"patient_id": lambda case: f"p{case // 2}"},
    )
    other = built(derm_bags, other_folder, tmp_path / "tfds")
    assert copy.info.full_name != builders["derm"].info.full_name
    assert same_pictures(copy, builders["derm"])
    assert patients_of(other, "all") & patients_of(copy, "all")  # ids alone would have said so too
    assert not same_pictures(other, builders["derm"])


@pytest.mark.parametrize(
    ("which", "reading"),
    [
        ("derm", LabelReading()),
        ("nih", LabelReading(bag_by="patient")),
        ("chexpert", LabelReading(projection="frontal")),
        ("chexpert", LabelReading(bag_by="patient")),
    ],
)
def test_all_is_every_split_with_their_counts(builders, which, reading):
    builder = builders[which]
    whole = open_split(builder, "all", reading)
    parts = [open_split(builder, split, reading) for split in builder.info.splits]
    rows = list(whole.dataset.as_numpy_iterator())
    of_parts = [bag for part in parts for bag in part.dataset.as_numpy_iterator()]
    assert whole.num_bags == len(rows) == len(of_parts) > parts[0].num_bags
    assert whole.num_images == sum(len(bag["images"]) for bag in rows)
    key = [(bag["bag_id"], bag["patient_id"], tuple(bag["images"])) for bag in rows]
    expected = [(bag["bag_id"], bag["patient_id"], tuple(bag["images"])) for bag in of_parts]
    assert sorted(key) == sorted(expected)
    assert len(np.unique([row[0] for row in key])) == len(key)
