"""derm_bags: what a folder may look like, what is refused and how, what is stored."""

import os
import pathlib
import tempfile
from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from tfds_builders import read_ahead
from tfds_builders.derm_bags import Builder, DermBagsConfig, demo, folder_config
from tfds_builders.derm_bags.demo_clinic import ELSEWHERE
from tfds_builders.derm_bags.manifest import read_manifest
from tfds_builders.errors import DataError
from tfds_builders.splits import hash_split

ENCODED = {"images": tfds.decode.SkipDecoding()}
HEAD = "case_id,image_path,label,split\n"
GOOD = HEAD + "c1,a.jpg,nv,train\nc1,sub/b.png,nv,train\nc2,c.jpg,mel,validation\nc3,d.jpg,,train\n"


def draw(path, seed=0, size=(24, 16)):
    """Writes noise of `size` (width, height) to `path`, in the format of its extension."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), np.uint8)
    Image.fromarray(pixels).save(path)


@pytest.fixture
def folder(tmp_path):
    """Returns a function that writes a manifest (text or bytes) beside images of four sizes."""

    def write(manifest=GOOD):
        root = tmp_path / "data"
        for i, name in enumerate(("a.jpg", "sub/b.png", "c.jpg", "d.jpg")):
            draw(root / name, seed=i, size=(24 + i, 16))
        raw = manifest.encode() if isinstance(manifest, str) else manifest
        (root / "manifest.csv").write_bytes(raw)
        return root

    return write


def prepare(config, data_dir):
    builder = Builder(config=config, data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def read(builder, split):
    examples = tfds.as_numpy(builder.as_dataset(split=split, decoders=ENCODED))
    return {example["bag_id"].decode(): example for example in examples}


def error_of(root, **kwargs):
    with pytest.raises(DataError) as caught:
        folder_config(str(root), **kwargs)
    return str(caught.value)


# An error message for every mistake


@pytest.mark.parametrize(
    "rows, row, words",
    [
        ("", None, ["no rows"]),
        (",a.jpg,nv,train", 2, ["case_id is blank", "remove the row"]),
        ("c1,,nv,train", 2, ["image_path is blank"]),
        ("c1,a.jpg,nv,", 2, ["split is blank"]),
        ("c1,a.jpg,nv,train\n\nc1,x.jpg,nv,train", 4, ["'x.jpg' cannot be found", "relative to"]),
        ("c1,sub\\b.png,nv,train", 2, ["cannot be found", "with / instead of \\"]),
        ("c1,sub,nv,train", 2, ["'sub' is not a file"]),
        ("c1,../secret.jpg,nv,train", 2, ["leads out of"]),
        ("c1,link.jpg,nv,train", 2, ["leads out of"]),
        ("c1,/etc/passwd,nv,train", 2, ["absolute"]),
        ("c1,a.jpg,nv,train\nc1,sub/../a.jpg,nv,train", 3, ["already (row 2)"]),
        ("c1,a.jpg,nv,train\nc1,c.jpg,mel,train", 3, ["'c1'", "'mel'", "'nv' in row 2"]),
        ("c1,a.jpg,nv,train\nc1,c.jpg,nv,test", 3, ["'test'", "'train' in row 2"]),
        ("c1,a.jpg,nv,train\nc2,a.jpg,nv,test", 3, ["image 'a.jpg'", "leaks", "row 2"]),
        ("c1,a.jpg,nv,train set", 2, ["'train set'", "letters, digits"]),
        ("c1,a.jpg,nv,all", 2, ["'all'"]),
        (
            "c1,a.jpg,nv,External",
            None,
            ["no row has split 'train'", "splits in the file: External"],
        ),
        ("c1,a.jpg,nv, eczema,train", 2, ["5 values", "4 columns", "double quotes"]),
        ('c1,a.jpg,"nv,train', None, ["cannot be parsed", "double quote"]),
    ],
)
def test_row_error_names_file_and_row(folder, tmp_path, rows, row, words):
    root = folder(HEAD + rows)
    draw(tmp_path / "secret.jpg")
    os.symlink(tmp_path / "secret.jpg", root / "link.jpg")
    message = error_of(root)
    place = str(root / "manifest.csv") + (f", row {row}" if row else "")
    for word in [place, *words]:
        assert word in message
    assert message.endswith(".") and "\n" not in message


@pytest.mark.parametrize(
    "header, words",
    [
        ("case_id,image,label", ["'image_path' is missing", "found: case_id, image, label"]),
        ("Case ID,image_path", ["rename column 'Case ID' to 'case_id'"]),
        ("case_id,image_path,Label", ["rename column 'Label' to 'label'"]),
        ("case;image_path", ["'case_id' is missing", "found: case, image_path"]),
        ("case_id,image_path,age,age", ["'age' appears twice"]),
        ("case_id,image_path,,", ["column 3 has values but no name"]),
        ("case_id,image_path,mm/px", ["'mm/px'"]),
    ],
)
def test_header_error_lists_columns(folder, header, words):
    separator = ";" if ";" in header else ","
    columns = header.count(separator) + 1
    root = folder(header + "\n" + separator.join(["a.jpg"] * columns) + "\n")
    message = error_of(root)
    for word in [str(root / "manifest.csv") + ", row 1:", *words]:
        assert word in message


def test_patient_errors(folder):
    head = "case_id,image_path,patient_id,split\n"
    two_splits = error_of(folder(head + "c1,a.jpg,P7,train\nc2,c.jpg,P7,test\n"))
    for word in ("row 3", "patient 'P7'", "'test'", "'train' in row 2"):
        assert word in two_splits
    two_patients = error_of(folder(head + "c1,a.jpg,P7,train\nc1,c.jpg,P8,train\n"))
    for word in ("row 3", "case 'c1'", "'P8'", "'P7' in row 2"):
        assert word in two_patients
    assert "row 2: patient_id is blank" in error_of(folder(head + "c1,a.jpg,,train\n"))


def test_folder_errors(tmp_path):
    assert "does not exist" in error_of(tmp_path / "nowhere")
    (tmp_path / "file").touch()
    assert "is not a folder" in error_of(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert "is empty" in error_of(tmp_path / "empty")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "labels.csv").touch()
    assert "no manifest.csv (found: labels.csv)" in error_of(tmp_path / "other")
    (tmp_path / "other" / "manifest.csv").touch()
    assert "manifest.csv is empty" in error_of(tmp_path / "other")
    (tmp_path / "other" / "manifest.csv").write_bytes(b"case_id,image_path\n\0,a.jpg")
    assert "not plain text" in error_of(tmp_path / "other")


def test_unknown_on_bad_image(folder):
    assert "'ignore'" in error_of(folder(), on_bad_image="ignore")


# Oddities that are accepted


@pytest.mark.parametrize(
    "raw",
    [
        "case_id,image_path,label\r\n1,a.jpg,Nävus\r\n".encode("latin-1"),
        "case_id,image_path,label\n1,a.jpg,Nävus\n".encode("utf-8-sig"),
        "case_id,image_path,label,\n1,a.jpg,Nävus,\n,,,\n".encode(),
        "case_id,image_path,label,Unnamed: 3\n1,a.jpg,Nävus,\n".encode(),
        " case_id , image_path,label\n 1 , a.jpg,  Nävus \n".encode(),
    ],
    ids=["latin-1 CRLF", "BOM", "trailing column and row", "unnamed column", "blanks"],
)
def test_accepted_manifest(folder, raw):
    manifest = read_manifest(folder(raw))
    (case,) = manifest.cases
    assert (case.case_id, case.label, case.images[0].path) == ("1", "Nävus", "a.jpg")
    assert manifest.metadata_columns == () and manifest.patient_id_from == "case_id"


def test_ids_and_values_stay_text(folder):
    ids = ["007", "311a", "-9223372036854775808", "1e5"]
    rows = [
        f'{i},{name},"NA, or not",nan'
        for i, name in zip(ids, ("a.jpg", "sub/b.png", "c.jpg", "d.jpg"))
    ]
    manifest = read_manifest(folder("case_id,image_path,label,row\n" + "\n".join(rows)))
    assert [case.case_id for case in manifest.cases] == ids
    assert manifest.classes == ("NA, or not",)
    assert [(c.images[0].row, c.images[0].metadata) for c in manifest.cases] == [
        (i, ("nan",)) for i in range(2, 6)
    ]


# Splits


TWO_SPLITS = (
    "case_id,image_path,label,split,fold\n"
    "c1,a.jpg,nv,train,Test\nc1,sub/b.png,nv,train,Test\nc2,c.jpg,mel,validation,train\n"
    "c3,d.jpg,,train,external\n"
)


@pytest.mark.parametrize("table", [TWO_SPLITS, TWO_SPLITS.replace(",split,", ",age,")])
def test_another_column_names_the_splits(folder, tmp_path, table):
    root = folder(table)
    config = folder_config(str(root), split_column="fold")
    builder = prepare(config, tmp_path / "tfds")
    splits = {split: sorted(read(builder, split)) for split in builder.info.splits}
    assert splits == {"test": ["c1"], "train": ["c2"], "external": ["c3"]}
    assert builder.info.metadata["splits_from"] == "table"
    assert not {"fold", "split"} & set(config.manifest.metadata_columns)
    notes = [note for note in config.notes if "'split' is not read" in note]
    assert len(notes) == (table == TWO_SPLITS)
    # Another dataset than without the option; and that one is named as it always was.
    usual = folder_config(str(root)).name
    assert usual != config.name
    assert usual == folder_config(str(root), split_column="split").name


@pytest.mark.parametrize(
    "column, words",
    [
        (
            "folds",
            "row 1: --split_column=folds: there is no such column (found: case_id, image_path, ",
        ),
        ("label", "--split_column=label: that column holds no splits: name the one that does"),
    ],
)
def test_a_column_that_names_no_splits_is_refused(folder, column, words):
    assert words in error_of(folder(TWO_SPLITS), split_column=column)


def test_a_blank_cell_of_the_column_is_named_as_the_table_calls_it(folder):
    assert "fold is blank" in error_of(
        folder(TWO_SPLITS.replace("external", "")), split_column="fold"
    )


def test_folders_without_a_manifest_have_no_column_of_splits(folder):
    root = folder(TWO_SPLITS)
    (root / "manifest.csv").unlink()
    assert "--split_column=fold names a column of manifest.csv, and " in error_of(
        root, split_column="fold"
    )


def test_hash_split_is_the_same_everywhere_and_by_patient(tmp_path):
    # `printf P0 | sha256sum` begins with 28 (of 100: 0.16), P1 with fb (0.98), P15 d85d (0.845).
    pinned = {"P0": "train", "P1": "test", "P15": "validation", "é": "train"}
    assert {patient: hash_split(patient) for patient in pinned} == pinned
    rows = []
    for i in range(300):
        draw(tmp_path / f"{i}.png", size=(1, 1))
        rows.append(f"c{i},{i}.png,P{i // 2}")
    for order in (rows, rows[::-1]):
        text = "case_id,image_path,patient_id\n" + "\n".join(order)
        (tmp_path / "manifest.csv").write_text(text)
        cases = read_manifest(tmp_path).cases
        of_patient = {}
        for case in cases:
            of_patient.setdefault(case.patient_id, set()).add(case.split)
        assert all(splits == {hash_split(patient)} for patient, splits in of_patient.items())
    many = [hash_split(str(i)) for i in range(20000)]
    shares = [many.count(name) / len(many) for name in ("train", "validation", "test")]
    np.testing.assert_allclose(shares, [0.75, 0.10, 0.15], atol=0.01)


def test_no_patient_hashed_into_train(folder):
    outside = next(str(i) for i in range(99) if hash_split(str(i)) != "train")
    assert "none of the 1 patients" in error_of(folder(f"case_id,image_path\n{outside},a.jpg\n"))


# Fingerprint


def test_fingerprint_follows_whatever_decides_the_content(folder):
    root = folder()
    names = {folder_config(str(root)).name, folder_config(str(root), on_bad_image="skip").name}
    assert folder_config(str(root)).name in names  # nothing changed
    draw(root / "sub/b.png", seed=9)  # another image of the same size may have as many bytes
    names.add(folder_config(str(root)).name)
    os.utime(root / "d.jpg", ns=(1, 1))  # a copy has other times, and is the same data
    assert folder_config(str(root)).name in names
    draw(root / "d.jpg", seed=8)
    names.add(folder_config(str(root)).name)
    (root / "manifest.csv").write_text(GOOD.replace("mel", "bcc"))
    names.add(folder_config(str(root)).name)
    assert len(names) == 5
    assert all(len(name) == len("folder_") + 10 + 7 for name in names)
    everything = folder_config(str(root), keep_metadata="all")  # as before there was a choice
    assert everything.name == folder_config(str(root)).name[: len("folder_") + 10]


# Build


def test_round_trip(folder, tmp_path):
    manifest = (
        "case_id,image_path,label,patient_id,split,age (y),ort\n"
        "007,a.jpg,nv,P1,train,4,Öhr\n007,sub/b.png,,P1,train,5,\n"
        "x,c.jpg,mel,P2,validation,6,arm\ny,d.jpg,,P1,train,7,leg\n"
    )
    root = folder(manifest)
    prepare(folder_config(str(root), keep_metadata="all"), tmp_path / "tfds")
    builder = Builder(
        config=folder_config(str(root), keep_metadata="all"), data_dir=tmp_path / "tfds"
    )
    assert builder.name == "derm_bags" and builder.is_prepared()
    train = read(builder, "train")
    assert set(train) == {"007", "y"} and set(read(builder, "validation")) == {"x"}
    bag = train["007"]
    files = [(root / name).read_bytes() for name in ("a.jpg", "sub/b.png")]
    assert bag["images"].tolist() == files  # different sizes, undecoded: [K]
    assert bag["image_ids"].tolist() == [b"a.jpg", b"sub/b.png"]
    assert bag["patient_id"] == b"P1"
    names = builder.info.features["label"].names
    assert names == ["mel", "nv"] and bag["label"] == 1 and train["y"]["label"] == -1
    assert bag["metadata"]["age (y)"].tolist() == [b"4", b"5"]
    assert bag["metadata"]["ort"].tolist() == ["Öhr".encode(), b""]
    spec = builder.as_dataset(split="train", decoders=ENCODED).element_spec["images"]
    assert spec == tf.TensorSpec([None], tf.string)
    info = dict(builder.info.metadata)
    assert len(info.pop("fingerprint")) == 64
    assert info == {
        "kept_metadata": {"columns": ["age (y)", "ort"], "file_names": True},
        "num_images": {"train": 3, "validation": 1},
        "num_bags": {"train": 2, "validation": 1},
        "num_patients": 2,
        "skipped_images": [],
        "passed_over": {},
        "image_notes": {},
        "source": str(root),
        "patient_id_from": "patient_id",
        "splits_from": "table",
        "layout": "manifest",
        "table_notes": ["1 of 3 cases have no label."],
    }


def test_without_labels_and_metadata_there_are_no_such_features(folder, tmp_path):
    root = folder("case_id,image_path,label,split\nc1,a.jpg,,train\n")
    builder = prepare(folder_config(str(root)), tmp_path / "tfds")
    assert set(read(builder, "train")["c1"]) == {"bag_id", "patient_id", "images", "image_ids"}
    assert builder.info.metadata["patient_id_from"] == "case_id"


def test_bad_image_is_an_error_and_leaves_nothing(folder, tmp_path):
    root = folder()
    whole = (root / "sub/b.png").read_bytes()
    (root / "sub/b.png").write_bytes(whole[:-30])
    builder = Builder(config=folder_config(str(root)), data_dir=tmp_path / "tfds")
    with pytest.raises(DataError) as caught:
        builder.download_and_prepare()
    for word in ("manifest.csv, row 3", "'sub/b.png'", "truncated", "--on_bad_image=skip"):
        assert word in str(caught.value)
    assert not builder.is_prepared()
    assert not list((tmp_path / "tfds").rglob("*tfrecord*"))
    (root / "sub/b.png").write_bytes(whole)
    builder.download_and_prepare()  # the same builder, after the file was mended
    assert builder.info.metadata["num_images"] == {"train": 3, "validation": 1}


def test_skip_leaves_out_and_records(folder, tmp_path):
    root = folder()
    (root / "sub/b.png").write_bytes(b"")
    (root / "c.jpg").write_text("no image")  # the only image of the only validation case
    (root / "d.jpg").unlink()
    (root / "d.jpg").write_bytes(b"\xff\xd8\xff")
    config = folder_config(str(root), on_bad_image="skip", keep_metadata="all")
    prepare(config, tmp_path / "tfds")
    builder = Builder(config=config, data_dir=tmp_path / "tfds")
    assert set(builder.info.splits) == {"train"}
    assert read(builder, "train")["c1"]["image_ids"].tolist() == [b"a.jpg"]
    skipped = builder.info.metadata["skipped_images"]
    assert [s[:2] for s in skipped] == [[3, "sub/b.png"], [4, "c.jpg"], [5, "d.jpg"]]
    assert skipped[0][2] == "the file has 0 bytes" and skipped[1][2].startswith("not an image")
    assert builder.info.metadata["num_bags"] == {"train": 1}
    assert builder.info.metadata["num_patients"] == 1


def test_skip_everything_is_an_error(folder, tmp_path):
    root = folder()
    for name in ("a.jpg", "sub/b.png", "d.jpg"):
        (root / name).write_bytes(b"")
    config = folder_config(str(root), on_bad_image="skip")
    with pytest.raises(DataError, match="no image of split 'train' is readable"):
        prepare(config, tmp_path / "tfds")


def test_interrupted_build_is_not_taken_for_a_complete_one(folder, tmp_path, monkeypatch):
    config = folder_config(str(folder()))
    # What a killed build leaves: TFDS writes to incomplete.*, and renames at the end.
    debris = tmp_path / "tfds/derm_bags" / config.name / "incomplete.ABCDEF_1.0.0"
    debris.mkdir(parents=True)
    (debris / "derm_bags-train.tfrecord-00000-of-00001").write_bytes(b"half")

    def stop(path, long_side, dicom_frame):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(read_ahead, "load_encoded", stop)
        prepare(config, tmp_path / "tfds")
    assert not Builder(config=config, data_dir=tmp_path / "tfds").is_prepared()
    assert len(read(prepare(config, tmp_path / "tfds"), "train")) == 2


# Demo


def test_demo_subset(tmp_path):
    config = DermBagsConfig(name="demo_5", num_cases=5)
    first, again = (prepare(config, tmp_path / name) for name in ("one", "two"))
    cases = {case.case_id: case for case in demo.demo_cases(seed=0, num_cases=5)}
    stored = {}
    for split in first.info.splits:
        for case_id, bag in read(first, split).items():
            case = cases[case_id]
            assert (split, len(bag["images"])) == (case.split, len(case.images))
            assert first.info.features["label"].int2str(bag["label"]) == case.condition
            assert bag["image_ids"][0].decode() == f"{case_id}/0.jpg"
            assert set(bag["metadata"]) == set(case.metadata)
            decoded = tf.io.decode_jpeg(bag["images"][0]).numpy().astype(int)
            assert np.abs(decoded - case.images[0]).mean() < 6
            assert bag["images"].tolist() == read(again, split)[case_id]["images"].tolist()
            stored[case_id] = bag
    assert set(stored) == set(cases)
    assert "seed 0" in first.info.metadata["source"]


def test_demo_is_registered(tmp_path):
    builder = tfds.builder("derm_bags/demo", data_dir=tmp_path)
    assert isinstance(builder, Builder) and builder.builder_config.num_cases == 1200
    assert builder.info.features["label"].names == sorted(demo.CONDITIONS)
    assert "manifest.csv" in builder.info.description and "azizi" in builder.info.citation


def test_demo_shift_is_registered_with_the_classes_of_the_demo(tmp_path):
    # Equal class numbers: a model fine-tuned on demo is evaluated on demo_shift as it is.
    builder = tfds.builder("derm_bags/demo_shift", data_dir=tmp_path)
    assert builder.builder_config.num_cases == 360
    assert builder.info.features["label"].names == sorted(demo.CONDITIONS)
    splits = [row[2] for row in demo.catalogue(0, 0, ELSEWHERE)]
    size = splits.index("train") + 1
    config = DermBagsConfig(name="shift_few", clinic=ELSEWHERE, num_cases=size)
    prepared = prepare(config, tmp_path)
    bags = {split: list(read(prepared, split)) for split in prepared.info.splits}
    assert bags["train"] == [f"shift_case_{size - 1:05d}"] and len(bags["test"]) == size - 1
    here = prepare(DermBagsConfig(name="demo_few", num_cases=size), tmp_path)
    ids_here = {case_id for split in here.info.splits for case_id in read(here, split)}
    assert len(ids_here) == size and not ids_here & {*bags["train"], *bags["test"]}
    assert here.info.metadata["fingerprint"] != prepared.info.metadata["fingerprint"]


class StockTest(tfds.testing.DatasetBuilderTestCase):
    """TFDS's own test of a builder. It decodes, so the images of a bag have one size here."""

    DATASET_CLASS = Builder
    SPLITS: ClassVar = {"train": 2, "test": 1}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls._folder = tempfile.TemporaryDirectory()
        root = pathlib.Path(cls._folder.name)
        for i in range(4):
            draw(root / f"{i}.png", seed=i)
        rows = "a,0.png,x,train\na,1.png,x,train\nb,2.png,y,train\nc,3.png,y,test\n"
        (root / "manifest.csv").write_text(HEAD + rows)
        cls.EXAMPLE_DIR = str(root)
        cls.BUILDER_CONFIG_NAMES_TO_TEST = [folder_config(str(root))]

    @classmethod
    def tearDownClass(cls):
        cls._folder.cleanup()
        super().tearDownClass()
