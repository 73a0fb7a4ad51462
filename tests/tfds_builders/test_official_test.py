"""chexpert_studies: the official test set, test/ and its table, is a split of its own."""

import csv

import numpy as np
import pytest
import tensorflow_datasets as tfds

from helpers import cxr_twins
from helpers.derm_folders import draw
from tfds_builders.chexpert_studies import Builder, folder_config
from tfds_builders.chexpert_studies.labels import LABELS
from tfds_builders.chexpert_studies.table import read_table
from tfds_builders.errors import DataError
from tfds_builders.verify import verify

NAME = "CheXpert-v1.0-small"
# (patient, images of its study) as in the published table: a study each, views in the names of files.
STUDIES = [
    ("patient64741", ["view1_frontal"]),
    ("patient64742", ["view1_frontal", "view2_lateral"]),
    ("patient64743", ["view1_frontal", "view2_frontal", "view3_lateral"]),
]


def labels_of(number):
    return [str(int((number + i) % 3 == 0)) for i in range(len(LABELS))]


@pytest.fixture
def twin(tmp_path):
    """The dataset's folder of a twin, with test/ but without its table."""
    cxr_twins.draw_chexpert(tmp_path / "data", num_patients=20, seed=1, size=16)
    root = tmp_path / "data" / NAME
    for i, (patient, views) in enumerate(STUDIES):
        for view in views:
            draw(root / "test" / patient / "study1" / f"{view}.jpg", seed=i)
    return root


def by_image(root, prefix="", labels=LABELS, name="test_labels.csv"):
    """Writes the table that has a row per image."""
    with open(root / name, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Path", *labels])
        for i, (patient, views) in enumerate(STUDIES):
            values = dict(zip(LABELS, labels_of(i)))
            for view in views:
                path = f"{prefix}test/{patient}/study1/{view}.jpg"
                writer.writerow([path, *(values[label] for label in labels)])


def by_study(root):
    """Writes the table that has a row per study, its columns in another order."""
    with open(root / "groundtruth.csv", "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["Study", *reversed(LABELS)])
        for i, (patient, _) in enumerate(STUDIES):
            writer.writerow([f"CheXpert-v1.0/test/{patient}/study1", *reversed(labels_of(i))])


def check(table):
    rows = table.rows[table.rows["split"] == "official_test"]
    assert len(rows) == sum(len(views) for _, views in STUDIES)
    for i, (patient, views) in enumerate(STUDIES):
        of_study = rows[rows["patient_id"] == patient]
        paths = [f"test/{patient}/study1/{view}.jpg" for view in views]
        assert list(of_study["path"]) == paths and set(of_study["bag_id"]) == {f"{patient}/study1"}
        assert list(of_study["view"]) == [view.rpartition("_")[2] for view in views]
        for label, value in zip(LABELS, labels_of(i)):
            assert set(of_study[label]) == {float(value)}
        assert set(of_study["age"]) == set(of_study["sex"]) == {""}


@pytest.mark.parametrize("write", [by_image, by_study], ids=["Path", "Study"])
def test_it_is_a_split_and_changes_no_other(twin, write):
    before = read_table(twin)
    assert "test/ holds 6 images, which are not read: put test_labels.csv" in before.notes[0]
    assert "official_test" not in set(before.rows["split"])
    write(twin)
    table = read_table(twin)
    check(table)
    rest = table.rows[table.rows["split"] != "official_test"]
    assert list(rest["path"]) == list(before.rows["path"])
    assert list(rest["split"]) == list(before.rows["split"])
    assert table.named_images == before.named_images and table.notes == ()
    assert len(table.files) == len(before.files) + 1  # their bytes are in the fingerprint


def test_prefixes_and_a_table_without_no_finding(twin):
    by_image(twin, "CheXpert-v1.0/", [label for label in LABELS if label != "No Finding"])
    table = read_table(twin)
    rows = table.rows[table.rows["split"] == "official_test"]
    assert len(rows) == 6 and rows["No Finding"].isna().all()
    assert "has no column 'No Finding': it is blank" in table.notes[0]


def test_two_tables(twin):
    by_image(twin)
    by_study(twin)
    table = read_table(twin)
    check(table)
    assert table.notes == ("test_labels.csv is read, groundtruth.csv is not.",)


@pytest.mark.parametrize("write", [by_image, by_study], ids=["Path", "Study"])
def test_round_trip_with_a_bad_and_a_missing_image(twin, tmp_path, write):
    write(twin)
    (twin / "test/patient64742/study1/view2_lateral.jpg").write_bytes(b"")
    (twin / "test/patient64741/study1/view1_frontal.jpg").unlink()
    config = folder_config(str(twin), on_bad_image="skip")
    builder = Builder(config=config, data_dir=tmp_path / "tfds")
    builder.download_and_prepare()
    encoded = {"images": tfds.decode.SkipDecoding()}
    studies = {
        study["bag_id"].decode(): study
        for study in tfds.as_numpy(builder.as_dataset(split="official_test", decoders=encoded))
    }
    assert {bag: len(study["images"]) for bag, study in studies.items()} == {
        "patient64742/study1": 1,
        "patient64743/study1": 3,
    }
    np.testing.assert_equal(
        [studies["patient64743/study1"]["labels"][label] for label in LABELS],
        [float(value) for value in labels_of(2)],
    )
    info = builder.info.metadata
    assert info["num_images"]["official_test"] == 4 and info["missing_images"] == 1
    (skipped,) = info["skipped_images"]
    assert skipped[1] == "test/patient64742/study1/view2_lateral.jpg"
    ids = studies["patient64743/study1"]["image_ids"].tolist()
    assert len(set(ids)) == 3
    assert set(map(bytes.decode, ids)) <= set(config.paths())
    result = verify(builder)
    assert result.expected["images in official_test"] == (668, 4)


@pytest.mark.parametrize(
    "old, new, words",
    [
        ("test/patient64741", "train/patient64741", "is not in test/"),
        ("patient64741", "64741", "the path is"),
        ("Edema", "Oedema", "column 'Edema' is missing"),
    ],
)
def test_a_table_that_is_not_as_published_is_refused(twin, old, new, words):
    by_image(twin)
    file = twin / "test_labels.csv"
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(DataError, match="test_labels.csv, row") as caught:
        read_table(twin)
    assert words in str(caught.value)


def test_a_study_that_is_written_otherwise_is_refused(twin):
    by_study(twin)
    file = twin / "groundtruth.csv"
    file.write_text(file.read_text().replace("test/patient64742/study1", "64742"))
    with pytest.raises(DataError, match="row 3: the study is 'CheXpert-v1.0/64742'"):
        read_table(twin)


def test_a_patient_of_the_test_set_in_train_is_refused(twin):
    by_image(twin)
    lines = (twin / "train.csv").read_text().splitlines()
    patient = lines[1].split("/")[2]
    file = twin / "test_labels.csv"
    file.write_text(file.read_text().replace("patient64741", patient))
    with pytest.raises(DataError, match="is in splits official_test and"):
        read_table(twin)
