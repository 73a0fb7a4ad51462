"""chexpert_studies: the true layouts with their quirks, what is refused and how, what is stored."""

import collections
import csv
import hashlib
import json
import math
import os
import pathlib
import re
import shutil
import tempfile
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from helpers import cxr_twins
from tfds_builders.bag_table import VIEWS
from tfds_builders.chexpert_studies import Builder, folder_config, table
from tfds_builders.chexpert_studies.labels import LABELS
from tfds_builders.chexpert_studies.table import read_table
from tfds_builders.errors import DataError
from tfds_builders.splits import hash_split

ENCODED = {"images": tfds.decode.SkipDecoding()}
NAME = "CheXpert-v1.0-small"


@pytest.fixture
def twin(tmp_path):
    """The dataset's folder of a twin of 40 patients, in a folder of its own."""
    cxr_twins.draw_chexpert(tmp_path / "data", num_patients=40, seed=1, size=16)
    return tmp_path / "data" / NAME


def prepare(config, data_dir):
    builder = Builder(config=config, data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def read(builder, split):
    return list(tfds.as_numpy(builder.as_dataset(split=split, decoders=ENCODED)))


def csv_rows(file):
    with open(file, newline="") as handle:
        return list(csv.DictReader(handle))


def error_of(folder, **kwargs):
    with pytest.raises(DataError) as caught:
        folder_config(str(folder), **kwargs)
    message = str(caught.value)
    assert message.endswith(".") and ("\n" in message) == (" problems in " in message)
    return message


# An error message for every mistake

HEAD = ",".join(cxr_twins.CHEXPERT_HEADER) + "\n"
PATH = f"{NAME}/train/patient00001/study1/view1_frontal.jpg"
GOOD = PATH + ",Male,60,Frontal,AP" + ",1.0" + "," * 13


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ["is empty"]),
        (HEAD, ["a header but no rows"]),
        (HEAD.replace("Path", "path") + GOOD, ["row 1", "'Path' is missing (found: path, Sex"]),
        (HEAD.replace("Pleural Effusion", "Effusion") + GOOD, ["row 1", "'Pleural Effusion' is"]),
        (HEAD.replace("Fracture", "Edema") + GOOD, ["row 1", "'Edema' appears twice"]),
        (HEAD + GOOD.rpartition(",")[0], ["row 2: 18 values", "19 columns", "or remove the row"]),
        (HEAD + GOOD + ",", ["row 2: 20 values", "19 columns"]),
        (HEAD + '"' + GOOD, ["cannot be parsed", "double quote"]),
        (HEAD + GOOD + "\n\n" + GOOD.replace(",1.0", ",2"), ["row 4", "No Finding is '2'"]),
        (HEAD + GOOD.replace(",1.0", ",yes"), ["row 2", "No Finding is 'yes'", "(uncertain)"]),
        (HEAD + GOOD.replace(",1.0", ",unknown"), ["row 2", "No Finding is 'unknown'"]),
        (HEAD + GOOD.replace("train/", "train/../../"), ["row 2", "the path is", "write it like"]),
        (HEAD + GOOD.replace(PATH, "/etc/passwd"), ["row 2", "the path is '/etc/passwd'"]),
        (HEAD + GOOD.replace(PATH, ""), ["row 2", "the path is ''"]),
        (HEAD + GOOD.replace("/", "\\"), ["row 2", "the path is"]),
        (HEAD + GOOD.replace("patient00001/", ""), ["row 2", "the path is"]),
        (HEAD + GOOD.replace("train/", "valid/"), ["row 2", "is not in train/"]),
        (HEAD + GOOD.replace("Frontal", "frontal?"), ["row 2", "Frontal/Lateral is 'frontal?'"]),
        (HEAD + GOOD + "\n" + GOOD, ["row 3", "is in row 2 of train.csv already"]),
        (HEAD + GOOD + "\n" + GOOD.replace(NAME, "CheXpert-v1.0"), ["row 3", "in row 2"]),
        ((HEAD + GOOD).encode() + b"\0", ["not plain text"]),
    ],
)
def test_malformed_table(tmp_path, text, words):
    (tmp_path / "train.csv").write_bytes(text if isinstance(text, bytes) else text.encode())
    message = error_of(tmp_path)
    for word in [str(tmp_path / "train.csv"), *words]:
        assert word in message


def test_labels_that_differ_in_a_study(tmp_path):
    """Also where one is blank: `NaN != NaN` must not be taken for a difference."""
    second = GOOD.replace("view1_frontal", "view2_frontal")
    for text, words in (
        (second.replace(",1.0", ",0.0"), ["row 3", "No Finding is 0 in 'patient00001/study1'"]),
        (second.replace(",1.0", ","), ["row 3", "No Finding is nan", "but 1 in row 2"]),
        (second, ["none of the rest is in split 'train'"]),
    ):
        (tmp_path / "train.csv").write_text(HEAD + GOOD + "\n" + text)
        message = error_of(tmp_path)
        assert all(word in message for word in words)


def test_malformed_folder(tmp_path, twin):
    assert "does not exist" in error_of(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "is not a folder" in error_of(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "has no train.csv" in error_of(tmp_path / "empty")
    assert "(found: nothing)" in error_of(tmp_path / "empty")
    (twin.parent / "CheXpert-v1.0").mkdir()
    shutil.copy(twin / "train.csv", twin.parent / "CheXpert-v1.0")
    assert f"holds several datasets, CheXpert-v1.0 and {NAME}" in error_of(twin.parent)
    assert "'ignore'" in error_of(twin, on_bad_image="ignore")


def test_malformed_images(tmp_path, twin):
    image = next((twin / "train").rglob("*.jpg"))
    shutil.copy(image, image.with_suffix(".png"))
    assert "holds one image twice" in error_of(twin)
    image.with_suffix(".png").unlink()
    image.rename(tmp_path / "moved.jpg")
    os.symlink(tmp_path / "moved.jpg", image)
    assert f"{image} is a link that leads out of {twin}" in error_of(twin)
    image.unlink()
    (twin / "train").rename(twin / "trian")
    message = error_of(twin)
    rows = len(csv_rows(twin / "train.csv")) + len(csv_rows(twin / "valid.csv"))
    for word in (f"of the {rows} images of train.csv, valid.csv", "none of the rest", "unpack"):
        assert word in message


def test_patient_in_train_and_valid(twin):
    lines = (twin / "valid.csv").read_text().splitlines()
    lines.append(re.sub(r"patient\d+/study\d", "patient00001/study1", lines[1]))
    (twin / "valid.csv").write_text("\n".join(lines))
    message = error_of(twin)
    for word in ("'patient00001' is in splits official_valid and", "leaks"):
        assert word in message


# Oddities that are accepted


def test_quirks_of_the_tables(twin):
    """Each row is what the csv module reads; the twin has every quirk, or this would say nothing."""
    counts = collections.Counter()
    rows = read_table(twin.parent).rows
    records = {(r["table"], r["row"]): r for r in rows.to_dict("records")}
    for name in ("train.csv", "valid.csv"):
        for number, row in enumerate(csv_rows(twin / name), 2):
            record = records.pop((name, number))
            assert row["Path"] == f"{NAME}/{record['path']}"
            patient, study, _ = record["path"].split("/")[1:]
            assert (record["patient_id"], record["bag_id"]) == (patient, f"{patient}/{study}")
            assert record["view"] == row["Frontal/Lateral"].lower() in VIEWS
            assert [record[key] for key in ("age", "sex", "projection")] == [
                row[key] for key in ("Age", "Sex", "AP/PA")
            ]
            for label in LABELS:
                expected = float(row[label]) if row[label] else math.nan
                np.testing.assert_equal(record[label], np.float32(expected))
            counts.update(row[label] for label in LABELS)
            blank = all(row[label] == "" for label in LABELS)
            counts.update({"LL RL": row["AP/PA"] in ("LL", "RL"), "blank row": blank})
            counts.update({f"Sex {row['Sex']}": 1, f"Age {row['Age']}": 1, row["Path"][-17:-4]: 1})
            counts.update({"blank AP/PA": row["AP/PA"] == "" and record["view"] == "lateral"})
    assert not records
    quirks = ["1.0", "0.0", "-1.0", "", "LL RL", "blank row", "Sex Unknown", "Age 0"]
    quirks += ["view1_lateral", "view3_frontal", "blank AP/PA"]
    assert all(counts[quirk] for quirk in quirks), counts
    paths = [row["Path"] for row in csv_rows(twin / "train.csv")]
    assert paths != sorted(paths)
    train = rows[rows["split"] != "official_valid"].drop_duplicates("bag_id")
    assert train.groupby("patient_id")["Edema"].nunique(dropna=False).max() > 1  # over the studies


def test_copies_saved_by_excel_and_the_large_dataset(tmp_path):
    """'1' for '1.0', CRLF, a byte-order mark; 'CheXpert-v1.0/' before the paths."""
    for name, excel in ((NAME, False), ("CheXpert-v1.0", True)):
        cxr_twins.draw_chexpert(tmp_path / name, 15, seed=3, size=16, root=name, excel=excel)
    file = tmp_path / "CheXpert-v1.0" / "CheXpert-v1.0" / "train.csv"
    text = file.read_text()
    assert ",1," in text and "1.0," not in text
    file.write_bytes(("\ufeff" + text.replace("\n", "\r\n")).encode())
    rows = (read_table(tmp_path / name).rows for name in (NAME, "CheXpert-v1.0"))
    published, saved = (of_one.drop(columns="mtime") for of_one in rows)
    pd.testing.assert_frame_equal(published, saved)


def test_any_folder_name_and_no_valid_csv(twin):
    (twin / "valid.csv").unlink()
    renamed = twin.rename(twin.parent / "cx")
    rows = read_table(renamed).rows
    assert len(rows) == len(csv_rows(renamed / "train.csv"))
    assert "official_valid" not in set(rows["split"])


@pytest.fixture
def plus(twin):
    """The twin in the layout of CheXpert Plus: one table with reports, PNG files, labels as JSON."""
    lines, rows = [], []
    for name in ("train.csv", "valid.csv"):
        for row in csv_rows(twin / name):
            path = row["Path"].removeprefix(f"{NAME}/")
            png = twin / "PNG" / "PNG" / path.replace(".jpg", ".png")
            png.parent.mkdir(parents=True, exist_ok=True)
            Image.open(twin / path).save(png)
            labels = {label: float(row[label]) if row[label] else None for label in LABELS}
            lines.append(json.dumps({"path_to_image": path} | labels))
            rows.append(
                {
                    "path_to_image": path,
                    "report": 'NARRATIVE:\n"No", she said.',
                    "age": row["Age"],
                    "sex": row["Sex"],
                    "frontal_lateral": row["Frontal/Lateral"],
                    "ap_pa": row["AP/PA"],
                    "split": name.removesuffix(".csv"),
                }
            )
    folder = twin / "chexbert_labels"
    folder.mkdir()
    (folder / "impression_fixed.json").write_text("\n".join(reversed(lines)) + "\n")
    with open(twin / "df_chexpert_plus_240401.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return twin


def test_chexpert_plus_is_read_as_chexpert(plus):
    plain = read_table_without(plus, "df_chexpert_plus_240401.csv")
    for name in ("train.csv", "valid.csv", "train", "valid"):
        (plus / name).rename(plus.parent.parent / name)
    result = read_table(plus.parent)
    assert result.facts["labels_from"] == "chexbert_labels/impression_fixed.json"
    rows = result.rows
    assert set(rows["table"]) == {"df_chexpert_plus_240401.csv"}
    assert rows["path"].iloc[0].startswith("PNG/PNG/") and rows["path"].iloc[0].endswith(".png")
    same = ["bag_id", "patient_id", "split", "view", *LABELS, *table.METADATA_KEYS]
    by = ["bag_id", "view", "projection"]
    pd.testing.assert_frame_equal(
        rows[same].sort_values(by, ignore_index=True),
        plain[same].sort_values(by, ignore_index=True),
    )


def read_table_without(folder, name):
    """Returns the rows of CheXpert where CheXpert Plus is in the same folder."""
    (folder / name).rename(folder.parent.parent / name)
    (folder / "PNG").rename(folder.parent.parent / "PNG")
    rows = read_table(folder).rows
    (folder.parent.parent / name).rename(folder / name)
    (folder.parent.parent / "PNG").rename(folder / "PNG")
    return rows


@pytest.mark.parametrize(
    "line, words",
    [
        ("{", ["line 2 is not a JSON object", "download it again"]),
        ('{"path_to_image": "a"}', ["line 2", "KeyError: 'No Finding'"]),
        (json.dumps({"path_to_image": "a"} | dict.fromkeys(LABELS, 3)), ["No Finding is 3.0"]),
        (json.dumps({"path_to_image": "a"} | dict.fromkeys(LABELS, "x")), ["line 2", "ValueError"]),
    ],
)
def test_malformed_labels_of_chexpert_plus(plus, line, words):
    file = plus / "chexbert_labels" / "impression_fixed.json"
    first = file.read_text().splitlines()[0]
    file.write_text(first + "\n" + line + "\n")
    message = error_of(plus)
    assert str(file) in message and all(word in message for word in words)


@pytest.mark.parametrize(
    "content, words",
    [
        (lambda first: b"", "is empty"),
        (lambda first: first * 2, "has two lines for"),
        (lambda first: b"\xff\xfe", "is not UTF-8 text"),
    ],
)
def test_malformed_label_file_of_chexpert_plus(plus, content, words):
    file = plus / "chexbert_labels" / "impression_fixed.json"
    file.write_bytes(content(file.read_bytes().splitlines(True)[0]))
    message = error_of(plus)
    assert str(file) in message and words in message


def test_malformed_chexpert_plus(plus):
    file = plus / "df_chexpert_plus_240401.csv"
    text = file.read_text()
    file.write_text(text.replace("ap_pa", "view"))
    assert "column 'ap_pa' is missing" in error_of(plus)
    file.write_text("")
    assert "cannot be parsed" in error_of(plus)
    file.write_text(text)
    (plus / "chexbert_labels").rename(plus / "labels")
    assert "unpack chexbert_labels.zip beside the table" in error_of(plus)


# Splits and order


def test_splits_and_order(twin):
    rows = read_table(twin).rows
    official = rows["path"].str.startswith("valid/")
    assert ((rows["split"] == "official_valid") == official).all() and official.any()
    rest = rows[~official]
    assert (rest["split"] == rest["patient_id"].map(hash_split)).all()
    assert set(rest["split"]) == {"train", "validation", "test"}
    assert (rows.groupby("patient_id")["split"].nunique() == 1).all()
    keys = [
        (hashlib.sha256(patient.encode()).hexdigest(), int(bag.rpartition("study")[2]), path)
        for patient, bag, path in zip(rows["patient_id"], rows["bag_id"], rows["path"])
    ]
    assert keys == sorted(keys)


def test_paper_train_is_a_share_of_a_part_and_the_number_of_the_whole(twin, monkeypatch):
    whole = read_table(twin)
    num_train = int((whole.rows["split"] == "train").sum())
    expected = round(num_train * 67_429 / 167_429)
    assert whole.named_images == {"paper_train": ("train", expected)}
    monkeypatch.setattr(table, "ALL_IMAGES", len(csv_rows(twin / "train.csv")))
    monkeypatch.setattr(table, "PAPER_TRAIN", 7)
    assert read_table(twin).named_images == {"paper_train": ("train", 7)}


# Build


def test_round_trip(twin, tmp_path):
    prepare(folder_config(str(twin.parent), keep_metadata="all"), tmp_path / "tfds")
    builder = Builder(
        config=folder_config(str(twin), keep_metadata="all"), data_dir=tmp_path / "tfds"
    )
    assert builder.is_prepared()  # given as the folder itself or its parent, it is the same
    assert builder.name == "chexpert_studies" and "chexpert" in tfds.list_builders()
    source = read_table(twin).rows
    info = dict(builder.info.metadata)
    assert set(builder.info.splits) == {"train", "validation", "test", "official_valid"}
    for split in builder.info.splits:
        studies = read(builder, split)
        of_split = source[source["split"] == split]
        assert [s["bag_id"].decode() for s in studies] == list(of_split["bag_id"].unique())
        by_bag = dict(tuple(of_split.groupby("bag_id")))
        for study in studies:
            rows = by_bag[study["bag_id"].decode()]
            assert study["patient_id"].decode() == rows["patient_id"].iloc[0]
            assert study["images"].tolist() == [(twin / p).read_bytes() for p in rows["path"]]
            for feature, column in (("image_ids", "path"), ("views", "view")):
                assert [text.decode() for text in study[feature]] == list(rows[column])
            assert list(study["labels"]) == sorted(LABELS)
            for label in LABELS:  # NaN stays NaN, -1 stays -1
                np.testing.assert_equal(study["labels"][label], rows[label].iloc[0])
                assert study["labels"][label].dtype == np.float32
            for key in ("age", "sex", "projection"):
                assert [t.decode() for t in study["metadata"][key]] == list(rows[key])
        assert info["num_bags"][split] == len(studies)
        assert info["num_images"][split] == sum(len(study["images"]) for study in studies)
    assert info["num_patients"] == source["patient_id"].nunique()
    assert info["source"] == str(twin) and info["labels_from"] == "the tables"
    exported = pd.read_csv(builder.data_path / "splits.csv")
    assert len(exported) == source["bag_id"].nunique()
    of_bag = source.drop_duplicates("bag_id").set_index("bag_id")["split"]
    assert dict(zip(exported["study"], exported["split"])) == of_bag.to_dict()
    assert set(exported["patient_id"]) == set(source["patient_id"])


def test_named_split_is_the_beginning_of_train(twin, tmp_path):
    builder = prepare(folder_config(str(twin)), tmp_path / "tfds")
    info = builder.info.metadata
    train = read(builder, "train")
    paper = read(builder, info["named_splits"]["paper_train"])
    ids = [study["bag_id"].decode() for study in paper]
    assert ids == [study["bag_id"].decode() for study in train][: len(ids)]
    share = 67_429 / 167_429 * info["num_images"]["train"]
    num_images = sum(len(study["images"]) for study in paper)
    assert share - 3 < num_images <= round(share)  # up to the last study, of at most 3 images
    expected = hashlib.sha256("\n".join(sorted(ids)).encode()).hexdigest()
    assert info["split_fingerprints"]["paper_train"] == expected
    assert set(info["split_fingerprints"]) == {*builder.info.splits, "paper_train"}


def test_no_patient_in_two_splits(twin, tmp_path):
    builder = prepare(folder_config(str(twin)), tmp_path / "tfds")
    splits_of = collections.defaultdict(set)
    for split in builder.info.splits:
        for study in read(builder, split):
            splits_of[study["patient_id"]].add(split)
    assert len(splits_of) == 44 and all(len(splits) == 1 for splits in splits_of.values())


def test_partial_download(twin, tmp_path):
    """A study keeps the images that are there; valid/ is not there at all."""
    shutil.rmtree(twin / "valid")
    laterals = list(twin.rglob("*_lateral.jpg"))
    for image in laterals:
        image.unlink()
    builder = prepare(folder_config(str(twin)), tmp_path / "tfds")
    info = builder.info.metadata
    assert set(builder.info.splits) == {"train", "validation", "test"}
    assert sum(info["num_images"].values()) == len(list(twin.rglob("*.jpg")))
    assert info["missing_images"] == len(laterals) + len(csv_rows(twin / "valid.csv"))
    assert len(info["missing_examples"]) == 20 and all(
        path.startswith(NAME) for path in info["missing_examples"]
    )
    assert {view for s in read(builder, "train") for view in s["views"]} == {b"frontal"}


def test_bad_images(twin, tmp_path):
    """A study of two keeps the good one; a study without a good one is left out."""
    rows = read_table(twin).rows
    train = rows[rows["split"] == "train"]
    sizes = train.groupby("bag_id", sort=False).size()
    pair, single = sizes.index[sizes == 2][0], sizes.index[sizes == 1][0]
    unreadable = pd.concat(
        [train[train["bag_id"] == pair].iloc[:1], train[train["bag_id"] == single]]
    )
    for path in unreadable["path"]:
        (twin / path).write_text("no image")
    with pytest.raises(DataError) as caught:
        prepare(folder_config(str(twin)), tmp_path / "tfds")
    first = min(unreadable.index)  # in the order of storage
    assert f"train.csv, row {unreadable['row'][first]}: image {unreadable['path'][first]!r}" in str(
        caught.value
    )
    assert "not an image" in str(caught.value) and not list((tmp_path / "tfds").rglob("*tfrecord*"))
    builder = prepare(folder_config(str(twin), on_bad_image="skip"), tmp_path / "tfds")
    studies = {study["bag_id"].decode(): study for study in read(builder, "train")}
    assert len(studies[pair]["images"]) == 1 and single not in studies
    skipped = builder.info.metadata["skipped_images"]
    assert [(row, path) for row, path, _ in skipped] == sorted(
        zip(unreadable["row"], unreadable["path"])
    )
    assert builder.info.metadata["num_bags"]["train"] == len(studies) == len(sizes) - 1
    assert single not in set(pd.read_csv(builder.data_path / "splits.csv")["study"])


class StockTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own test of a builder. It decodes, so the images of a study have one size here."""

    DATASET_CLASS = Builder
    SPLITS: ClassVar = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls._folder = tempfile.TemporaryDirectory()
        root = pathlib.Path(cls._folder.name)
        cxr_twins.draw_chexpert(root, num_patients=25, seed=2, size=16)
        cls.EXAMPLE_DIR = str(root)
        bags = read_table(root).rows.drop_duplicates("bag_id")
        cls.SPLITS = bags["split"].value_counts().to_dict()
        cls.BUILDER_CONFIG_NAMES_TO_TEST = [folder_config(str(root))]

    @classmethod
    def tearDownClass(cls):
        cls._folder.cleanup()
        super().tearDownClass()
