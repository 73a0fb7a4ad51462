"""verify: counts against numbers counted by hand, and an error message for everything wrong."""

import io
import shutil

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from tfds_builders.contact_sheet import SHEET_WIDTH, contact_sheet, font_text
from tfds_builders.derm_bags import Builder, DermBagsConfig, folder_config
from tfds_builders.verify import LabelCounts, verify
from tfds_builders.verify_tables import tables


def draw(path, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 24, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def prepared(builder):
    builder.download_and_prepare()
    return builder


# Two images of train come back in validation and test under other names; d and e are one image
# in one split; g is broken.
MANIFEST = """case_id,image_path,label,patient_id,split
c1,a.jpg,nv,P1,train
c1,b.png,nv,P1,train
c2,c.jpg,mel,P1,train
c3,d.jpg,,P2,train
c4,e.jpg,nv,P3,train
c5,copy_of_b.png,nv,P4,validation
c5,g.jpg,nv,P4,validation
c6,copy_of_a.jpg,mel,P5,test
c6,h.jpg,mel,P5,test
"""


@pytest.fixture(scope="module")
def derm(tmp_path_factory):
    """A prepared folder of photographs with every mistake that the builder lets through."""
    root = tmp_path_factory.mktemp("data")
    for seed, name in enumerate(("a.jpg", "b.png", "c.jpg", "d.jpg", "h.jpg")):
        draw(root / name, seed)
    for original, copy in (
        ("a.jpg", "copy_of_a.jpg"),
        ("b.png", "copy_of_b.png"),
        ("d.jpg", "e.jpg"),
    ):
        shutil.copy(root / original, root / copy)
    (root / "g.jpg").write_bytes(b"")
    (root / "manifest.csv").write_text(MANIFEST)
    config = folder_config(str(root), on_bad_image="skip")
    return prepared(Builder(config=config, data_dir=tmp_path_factory.mktemp("tfds")))


def test_derm_counts(derm):
    result = verify(derm)
    assert result.dataset.startswith("derm_bags/folder_")
    train, validation, test = (result.splits[name] for name in ("train", "validation", "test"))
    assert (train.bags, train.images, train.patients, train.repeated_images) == (4, 5, 3, 1)
    assert (validation.bags, validation.images, validation.patients) == (1, 1, 1)
    assert (test.bags, test.images, test.repeated_images) == (1, 2, 0)
    assert train.bag_sizes == {1: 3, 2: 1} and test.bag_sizes == {2: 1}
    assert train.classes == {"nv": 2, "mel": 1, "(no label)": 1} and test.classes == {"mel": 1}
    assert train.labels == {} and train.views == {}
    assert set(result.common_patients.values()) == {()}
    assert result.common_images == {
        ("train", "validation"): (("b.png", "copy_of_b.png"),),
        ("train", "test"): (("a.jpg", "copy_of_a.jpg"),),
        ("validation", "test"): (),
    }
    assert result.unreadable == ((8, "g.jpg", "the file has 0 bytes"),) and result.num_missing == 0


def test_derm_problems_are_sentences(derm):
    problems = verify(derm).problems
    assert len(problems) == 3
    for words, problem in zip(
        (["'train' and 'validation'", ": 1 (b.png = copy_of_b.png)", "Remove"],
         ["'train' and 'test'", "a.jpg = copy_of_a.jpg"],
         ["left out: 1 (row 8, g.jpg: the file has 0 bytes)"]), problems):  # fmt: skip
        for word in words:
            assert word in problem
        assert problem.endswith(".") and "\n" not in problem


def test_derm_tables(derm):
    contents = {title: (columns, rows) for title, columns, rows in tables(verify(derm))}
    assert contents["Splits"] == (
        ["split", "bags", "images", "patients", "repeated images"],
        [
            ["train", "4", "5", "3", "1"],
            ["validation", "1", "1", "1", "0"],
            ["test", "1", "2", "1", "0"],
        ],
    )
    assert contents["Bags by number of images"] == (
        ["images", "train", "validation", "test"],
        [["1", "3", "1", "0"], ["2", "1", "0", "1"]],
    )
    assert contents["Bags by label"][1] == [
        ["(no label)", "1 (25.0%)", "0 (0.0%)", "0 (0.0%)"],
        ["mel", "1 (25.0%)", "0 (0.0%)", "1 (100.0%)"],
        ["nv", "2 (50.0%)", "1 (100.0%)", "0 (0.0%)"],
    ]
    assert contents["In common"][0] == [
        "splits",
        "patients (by patient_id)",
        "images",
        "look the same",
    ]
    assert contents["In common"][1][0] == ["train, validation", "0", "1", "0"]
    assert contents["Left out"][1] == [["unreadable", "1"], ["missing", "0"]]
    assert "Published numbers" not in contents


def test_a_few_cases_of_the_demo_have_no_problem_but_classes_that_are_not_there(tmp_path):
    config = DermBagsConfig(name="demo_8", num_cases=8)
    result = verify(prepared(Builder(config=config, data_dir=tmp_path)))
    train = result.splits["train"].classes
    untrained = [name for name in result.classes if name not in train]
    (problem,) = result.problems  # 8 cases have not all 10 conditions
    assert problem.startswith(f"Classes without a case in 'train': {', '.join(untrained)}.")
    assert sum(counts.bags for counts in result.splits.values()) == 8


# Chest X-rays


def studies():
    """(split, patient, views, {label: value}) of each study; P3 is in train and test."""
    nan = np.nan
    yield "train", "P1", ["frontal", "lateral"], {"Edema": 1, "Lung Lesion": nan}
    yield "train", "P1", ["frontal"], {"Edema": -1, "Lung Lesion": nan}
    yield "train", "P2", ["frontal"] * 8, {"Edema": 0, "Lung Lesion": 1}
    yield "train", "P3", ["frontal"], {"Edema": nan, "Lung Lesion": -1}
    yield "test", "P3", ["lateral"], {"Edema": -1, "Lung Lesion": 0}


EXPECTED = {
    "images": 13,
    "patients": 3,
    "studies in train": 5,
    "patients in train+other": 3,
    "frontal": 11,
    "lateral in test": 2,
}


class DrawnCxr(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """Has the features of our builders of chest X-rays; what it writes is wrong on purpose."""

    VERSION = tfds.core.Version("1.0.0")

    def _info(self):
        text, texts = tfds.features.Text(), tfds.features.Sequence(tfds.features.Text())
        names = ("Edema", "Lung Lesion")
        features = {
            "bag_id": text,
            "patient_id": text,
            "images": tfds.features.Sequence(tfds.features.Image(shape=(None, None, 3))),
            "image_ids": texts,
            "views": texts,
            "labels": {name: tfds.features.Scalar(np.float32) for name in names},
        }
        return tfds.core.DatasetInfo(
            builder=self,
            features=tfds.features.FeaturesDict(features),
            disable_shuffling=True,
            metadata=tfds.core.MetadataDict(),
        )

    def _split_generators(self, dl_manager):
        self.info.metadata.update(
            source="/data/cxr",
            patient_id_from="patient_id",
            skipped_images=[],
            missing_images=25,
            missing_examples=[f"train/{i}.jpg" for i in range(20)],
            named_splits={"small": "train[:2]"},
            expected=EXPECTED,
        )
        return {split: self._generate_examples(split) for split in ("train", "test")}

    def _generate_examples(self, split):
        for number, (where, patient, views, labels) in enumerate(studies()):
            if where == split:
                images = [self.image(seed=10 * number + i) for i in range(len(views))]
                yield (
                    number,
                    {
                        "bag_id": f"{patient}/study{number}",
                        "patient_id": patient,
                        "images": images,
                        "image_ids": [f"{number}/{i}.jpg" for i in range(len(views))],
                        "views": views,
                        "labels": labels,
                    },
                )

    def image(self, seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (8 + seed, 9), np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        return buffer.getvalue()


@pytest.fixture(scope="module")
def cxr(tmp_path_factory):
    return prepared(DrawnCxr(data_dir=tmp_path_factory.mktemp("tfds")))


def test_cxr_counts(cxr):
    result = verify(cxr)
    train, test, small = result.splits["train"], result.splits["test"], result.named_splits["small"]
    assert train.views == {"frontal": 11, "lateral": 1} and test.views == {"lateral": 1}
    assert train.labels["Edema"] == LabelCounts(positive=2, negative=8, uncertain=1, blank=1)
    assert train.labels["Lung Lesion"] == LabelCounts(positive=8, negative=0, uncertain=1, blank=3)
    assert train.labels["Edema"].prevalence("zeros") == 2 / 12
    assert train.labels["Edema"].prevalence("ones") == 3 / 12
    assert (small.bags, small.images, small.patients) == (2, 3, 1)
    assert small.labels["Edema"] == LabelCounts(positive=2, negative=0, uncertain=1, blank=0)
    assert result.common_patients == {("train", "test"): ("P3",)}
    assert result.expected == {
        "images": (13, 13),
        "patients": (3, 3),
        "studies in train": (5, 4),
        "patients in train+other": (3, 3),
        "frontal": (11, 11),
        "lateral in test": (2, 1),
    }


def test_cxr_problems(cxr):
    assert verify(cxr).problems == [
        "Patients in both 'train' and 'test': 1 (P3). What is learnt from one leaks into the "
        "other: give each patient one split.",
        "Images that the table has and /data/cxr has not: 25 (train/0.jpg; train/1.jpg; "
        "train/2.jpg; and 22 more). Complete the download, or say with --on_missing_image=skip that a "
        "part is meant.",
        "studies in train: 5 were published, 4 found.",
        "lateral in test: 2 were published, 1 found.",
    ]


def test_cxr_tables(cxr):
    contents = {title: (columns, rows) for title, columns, rows in tables(verify(cxr))}
    assert contents["Splits"][0][4:] == ["frontal", "lateral", "repeated images"]
    assert contents["Splits"][1][2] == ["small", "2", "3", "1", "2", "1", ""]
    assert contents["Bags by number of images"][1][-1] == ["7 and more", "1", "0"]
    columns, rows = contents["Labels of train, by image"]
    assert columns == ["label", "positive", "negative", "uncertain", "blank", "U-Zeros", "U-Ones"]
    assert rows[0] == ["Edema", "2", "8", "1", "1", "0.167", "0.250"]
    assert contents["Published numbers"][1][2] == ["studies in train", "5", "4"]
    assert contents["Left out"][1][1] == ["missing", "25"]


def test_an_expected_number_that_nobody_counts(cxr, monkeypatch):
    monkeypatch.setitem(cxr.info.metadata, "expected", {"nodules": 3})
    with pytest.raises(ValueError, match="'nodules'"):
        verify(cxr)


# The contact sheet


def test_contact_sheet_is_the_same_each_time_and_shows_every_split(derm, tmp_path):
    for name in ("one.png", "two.png"):
        contact_sheet(derm, tmp_path / name)
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "two.png").read_bytes()
    sheet = Image.open(tmp_path / "one.png")
    assert sheet.width == SHEET_WIDTH
    # One row of tiles and a heading a split: three times 144 + 2 * 17 and 21, and gaps of 12.
    assert sheet.height == 3 * (144 + 34 + 21) + 7 * 12


def test_contact_sheet_letterboxes_and_spreads_over_a_large_split(cxr, tmp_path, monkeypatch):
    monkeypatch.setattr("tfds_builders.contact_sheet.BAGS_PER_SPLIT", 2)
    shown = []
    monkeypatch.setattr(
        "tfds_builders.contact_sheet.label_text",
        lambda builder, example: shown.append(example["bag_id"].decode()) or "",
    )
    contact_sheet(cxr, tmp_path / "sheet.png")
    assert shown == ["P1/study0", "P2/study2", "P3/study4"]
    pixels = np.asarray(Image.open(tmp_path / "sheet.png"))
    first = pixels[12 + 21 + 12 :, 12:][:144, :144]  # an image of 9 x 8 pixels: bands above, below
    bands = (first == 225).all((1, 2))
    assert bands[:8].all() and bands[-8:].all() and not bands[8:-8].any()


def test_text_that_the_font_cannot_show():
    assert font_text("Nävus, 5 µm, 母斑") == "Navus, 5 ?m, ??"
