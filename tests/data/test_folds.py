"""Folds of a split: against counting patients by hand, in every kind of dataset and reading."""

import numpy as np
import pytest

from helpers import cxr_twins
from helpers.folders import draw_cases
from simclr_med.build import open_bags
from simclr_med.config import Config
from simclr_med.data import open_split
from simclr_med.data.cases import read_cases
from simclr_med.data.folds import Part, fold_of_patients, parse
from simclr_med.data.labels import LabelReading
from simclr_med.data.patients import patients_of
from simclr_med.errors import UserError
from tfds_builders import chexpert_studies, derm_bags

CLASSES = ["rare", "b", "c"]


def built(package, photos, root):
    builder = package.Builder(config=package.folder_config(str(photos)), data_dir=root)
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def builders(tmp_path_factory):
    """Photographs, two cases of a patient, with a rare class; and X-rays, of several labels."""
    root = tmp_path_factory.mktemp("folds")
    cxr_twins.draw_chexpert(root / "chexpert", num_patients=40, seed=3, size=16)
    draw_cases(
        root / "derm",
        {"train": 42, "validation": 6},
        classes=CLASSES,
        columns={"patient_id": lambda case: f"p{case // 2}"},
    )
    return {
        "chexpert": built(chexpert_studies, root / "chexpert", root / "tfds"),
        "derm": built(derm_bags, root / "derm", root / "tfds"),
    }


def ids(builder, split, **reading):
    bags = open_bags(Config().replace(**reading), builder, split)
    cases = read_cases(bags, 0)
    assert (bags.num_bags, bags.num_images) == (len(cases.ids), cases.num_images.sum())
    return cases


@pytest.mark.parametrize(
    ("which", "split", "reading"),
    [
        ("derm", "train", {}),
        ("derm", "all", {}),
        ("derm", "train[:50%]", {}),
        ("derm", "train:without_fold_1_of_4", {}),
        ("chexpert", "train", {}),
        ("chexpert", "train", {"projection": "frontal"}),
        ("chexpert", "train", {"bag_by": "patient"}),
        ("chexpert", "paper_train", {"label_set": "chexpert5"}),
    ],
)
def test_each_case_is_in_one_fold_and_no_patient_on_both_sides(builders, which, split, reading):
    builder, seen = builders[which], []
    projection = LabelReading(projection=reading.get("projection", "all"))
    for fold in (1, 2, 3):
        held_out, rest = Part(split, fold, 3), Part(split, fold, 3, without=True)
        in_fold, outside = (
            ids(builder, held_out.name, **reading),
            ids(builder, rest.name, **reading),
        )
        assert not set(in_fold.patients) & set(outside.patients)
        assert patients_of(builder, held_out.name, projection) == set(in_fold.patients)
        assert patients_of(builder, rest.name, projection) == set(outside.patients)
        seen += in_fold.ids.tolist()
        assert set(in_fold.ids) | set(outside.ids) == set(ids(builder, split, **reading).ids)
    assert sorted(seen) == sorted(ids(builder, split, **reading).ids)


def test_folds_are_equal_in_size_and_in_classes(builders):
    fold = fold_of_patients(builders["derm"], Part("train", 1, 3))
    cases = read_cases(open_split(builders["derm"], "train"), 0)
    counts = np.bincount(list(fold.values()))[1:]
    assert counts.tolist() == [7, 7, 7]  # 21 patients
    # Each patient has two cases of two classes; the stratum is the rarer of both, equally often.
    shares = np.zeros((3, 3), int)
    for patient, label in zip(cases.patients, cases.labels):
        shares[fold[patient] - 1, label] += 1
    assert np.ptp(shares, axis=0).max() <= 4 and shares.min() >= 3


def test_the_same_patients_whatever_is_asked_for(builders):
    """The partition does not move with projection, labels or the side that is asked for."""
    builder = builders["chexpert"]
    fold = fold_of_patients(builder, Part("train", 2, 4))
    for reading in ({}, {"projection": "lateral"}, {"label_set": "chexpert5"}):
        cases = ids(builder, "train:fold_2_of_4", **reading)
        assert {fold[p] for p in cases.patients} == {2}


def test_names_say_what_they_are():
    inner = Part("train", 1, 5, without=True).name
    for part in (Part("train", 1, 5), Part("train[:85%]", 5, 5, without=True), Part(inner, 2, 3)):
        assert parse(part.name) == part
    assert Part("train", 2, 5, without=True).name == "train:without_fold_2_of_5"
    for other in ("train", "all", "train[:10%]", "fold_1_of_5", "train:fold_1"):
        assert parse(other) is None


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ("train:fold_0_of_5", "folds are numbered from 1"),
        ("train:fold_6_of_5", "folds are numbered from 1"),
        ("train:fold_1_of_1", "folds are numbered from 1"),
        ("train:fold_1_of_22", "it has 21 patients. Choose at most 21 folds."),
        ("trian:fold_1_of_5", "has no split 'trian'"),
    ],
)
def test_a_fold_that_cannot_be(builders, split, words):
    with pytest.raises(UserError, match=words):
        ids(builders["derm"], split)
    with pytest.raises(UserError, match=words):
        patients_of(builders["derm"], split)


def test_a_fold_for_each_patient(builders):
    """Leave-one-out: every stratum is smaller than the number of folds."""
    sizes = [len(patients_of(builders["derm"], f"train:fold_{k}_of_21")) for k in range(1, 22)]
    assert sizes == [1] * 21
