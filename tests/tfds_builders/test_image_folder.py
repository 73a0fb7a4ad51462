"""derm_bags: images in folders named after labels and splits; cases by --bag_regex, or one each."""

import re

import numpy as np
import pytest
from PIL import Image

from tfds_builders.derm_bags.layouts import shapes
from tfds_builders.derm_bags.manifest import read_manifest
from tfds_builders.errors import DataError
from tfds_builders.splits import canonical_split, canonical_splits, hash_split


def draw(root, names):
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((2, 3 + i % 5, 3), i % 256, np.uint8)).save(path)
    return root


def error_of(root, **options):
    with pytest.raises(DataError) as caught:
        read_manifest(root, **options)
    message = str(caught.value)
    assert message.endswith(".") and ("\n" in message) == (" problems in " in message)
    return message


def advised(message):
    """Returns the regular expression with a label that an error message advises."""
    (regex,) = [
        text
        for text in re.findall(r"--bag_regex(?:=|, as in )'([^']+)'", message)
        if "label" in text
    ]
    return regex


def images_of(manifest):
    """Returns path -> (case, patient, label, split)."""
    return {
        image.path: (case.case_id, case.patient_id, case.label, case.split)
        for case in manifest.cases
        for image in case.images
    }


# Names of splits


def test_spellings_of_splits():
    usual = {
        "train": ("train", "Train", "TRAIN", "training", "Training", "trn", " train "),
        "validation": ("val", "VAL", "valid", "Validation", "dev", "Dev"),
        "test": ("test", "Test", "TESTING", "tst"),
    }
    for name, spellings in usual.items():
        assert {canonical_split(text) for text in spellings} == {name}
    for other in ("holdout", "Holdout", "external", "trainval", "all", "", "fold0"):
        assert canonical_split(other) == other


def test_spellings_are_counted_and_others_that_differ_in_case_are_one():
    names = ["Train", "train", "TRAIN", "Train", "Fold", "fold", "dev"]
    new, renamed = canonical_splits(names)
    assert new == ["train"] * 4 + ["Fold"] * 2 + ["validation"]
    assert renamed == {
        "Train": ("train", 2),
        "TRAIN": ("train", 1),
        "fold": ("Fold", 1),
        "dev": ("validation", 1),
    }


def test_holdout_is_test_unless_there_is_another():
    assert canonical_splits(["train", "Holdout", "hold-out"])[0] == ["train", "test", "test"]
    assert canonical_splits(["train", "holdout"])[1] == {"holdout": ("test", 1)}
    two = ["train", "Holdout", "Test", "holdout"]
    assert canonical_splits(two)[0] == ["train", "Holdout", "test", "Holdout"]


def manifest_of(root, splits, patients=None):
    """Writes a manifest with a case for each name of a split."""
    draw(root, [f"{i}.png" for i in range(len(splits))])
    lines = ["case_id,image_path,label,patient_id,split"]
    for i, split in enumerate(splits):
        patient = patients[i] if patients else f"p{i}"
        lines.append(f"c{i},{i}.png,{'ab'[i % 2]},{patient},{split}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def test_a_manifest_s_splits_are_renamed_and_that_is_said(tmp_path):
    splits = ["Train", "train", "TRAIN", "val", "valid", "test", "Test", "holdout"]
    manifest = read_manifest(manifest_of(tmp_path, splits))
    assert [case.split for case in manifest.cases] == [
        *["train"] * 3,
        *["validation"] * 2,
        *["test"] * 2,
        "holdout",
    ]
    (note,) = manifest.notes
    for words in ("'Train' is train (1 images)", "'val' is validation", "'Test' is test"):
        assert words in note
    assert "'holdout'" not in note and manifest.renamed_splits["TRAIN"] == ("train", 1)


def test_a_patient_in_two_spellings_of_a_split_is_fine_and_in_two_splits_is_not(tmp_path):
    manifest = read_manifest(manifest_of(tmp_path / "a", ["Train", "training"], ["p", "p"]))
    assert {case.split for case in manifest.cases} == {"train"}
    message = error_of(manifest_of(tmp_path / "b", ["TRAIN", "Testing"], ["p", "p"]))
    assert "patient 'p' has split 'test', but 'train' in row 2" in message


def test_a_manifest_without_odd_spellings_keeps_its_fingerprint(tmp_path):
    """A copy that an earlier version prepared is found; one with eight splits is not taken for it."""
    root = manifest_of(tmp_path, ["train", "validation"])
    plain = read_manifest(root)
    assert plain.notes == () and plain.renamed_splits == {}
    odd = (root / "manifest.csv").read_text().replace(",train", ",Train")
    (root / "manifest.csv").write_text(odd)
    renamed = read_manifest(root)
    assert renamed.fingerprint != plain.fingerprint
    assert images_of(renamed) == images_of(plain)


# label/image


def test_each_image_is_a_case(tmp_path):
    names = ["nevus/1.png", "nevus/2.jpg", "mel in situ/1.png", "mel in situ/3.PNG"]
    manifest = read_manifest(draw(tmp_path, names))
    assert manifest.layout == "image_folder" and manifest.classes == ("mel in situ", "nevus")
    assert images_of(manifest) == {
        name: (name, name, name.split("/")[0], hash_split(name)) for name in names
    }
    (note,) = manifest.notes
    for words in ("label/image", "labels mel in situ, nevus", "each of the 4 images is a case"):
        assert words in note


def test_splits_of_folders(tmp_path):
    names = ["Train/nv/1.png", "Train/mel/2.png", "VAL/nv/3.png", "VAL/mel/4.png", "test/mel/5.png"]
    manifest = read_manifest(draw(tmp_path, names))
    assert {path: of_path[2:] for path, of_path in images_of(manifest).items()} == {
        "Train/nv/1.png": ("nv", "train"),
        "Train/mel/2.png": ("mel", "train"),
        "VAL/nv/3.png": ("nv", "validation"),
        "VAL/mel/4.png": ("mel", "validation"),
        "test/mel/5.png": ("mel", "test"),
    }
    assert manifest.layout == "image_folder" and manifest.splits_from == "table"
    read_as, renamed = manifest.notes
    assert "split/label/image (train 2, validation 2, test 1 images)" in read_as
    assert "'Train' is train (2 images), 'VAL' is validation (2 images)" in renamed


def test_other_splits_stay_if_their_labels_are_known(tmp_path):
    manifest = read_manifest(draw(tmp_path, ["train/a/1.png", "train/b/2.png", "external/a/3.png"]))
    assert images_of(manifest)["external/a/3.png"][2:] == ("a", "external")


def test_one_label_and_only_a_train_folder_are_read(tmp_path):
    assert read_manifest(draw(tmp_path / "one", ["train/a/1.png", "test/a/2.png"])).classes == (
        "a",
    )
    manifest = read_manifest(draw(tmp_path / "two", ["train/a/1.png", "train/b/2.png"]))
    assert {case.split for case in manifest.cases} == {"train"}


def test_label_case_image_with_one_image_a_case_stays_a_tree(tmp_path):
    manifest = read_manifest(draw(tmp_path, [f"{'ab'[i % 2]}/{i}/x.png" for i in range(20)]))
    assert manifest.layout == "tree"
    assert {case.case_id for case in manifest.cases} == {f"{'ab'[i % 2]}/{i}" for i in range(20)}
    assert "label/case/image: labels a, b; 20 cases, 20 images" in manifest.notes[0]


def test_labels_in_folders_of_clinics_are_not_taken_for_cases(tmp_path):
    names = [
        f"clinic {x}/{label}/{i}.png" for x in "AB" for label in ("mel", "nv") for i in range(6)
    ]
    message = error_of(draw(tmp_path, names))
    assert "each of the folders mel, nv is in each of clinic A, clinic B" in message
    manifest = read_manifest(tmp_path, bag_regex=advised(message))
    assert manifest.classes == ("mel", "nv") and len(manifest.cases) == 24


@pytest.mark.parametrize(
    "names, words",
    [
        (["images_001/1.png", "images_002/2.png"], "numbered parts or persons"),
        (["patient-1/a.png", "patient-2/b.png"], "numbered parts or persons"),
        (["0017/a.png", "0018/b.png"], "numbers of cases or patients"),
        (["2021-03-04/a.png", "2021-03-05/b.png"], "numbers of cases or patients, or dates"),
        (["images/a.png", "masks/a.png"], "forms of the same images"),
        (["scans/a.png", "scans/b.png"], "one folder of everything"),
        (["train/a.png", "nevus/b.png"], "splits, but for some of them"),
        ([f"{name}/{i}.png" for name in "abcdefghijkl" for i in range(3)], "12 cases or patients"),
    ],
)
def test_folders_that_are_no_labels_are_not_taken_for_labels(tmp_path, names, words):
    draw(tmp_path, names)
    message = error_of(tmp_path)
    for word in (words, "(?P<label>", "to read the images without labels give --bag_regex"):
        assert word in message
    manifest = read_manifest(tmp_path, bag_regex="(.+)") if _has_train(names) else None
    assert manifest is None or manifest.classes == ()


def _has_train(names):
    return any(hash_split(name) == "train" for name in names)


def test_what_looks_like_no_label_may_be_said_to_be_one(tmp_path):
    names = [f"site{i % 2}/{i // 2}.png" for i in range(12)]
    regex = advised(error_of(draw(tmp_path, names)))
    manifest = read_manifest(tmp_path, bag_regex=regex)
    assert manifest.classes == ("site0", "site1") and manifest.layout == "image_folder"
    name = "site1/3.png"
    assert images_of(manifest)[name][:3] == (name, name, "site1") and len(manifest.cases) == 12


@pytest.mark.parametrize("name", ["train/a/1.png", "val/b/x/1.png"])
def test_the_folder_around_the_data_is_named(tmp_path, name):
    message = error_of(draw(tmp_path, [f"chest_xray/{name}"]))
    assert f"everything is in one folder: give --manual_dir={tmp_path}/chest_xray; " in message


def test_an_image_beside_folders_of_labels_is_named(tmp_path):
    message = error_of(draw(tmp_path, ["a/1.png", "b/2.png", "stray.png"]))
    assert "stray.png is not placed as 'a/1.png' is" in message


def test_a_table_that_is_not_read_is_named(tmp_path):
    draw(tmp_path, [f"{'ab'[i % 2]}/{i}.png" for i in range(12)])
    (tmp_path / "labels.csv").write_text("x\n1\n")
    assert "Not read: labels.csv" in read_manifest(tmp_path).notes[0]


def test_files_that_are_passed_over_are_counted_by_extension(tmp_path):
    draw(tmp_path, [f"{'ab'[i % 2]}/{i}.png" for i in range(12)])
    for name in ("c/IM0001", "c/IM0002", "c/x.HEIC", "a/notes.txt", ".DS_Store", "b/._1.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    manifest = read_manifest(tmp_path)
    assert manifest.classes == ("a", "b")
    assert "4 files (without an extension 2, .heic 1, .txt 1)" in manifest.notes[0]


@pytest.mark.parametrize("names", [["0", "1", "2"], ["grade 1", "grade 2"], ["ISUP-4", "ISUP-5"]])
def test_numbered_labels_are_labels(names):
    assert shapes.not_labels(names) == ""


# By --bag_regex


def test_bag_regex_keeps_the_labels(tmp_path):
    names = [f"{'ab'[i // 2 % 2]}/p{i // 4}_c{i // 2}_{i}.png" for i in range(40)]
    regex = r"(?P<patient>p\d+)_(?P<case>c\d+)_"
    manifest = read_manifest(draw(tmp_path, names), bag_regex=regex)
    assert len(manifest.cases) == 20 and manifest.layout == "image_folder"
    for i, name in enumerate(names):
        patient = f"p{i // 4}"
        expected = (f"c{i // 2}", patient, "ab"[i // 2 % 2], hash_split(patient))
        assert images_of(manifest)[name] == expected
    assert "20 cases by --bag_regex, labels from the folders" in manifest.notes[0]
    assert manifest.patient_id_from == "bag_regex"


def test_bag_regex_keeps_labels_and_splits(tmp_path):
    names = ["train/a/c1_1.png", "train/a/c1_2.png", "train/b/c2_1.png", "val/b/c3_1.png"]
    manifest = read_manifest(draw(tmp_path, names), bag_regex=r"(c\d)_")
    assert {case.case_id: (case.label, case.split) for case in manifest.cases} == {
        "c1": ("a", "train"),
        "c2": ("b", "train"),
        "c3": ("b", "validation"),
    }
    draw(tmp_path, ["val/a/c1_9.png"])
    assert "patient 'c1' has split" in error_of(tmp_path, bag_regex=r"(c\d)_")


def test_folders_that_are_cases_or_views_are_no_labels(tmp_path):
    cases = draw(tmp_path / "cases", [f"{name}/{i}.png" for name in "abcdefgh" for i in range(6)])
    manifest = read_manifest(cases, bag_regex="([^/]+)/[^/]+$")
    assert manifest.classes == () and manifest.layout == "images"
    assert "Read without labels: each folder is one case" in manifest.notes[0]
    views = draw(
        tmp_path / "views", [f"{view}/c{i}.png" for view in ("near", "far") for i in range(9)]
    )
    manifest = read_manifest(views, bag_regex=r"(c\d)")
    assert manifest.classes == () and len(manifest.cases) == 9
    assert "9 of 9 cases with several images have them in several folders" in manifest.notes[0]


def test_one_case_in_the_folders_of_two_labels_is_a_conflict_not_a_loss_of_all_labels(tmp_path):
    names = [f"{'ab'[i // 2 % 2]}/c{i // 2}_{i}.png" for i in range(20)]
    draw(tmp_path, [*names, "b/c0_99.png"])
    message = error_of(tmp_path, bag_regex=r"(c\d+)_")
    assert "case 'c0' has label 'b', but 'a' in 'a/c0_0.png'" in message


def test_images_in_folders_of_splits_alone_keep_the_splits(tmp_path):
    names = ["train/1.png", "Train/2.png", "test/3.png"]
    draw(tmp_path, names)
    assert "has no manifest.csv" in error_of(tmp_path)
    manifest = read_manifest(tmp_path, bag_regex="(.+)")
    assert {path: of_path[3] for path, of_path in images_of(manifest).items()} == {
        "train/1.png": "train",
        "Train/2.png": "train",
        "test/3.png": "test",
    }
    assert "Splits are those of the folders Train, test, train" in manifest.notes[0]
    draw(tmp_path, ["more/a/4.png", "more/b/5.png", "more/b/6.png", "more/b/7.png"])
    manifest = read_manifest(tmp_path, bag_regex="(.+)")
    assert manifest.splits_from == "hash"
    assert "not used as splits: more is beside them" in " ".join(manifest.notes)


def test_a_folder_holdout_is_the_test_split(tmp_path):
    draw(tmp_path, ["train/1.png", "holdout/2.png"])
    manifest = read_manifest(tmp_path, bag_regex="(.+)")
    assert [case.split for case in manifest.cases] == ["test", "train"]


def test_a_group_for_the_label_reads_any_folders(tmp_path):
    names = [f"2021/w{i % 2}/{'xy'[i % 2]}-{i}.png" for i in range(12)]
    manifest = read_manifest(draw(tmp_path, names), bag_regex=r"(?P<label>[xy])-(?P<case>\d+)")
    assert manifest.classes == ("x", "y") and images_of(manifest)[names[3]][:3] == ("3", "3", "y")
