"""nih_cxr14: the true layout with its quirks, what is refused and how, what is stored."""

import collections
import csv
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from helpers import ROOT, cxr_twins
from tfds_builders import bag_builder
from tfds_builders.bag_table import shards
from tfds_builders.errors import DataError
from tfds_builders.nih_cxr14 import Builder, folder_config
from tfds_builders.nih_cxr14.table import LABELS, read_table
from tfds_builders.splits import hash_split

ENCODED = {"images": tfds.decode.SkipDecoding()}
DATA = pathlib.Path(os.environ.get("SIMCLR_MED_DATA", ROOT.parent / "shared" / "data"))
TABLE = "Data_Entry_2017_v2020.csv"
TEST = "test_list.txt"


@pytest.fixture
def twin(tmp_path):
    """The folder of a twin of 20 patients, with official lists."""
    cxr_twins.draw_nih(tmp_path / "nih", num_patients=20, seed=1, size=16)
    return tmp_path / "nih"


def prepare(config, data_dir):
    builder = Builder(config=config, data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def read(builder, split):
    return list(tfds.as_numpy(builder.as_dataset(split=split, decoders=ENCODED)))


def table_rows(folder):
    """Returns the rows of the table, as the csv module reads them, by image."""
    with open(folder / TABLE, newline="") as file:
        return {row[0]: row for row in list(csv.reader(file))[1:]}


def error_of(folder, **kwargs):
    with pytest.raises(DataError) as caught:
        folder_config(str(folder), **kwargs)
    message = str(caught.value)
    assert message.endswith(".") and ("\n" in message) == (" problems in " in message)
    return message


# An error message for every mistake

HEAD = cxr_twins.NIH_HEADER + "\n"
REST = ",0,1,58,M,PA,2500,2048,0.1,0.1"
GOOD = "00000001_000.png,No Finding" + REST


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ["is empty"]),
        (HEAD, ["a header but no rows"]),
        (HEAD.replace("Image Index", "image"), ["row 1", "'Image Index' is missing", "found:"]),
        (HEAD.replace("Follow-up #", "Patient ID") + GOOD, ["row 1", "missing"]),
        (HEAD.replace("Height]", "Patient ID") + GOOD, ["'Patient ID' appears twice"]),
        (HEAD + GOOD.rpartition(",")[0], ["row 2: 10 values", "11 columns", "or remove the row"]),
        (HEAD + GOOD + ",7,7", ["row 2: 13 values", "11 columns"]),
        (HEAD + '"' + GOOD, ["cannot be parsed", "double quote"]),
        (HEAD + GOOD + "\n\n00000001_1.png,Edema" + REST, ["row 4", "'00000001_1.png'"]),
        (HEAD + "../00000001_000.png,Edema" + REST, ["row 2", "Image Index is '../0"]),
        (HEAD + "/etc/passwd,Edema" + REST, ["row 2", "Image Index is '/etc/passwd'"]),
        (HEAD + ",Edema" + REST, ["row 2", "Image Index is ''"]),
        (HEAD + "00000002_000.png,Edema" + REST, ["row 2", "Patient ID is '1'", "'00000002_"]),
        (HEAD + GOOD.replace(",0,1,", ",0,x,"), ["row 2", "Patient ID is 'x'"]),
        (HEAD + GOOD.replace(",0,1,", ",-1,1,"), ["row 2", "Follow-up # is '-1'"]),
        (HEAD + GOOD.replace("No Finding", "Oedema"), ["row 2", "'Oedema'", "write 'Edema'"]),
        (HEAD + GOOD.replace("No Finding", "Edema;Mass"), ["row 2", "'Edema;Mass'", "with |"]),
        (HEAD + GOOD.replace("No Finding", ""), ["row 2", "has ''", "the labels are"]),
        (HEAD + GOOD.replace("No Finding", "Pleural Thickening"), ["'Pleural_Thickening'"]),
        (HEAD + GOOD.replace("No", "Edema|No"), ["row 2", "either there is a finding or not"]),
        (HEAD + GOOD + "\n" + GOOD, ["row 3", "'00000001_000.png' is in row 2", "remove one"]),
        ((HEAD + GOOD).encode() + b"\0", ["not plain text"]),
    ],
)
def test_malformed_table(tmp_path, text, words):
    (tmp_path / TABLE).write_bytes(text if isinstance(text, bytes) else text.encode())
    message = error_of(tmp_path)
    for word in [str(tmp_path / TABLE), *words]:
        assert word in message


def test_malformed_folder(tmp_path, twin):
    assert "does not exist: give the folder that holds" in error_of(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "is not a folder" in error_of(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "found: nothing" in error_of(tmp_path / "empty")
    assert "use one of error, skip" in error_of(twin, on_bad_image="ignore")


def test_malformed_images(tmp_path, twin):
    (tmp_path / "elsewhere").mkdir()
    os.symlink(tmp_path / "elsewhere", twin / "images_003")
    assert "images_003 is a link that leads out of" in error_of(twin)
    (twin / "images_003").unlink()
    name = next(iter(table_rows(twin)))
    (twin / name).write_bytes(b"")
    assert "holds one image twice" in error_of(twin) and name in error_of(twin)
    (twin / name).unlink()
    for image in twin.rglob("*.png"):
        image.unlink()
    message = error_of(twin)
    count = len(table_rows(twin))
    for word in (f"of the {count} images of {TABLE}", f"{count} are not there", name, "unpack"):
        assert word in message


def test_malformed_lists(twin):
    names = (twin / TEST).read_text().split()
    train = (twin / "train_val_list.txt").read_text()
    (twin / TEST).write_text("\n".join([*names, train.split()[0]]))
    assert f"{train.split()[0]} is in train_val_list.txt too (1 such" in error_of(twin)
    (twin / TEST).write_text("\n".join(names[1:]))
    assert f"{names[0]} is neither in" in error_of(twin)
    # An official list that cuts through a patient is refused, however it came to be.
    of_patient = next(n for n in names if sum(o[:8] == n[:8] for o in names) > 1)
    (twin / TEST).write_text("\n".join(n for n in names if n != of_patient))
    (twin / "train_val_list.txt").write_text(train + "\n" + of_patient)
    message = error_of(twin)
    for word in (f"patient {of_patient[:8]!r} is in splits test and", "leaks"):
        assert word in message
    (twin / TEST).unlink()
    assert "has train_val_list.txt but no test_list.txt" in error_of(twin)


# Oddities that are accepted


def test_quirks_of_the_table(twin):
    # The twin has them: else the assertions below would say nothing.
    text = (twin / TABLE).read_text()
    rows = table_rows(twin)
    assert text.splitlines()[0].count(",") == 10 and "|" in text and "Pleural_Thickening" in text
    assert list(rows) != sorted(rows)
    assert any(int(name[9:12]) != int(row[2]) for name, row in rows.items())
    table = read_table(twin)
    assert len(table.rows) == len(rows) and table.num_missing == 0
    for image in table.rows.to_dict("records"):
        row = rows[image["bag_id"]]
        assert image["patient_id"] == f"{int(row[3]):08d}" == image["path"][-16:-8]
        positive = {label for label in LABELS if image[label] == 1}
        assert positive == set(row[1].split("|")) - {"No Finding"}
        assert {image[label] for label in LABELS} <= {0.0, 1.0}
        assert [image[key] for key in ("follow_up", "age", "sex", "projection")] == [
            row[i] for i in (2, 4, 5, 6)
        ]
    assert {"060Y", "411Y"} & set(table.rows["age"])  # kept as found


@pytest.mark.parametrize("name", ["Data_Entry_2017.csv", "sample_labels.csv"])
def test_older_tables_and_one_folder(twin, name):
    """Kaggle's copy: a trailing comma in each row, CRLF, 'Patient Sex', images in one folder."""
    text = (twin / TABLE).read_text().replace("Patient Gender", "Patient Sex")
    (twin / name).write_bytes(text.replace("\n", ",\r\n").encode())
    new = read_table(twin).rows
    (twin / TABLE).unlink()
    for image in list(twin.rglob("*.png")):
        image.rename(twin / image.name)
    old = read_table(twin).rows
    assert set(old["table"]) == {name}
    paths = new["path"].str.rpartition("/")[2]
    pd.testing.assert_frame_equal(new.assign(table=name, path=paths), old)


def test_splits(twin):
    of_list = {name: split_of(twin, name) for name in ("train_val_list.txt", TEST)}
    rows = read_table(twin).rows
    assert set(rows.loc[rows["split"] == "test", "bag_id"]) == of_list[TEST]
    rest = rows[rows["split"] != "test"]
    assert set(rest["bag_id"]) == of_list["train_val_list.txt"]
    assert set(rest["split"]) == {"train", "validation"}
    assert (rows.groupby("patient_id")["split"].nunique() == 1).all()
    for name in of_list:
        (twin / name).unlink()
    table = read_table(twin)
    assert (table.rows["split"] == table.rows["patient_id"].map(hash_split)).all()
    assert table.facts["splits_from"] == "hash"


def split_of(folder, name):
    return set((folder / name).read_text().split())


def test_order_is_by_patient_hash_then_follow_up(twin):
    rows = read_table(twin).rows
    hashes = [hashlib.sha256(patient.encode()).hexdigest() for patient in rows["patient_id"]]
    keys = list(zip(hashes, rows["follow_up"].astype(int), rows["bag_id"]))
    assert keys == sorted(keys)


def test_shards_never_cut_a_patient(twin):
    rows = read_table(twin).rows
    rows = rows[rows["split"] == "train"]
    pieces = shards(rows, shard_bytes=10_000)
    pd.testing.assert_frame_equal(pd.concat(pieces), rows)
    patients = [set(piece["patient_id"]) for piece in pieces]
    assert len(pieces) > 5 and sum(map(len, patients)) == len(set.union(*patients))
    assert [len(piece) for piece in shards(rows)] == [len(rows)]


def test_fingerprint_follows_whatever_decides_the_content(twin):
    names = {folder_config(str(twin)).name, folder_config(str(twin), "skip").name}
    names.add(folder_config(str(twin), long_side=8).name)
    assert folder_config(str(twin)).name in names and len(names) == 3
    image = next(twin.rglob("*.png"))
    os.utime(image, ns=(1, 1))  # a copy has other times, and is the same data
    assert folder_config(str(twin)).name in names
    image.write_bytes(b"another content")
    names.add(folder_config(str(twin)).name)
    (twin / TABLE).write_text((twin / TABLE).read_text() + "\n")
    names.add(folder_config(str(twin)).name)
    image.unlink()
    names.add(folder_config(str(twin)).name)
    assert len(names) == 6


# Build


def test_round_trip(twin, tmp_path, monkeypatch):
    monkeypatch.setattr(bag_builder, "shards", lambda rows: shards(rows, 10_000))
    prepare(folder_config(str(twin), keep_metadata="all"), tmp_path / "tfds")
    builder = Builder(
        config=folder_config(str(twin), keep_metadata="all"), data_dir=tmp_path / "tfds"
    )
    assert builder.is_prepared() and builder.info.splits["train"].num_shards > 5
    rows, source = table_rows(twin), read_table(twin).rows
    stored = {split: read(builder, split) for split in ("train", "validation", "test")}
    for split, images in stored.items():
        of_split = source[source["split"] == split]
        assert [image["bag_id"].decode() for image in images] == list(of_split["bag_id"])
    rgba = 0
    for image in (image for images in stored.values() for image in images):
        row = rows[image["bag_id"].decode()]
        path = twin / image["image_ids"][0].decode()
        assert path.name == row[0] and image["patient_id"].decode() == row[0][:8]
        same = image["images"][0] == path.read_bytes()
        rgba += not same
        expected = tf.io.decode_png(path.read_bytes(), channels=3)  # alpha is 255: flattening is it
        np.testing.assert_array_equal(tf.io.decode_image(image["images"][0], channels=3), expected)
        assert image["views"].tolist() == [b"frontal"]
        assert set(image["labels"]) == set(LABELS) and image["labels"]["Edema"].dtype == np.float32
        positive = {name for name, value in image["labels"].items() if value == 1}
        assert positive == set(row[1].split("|")) - {"No Finding"}
        assert image["metadata"]["age"].tolist() == [row[4].encode()]
    assert 0 < rgba < 5
    info = dict(builder.info.metadata)
    counts = {split: len(images) for split, images in stored.items()}
    assert info["num_images"] == info["num_bags"] == counts
    assert info["num_patients"] == 20 and info["missing_images"] == 0
    assert info["named_splits"] == {} and info["skipped_images"] == []
    assert info["chexpert5"]["Effusion"] == "Pleural Effusion" and info["source"] == str(twin)
    for split, images in stored.items():
        ids = "\n".join(sorted(image["bag_id"].decode() for image in images))
        assert info["split_fingerprints"][split] == hashlib.sha256(ids.encode()).hexdigest()
    exported = pd.read_csv(builder.data_path / "splits.csv", dtype=str)
    assert list(exported) == ["patient_id", "study", "split"]
    assert exported["split"].value_counts().to_dict() == counts


def test_no_patient_in_two_splits(twin, tmp_path):
    for lists in (True, False):
        if not lists:
            (twin / TEST).unlink()
            (twin / "train_val_list.txt").unlink()
        builder = prepare(folder_config(str(twin)), tmp_path / "tfds")
        splits_of = collections.defaultdict(set)
        for split in builder.info.splits:
            for image in read(builder, split):
                splits_of[image["patient_id"]].add(split)
        assert len(splits_of) == 20 and all(len(splits) == 1 for splits in splits_of.values())


def test_partial_download(twin, tmp_path):
    everything = read_table(twin).rows
    removed = [twin / path for path in everything.loc[everything["split"] == "validation", "path"]]
    removed += list((twin / "images_002").rglob("*.png"))
    for image in removed:
        image.unlink(missing_ok=True)
    builder = prepare(folder_config(str(twin)), tmp_path / "tfds")
    info = builder.info.metadata
    assert set(builder.info.splits) == {"train", "test"}
    num_left = len(list(twin.rglob("*.png")))
    assert sum(info["num_images"].values()) == num_left
    assert info["missing_images"] == len(everything) - num_left
    assert len(info["missing_examples"]) == min(20, len(everything) - num_left)


def test_bad_image_is_an_error_and_leaves_nothing(twin, tmp_path):
    path = twin / read_table(twin).rows["path"].iloc[-1]
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    row = 2 + list(table_rows(twin)).index(path.name)
    builder = Builder(config=folder_config(str(twin)), data_dir=tmp_path / "tfds")
    with pytest.raises(DataError) as caught:
        builder.download_and_prepare()
    for word in (f"{TABLE}, row {row}", path.name, "truncated", "--on_bad_image=skip"):
        assert word in str(caught.value)
    assert not builder.is_prepared() and not list((tmp_path / "tfds").rglob("*tfrecord*"))
    path.write_bytes(whole)
    builder.download_and_prepare()  # the same builder, after the file was mended
    assert sum(builder.info.metadata["num_images"].values()) == len(table_rows(twin))


def test_skip_leaves_out_and_records(twin, tmp_path):
    rows = read_table(twin).rows
    validation = rows[rows["split"] == "validation"]
    unreadable = pd.concat([validation, rows[rows["split"] == "train"].iloc[:2]])
    for path in unreadable["path"]:
        (twin / path).write_bytes(b"")
    config = folder_config(str(twin), on_bad_image="skip")
    builder = prepare(config, tmp_path / "tfds")
    assert set(builder.info.splits) == {"train", "test"}  # nothing of validation is readable
    skipped = builder.info.metadata["skipped_images"]
    expected = sorted(zip(unreadable["row"], unreadable["path"]))
    assert [(row, path) for row, path, _ in skipped] == expected
    assert {reason for *_, reason in skipped} == {"the file has 0 bytes"}
    ids = {
        image["bag_id"].decode() for split in builder.info.splits for image in read(builder, split)
    }
    assert ids == set(rows["bag_id"]) - set(unreadable["bag_id"])
    assert sum(builder.info.metadata["num_bags"].values()) == len(ids)
    assert not (builder.data_path / "image_logs").exists()
    for path in rows["path"]:
        (twin / path).write_bytes(b"")
    with pytest.raises(DataError, match="no image of split 'train' is readable"):
        prepare(folder_config(str(twin), on_bad_image="skip"), tmp_path / "tfds")


def test_skip_of_a_whole_file(twin, tmp_path, monkeypatch):
    """TFDS reads a dataset of which one file has no example."""
    rows = read_table(twin).rows
    first, *_ = pieces = shards(rows[rows["split"] == "train"], 10_000)
    monkeypatch.setattr(bag_builder, "shards", lambda rows: shards(rows, 10_000))
    for path, size in zip(first["path"], first["size"]):
        (twin / path).write_bytes(b"?" * size)  # of the same size, so that files are cut as before
    builder = prepare(folder_config(str(twin), on_bad_image="skip"), tmp_path / "tfds")
    assert builder.info.splits["train"].shard_lengths == [0, *map(len, pieces[1:])]
    stored = [image["bag_id"].decode() for image in read(builder, "train")]
    assert stored == list(pd.concat(pieces[1:])["bag_id"])
    halves = [len(read(builder, half)) for half in ("train[:50%]", "train[50%:]")]
    assert sum(halves) == len(stored)


KILLED = """
import os, signal, sys
from tfds_builders import nih_cxr14, read_ahead

load, seen = read_ahead.load_encoded, []

def load_encoded(path, *options):
    seen.append(path)
    if len(seen) == 40:
        os.kill(os.getpid(), signal.SIGKILL)
    return load(path, *options)

read_ahead.load_encoded = load_encoded
config = nih_cxr14.folder_config(sys.argv[1])
nih_cxr14.Builder(config=config, data_dir=sys.argv[2]).download_and_prepare()
"""


def test_killed_build_is_not_taken_for_a_complete_one(twin, tmp_path):
    command = [sys.executable, "-c", KILLED, str(twin), str(tmp_path / "tfds")]
    killed = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=300
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()[-2000:]
    assert list((tmp_path / "tfds").rglob("*incomplete*"))  # it had begun
    config = folder_config(str(twin))
    assert not Builder(config=config, data_dir=tmp_path / "tfds").is_prepared()
    builder = prepare(config, tmp_path / "tfds")
    assert sum(len(read(builder, split)) for split in builder.info.splits) == len(table_rows(twin))


# The real table and images


@pytest.fixture(scope="module")
def nih_folder():
    """The folder of NIH's table of 112,120 rows, read once, with no image anywhere."""
    folder = DATA / "nih_metadata"
    if not folder.is_dir():
        pytest.skip(f"NIH's table is not at {folder} (set SIMCLR_MED_DATA)")
    return folder


def test_real_table(nih_folder, tmp_path):
    """All 112,120 rows; every image is a link to one file of 8 x 8 pixels."""
    (tmp_path / TABLE).write_bytes((nih_folder / TABLE).read_bytes())
    names = pd.read_csv(tmp_path / TABLE, usecols=["Image Index"], index_col=False).iloc[:, 0]
    for i, name in enumerate(names):
        directory = tmp_path / f"images_{i // 10000 + 1:03d}" / "images"
        if i % 10000 == 0:
            directory.mkdir(parents=True)
            blank_image = directory / name
            tf.io.write_file(
                str(blank_image), tf.io.encode_png(np.full((8, 8, 1), i // 500, np.uint8))
            )
        else:
            os.link(blank_image, directory / name)
    table = read_table(tmp_path)
    rows = table.rows
    assert len(rows) == 112120 and rows["patient_id"].nunique() == 30805
    assert table.num_missing == 0
    counts = {label: int(rows[label].sum()) for label in LABELS}
    assert counts["Atelectasis"] == 11559 and counts["Cardiomegaly"] == 2776
    assert counts["Consolidation"] == 4667 and counts["Edema"] == 2303
    assert counts["Effusion"] == 13317
    assert int((rows[list(LABELS)].sum(axis=1) == 0).sum()) == 60361
    shares = rows.drop_duplicates("patient_id")["split"].value_counts(normalize=True)
    for split, share in {"train": 0.75, "validation": 0.10, "test": 0.15}.items():
        assert abs(shares[split] - share) < 0.01


def test_real_table_without_images_is_refused(nih_folder):
    message = error_of(nih_folder)
    assert "of the 112,120 images" in message and "112,120 are not there" in message


def test_real_sample(tmp_path):
    folder = DATA / "nih_sample"
    if not folder.is_dir():
        pytest.skip(f"the sample of NIH's images is not at {folder} (set SIMCLR_MED_DATA)")
    builder = prepare(folder_config(str(folder)), tmp_path / "tfds")
    info = builder.info.metadata
    assert sum(info["num_images"].values()) == 1001 and info["num_patients"] == 265
    assert info["num_images"]["test"] == 170 and info["missing_images"] == 0
    assert all(len(read(builder, split)) == n for split, n in info["num_images"].items())


class StockTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own test of a builder, which here takes the folder as TFDS's `manual_dir`."""

    DATASET_CLASS = Builder
    SPLITS: ClassVar = {}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls._folder = tempfile.TemporaryDirectory()
        cxr_twins.draw_nih(cls._folder.name, num_patients=12, seed=2, size=16)
        cls.EXAMPLE_DIR = cls._folder.name
        cls.SPLITS = read_table(cls._folder.name).rows["split"].value_counts().to_dict()

    @classmethod
    def tearDownClass(cls):
        cls._folder.cleanup()
        super().tearDownClass()
