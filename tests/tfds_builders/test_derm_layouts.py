"""derm_bags: the layouts of folders other than manifest.csv, and labels with weights."""

import collections
import os
import random
import re

import numpy as np
import pytest
import tensorflow_datasets as tfds

from helpers import ROOT
from helpers.derm_folders import draw, ham_folder, pad_folder, scin_folder, write_csv
from tfds_builders.derm_bags import Builder, folder_config
from tfds_builders.derm_bags.labels import OTHER, commonest, gather, parse_label
from tfds_builders.derm_bags.manifest import read_manifest
from tfds_builders.errors import DataError
from tfds_builders.splits import hash_split

ENCODED = {"images": tfds.decode.SkipDecoding()}
# Ids that a float cannot hold (TRAPS: 5,028 of SCIN's 5,033), among them the ends of the range.
BIG = ["-9223372036854775808", "9223372036854775807", "-5156441036700827606", "4"]
IN_TRAIN = [f"in{i}" for i in range(60) if hash_split(f"in{i}") == "train"]

HAM_LESION = next(i for i in range(60) if hash_split(f"HAM_{i:07d}") == "train")


def prepare(root, data_dir, **options):
    builder = Builder(config=folder_config(str(root), **options), data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def read(builder):
    """Returns bag id -> example, of all splits."""
    bags = {}
    for split in builder.info.splits:
        for bag in tfds.as_numpy(builder.as_dataset(split=split, decoders=ENCODED)):
            bags[bag["bag_id"].decode()] = bag | {"split": split}
    return bags


def error_of(root, **options):
    with pytest.raises(DataError) as caught:
        folder_config(str(root), **options)
    message = str(caught.value)
    assert message.endswith(".") and ("\n" in message) == (" problems in " in message)
    return message


def check_no_leak(manifest):
    """Asserts by brute force that no patient and no image is in two splits."""
    for key in (lambda case, image: case.patient_id, lambda case, image: image.path):
        splits = collections.defaultdict(set)
        for case in manifest.cases:
            for image in case.images:
                splits[key(case, image)].add(case.split)
        assert all(len(assigned) == 1 for assigned in splits.values())


# Labels with weights


@pytest.mark.parametrize(
    "cell, weights",
    [
        ("", ()),
        ("{}", ()),
        ("a, b: c|d", (("a, b: c|d", 1.0),)),
        ("  two   words ", (("two words", 1.0),)),
        ("{'x': 0.25, 'y, z: 1': 0.75}", (("y, z: 1", 0.75), ("x", 0.25))),
        ('{"x": 1, "it\'s": 2}', (("it's", 2.0), ("x", 1.0))),
        ("{'b': 0.5, 'a': 0.5}", (("b", 0.5), ("a", 0.5))),
        ("{'a': 0.2, 'c': 0.4, 'b': 0.4}", (("c", 0.4), ("b", 0.4), ("a", 0.2))),
        ("{'a': np.float64(0.5), 'b': np.float32(1.0)}", (("b", 1.0), ("a", 0.5))),
        ("{'a': 0.5, 'b': 0.5}", (("a", 0.5), ("b", 0.5))),
        ("{'a': 0.0, 'b': 0.1}", (("b", 0.1), ("a", 0.0))),
    ],
)
def test_parse_label(cell, weights):
    assert parse_label(cell) == weights


@pytest.mark.parametrize(
    "cell, words",
    [
        ("{'a': 0.5", "no list of labels"),
        ("{'a', 'b'}", "no list of labels"),
        ("{eczema: 0.5}", "no list of labels"),
        ("{[]: 1}", "no list of labels"),
        ("{'a': __import__('os').getpid()}", "no list of labels"),
        ("{" * 5000, "no list of labels"),
        ("{1: 0.5}", "not in quotes"),
        ("{' ': 0.5}", "blank"),
        ("{'a': 0.5, 'a ': 0.5}", "twice"),
        ("{'a': 0.5, 'a': 0.25}", "twice"),
        ("{'a': " + "9" * 400 + "}", "no number from 0 up"),
        ("{'a': -0.5}", "no number from 0 up"),
        ("{'a': 1e999}", "no number from 0 up"),
        ("{'a': True}", "no number from 0 up"),
        ("{'a': '0.5'}", "no number from 0 up"),
        ("{'a': 0, 'b': 0.0}", "every label the weight 0"),
    ],
)
def test_what_is_no_differential_is_said(cell, words):
    with pytest.raises(ValueError, match=words):
        parse_label(cell)


def test_commonest_and_gather_against_counting_by_hand():
    rng = random.Random(0)
    for _ in range(50):
        labels = [rng.choice(["", "a", "b", "c", "d", OTHER]) for _ in range(30)]
        ranked = sorted("abcd", key=lambda name: (-labels.count(name), name))
        present = [name for name in ranked if name in labels]
        assert commonest(labels, 2) == set(present[:2])
    weights = (("a", 0.4), ("b", 0.3), ("c", 0.2), (OTHER, 0.1))
    assert dict(gather(weights, {"b"})) == pytest.approx({"b": 0.3, OTHER: 0.7})


def test_manifest_with_differentials(tmp_path):
    for name in "abcd":
        draw(tmp_path / f"{name}.png", seed=ord(name))
    rows = [("1", "a", "{'nv, common': 0.4, 'mel': 0.6}"), ("1", "b", "{'mel':.6,'nv, common':.4}")]
    rows += [("2", "c", "nv, common"), ("3", "d", "")]
    write_csv(
        tmp_path / "manifest.csv",
        [
            {"case_id": case, "image_path": f"{name}.png", "label": label, "split": "train"}
            for case, name, label in rows
        ],
    )
    builder = prepare(tmp_path, tmp_path / "tfds")
    bags = read(builder)
    assert builder.info.features["label"].names == ["mel", "nv, common"]
    assert [bags[case]["label"] for case in "123"] == [0, 1, -1]
    np.testing.assert_allclose(bags["1"]["label_weights"], [0.6, 0.4], rtol=1e-6)
    np.testing.assert_array_equal(bags["2"]["label_weights"], [0, 1])
    np.testing.assert_array_equal(bags["3"]["label_weights"], [0, 0])
    assert bags["1"]["label_weights"].dtype == np.float32


def test_differentials_that_differ_or_are_broken_name_the_row(tmp_path):
    draw(tmp_path / "a.png")
    draw(tmp_path / "b.png")
    head = "case_id,image_path,label\n"
    (tmp_path / "manifest.csv").write_text(
        head + "1,a.png,\"{'x': 0.6, 'y': 0.4}\"\n1,b.png,\"{'x': 0.4, 'y': 0.6}\"\n"
    )
    assert "row 3: case '1' has label" in error_of(tmp_path)
    (tmp_path / "manifest.csv").write_text(head + '1,a.png,"{x: 0.6}"\n')
    message = error_of(tmp_path)
    assert "row 2: label '{x: 0.6}' is no list" in message and "{'eczema': 0.7" in message
    (tmp_path / "manifest.csv").write_text(head + "1,a.png,{'x': 0.6, 'y': 0.4}\n")
    assert "double quotes" in error_of(tmp_path)


# The commonest conditions


def conditions_folder(root, labels):
    """Writes a manifest with one case for each (label, split) of `labels`."""
    rows = []
    for i, (label, split) in enumerate(labels):
        draw(root / f"{i}.png", seed=i, size=(1, 1))
        rows.append({"case_id": i, "image_path": f"{i}.png", "label": label, "split": split})
    write_csv(root / "manifest.csv", rows)


def test_top_conditions_are_fixed_from_the_training_split(tmp_path):
    train = ["b", "b", "c", "c", "a", "d", ""]
    test = ["a"] * 9 + ["new", "c", ""]  # "a" is commonest over all, but not in training
    conditions_folder(tmp_path, [(x, "train") for x in train] + [(x, "test") for x in test])
    builder = prepare(tmp_path, tmp_path / "tfds", top_conditions=2)
    names = builder.info.features["label"].names
    assert names == ["b", "c", OTHER]
    bags = read(builder)
    for i, label in enumerate(train + test):
        want = -1 if not label else names.index(label if label in "bc" else OTHER)
        assert bags[str(i)]["label"] == want
    assert "label_weights" not in bags["0"]
    # b and c tie; a and d tie for the third place, which goes by name
    assert read_manifest(tmp_path, top_conditions=3).classes == ("a", "b", "c", OTHER)
    assert read_manifest(tmp_path).classes == ("a", "b", "c", "d", "new")


def test_top_conditions_count_cases_and_take_other_as_it_is(tmp_path):
    for i in range(9):
        draw(tmp_path / f"{i}.png", seed=i)
    cases = ["one"] * 5 + ["two", "three", "four", "five"]
    labels = ["many images"] * 5 + ["Other", "Other", "x", "x"]
    rows = [
        {"case_id": case, "image_path": f"{i}.png", "label": label, "split": "train"}
        for i, (case, label) in enumerate(zip(cases, labels))
    ]
    write_csv(tmp_path / "manifest.csv", rows)
    assert read_manifest(tmp_path, top_conditions=1).classes == ("x", OTHER)
    message = error_of(tmp_path, top_conditions=3)
    assert "top_conditions is 3" in message and "has 2 labels" in message
    assert "top_conditions is -1" in error_of(tmp_path, top_conditions=-1)


def test_weights_are_gathered_under_other(tmp_path):
    cases = [(IN_TRAIN[0], ["i"], {"a": 0.4, "b": 0.35, "c": 0.25}), (IN_TRAIN[1], ["j"], {"a": 1})]
    scin_folder(tmp_path, cases)
    bags = read(prepare(tmp_path, tmp_path / "tfds", top_conditions=1))
    bag = bags[IN_TRAIN[0]]  # the label stays that of the heaviest condition as found: a
    assert bag["label"] == 0
    np.testing.assert_allclose(bag["label_weights"], [0.4, 0.6], rtol=1e-6)


# SCIN


def many_scin_cases():
    """Returns 80 cases with 64-bit ids, 1-3 images, 0-3 labels, many ties and shared images."""
    rng = random.Random(1)
    cases, images = [], []
    for _ in range(80):
        names = [str(rng.randrange(-(2**63), 2**63)) for _ in range(rng.randrange(1, 4))]
        if images and rng.random() < 0.3:
            names[-1] = rng.choice(images)
        images += names
        labels = rng.sample(["Eczema", "Tinea", "Acne", "Drug Rash, NOS"], rng.randrange(4))
        weights = {label: rng.choice([0.25, 0.5]) for label in labels}
        cases.append((str(rng.randrange(-(2**63), 2**63)), names, weights))
    return cases


def test_scin_against_the_drawn_truth(tmp_path):
    cases = many_scin_cases()
    scin_folder(tmp_path, cases)
    manifest = read_manifest(tmp_path)
    assert manifest.layout == "scin" and manifest.has_differentials
    assert [case.case_id for case in manifest.cases] == [case_id for case_id, _, _ in cases]
    num_tied = 0
    for case, (_, names, weights) in zip(manifest.cases, cases):
        assert [image.path for image in case.images] == [f"dataset/images/{n}.png" for n in names]
        assert dict(case.weights) == weights
        tied = [label for label in weights if weights[label] == max(weights.values())]
        assert case.label == (tied[0] if tied else "")  # as published, not by name
        num_tied += len(tied) > 1
    assert num_tied > 5 and f"{num_tied} of " in manifest.notes[-1]
    check_no_leak(manifest)
    # Cases linked by images, found the slow way: grow each group until nothing is added.
    for case_id, names, _ in cases:
        group, pictures = {case_id}, set(names)
        for _ in cases:
            for other, other_names, _ in cases:
                if pictures & set(other_names):
                    group.add(other)
                    pictures |= set(other_names)
        (patient,) = {case.patient_id for case in manifest.cases if case.case_id in group}
        assert patient == min(group)
        assert {c.case_id for c in manifest.cases if c.patient_id == patient} == group


def test_scin_labels_do_not_depend_on_the_order_of_rows(tmp_path):
    cases = many_scin_cases()
    turned = cases[::-1]
    first, second = tmp_path / "one", tmp_path / "two"
    scin_folder(first, cases)
    scin_folder(second, turned)
    labels = [
        {case.case_id: (case.label, case.patient_id, case.split) for case in manifest.cases}
        for manifest in (read_manifest(first), read_manifest(second))
    ]
    assert labels[0] == labels[1]


def test_scin_round_trip(tmp_path):
    cases = [
        (BIG[0], ["-77", "78"], {"Eczema": 0.5, "Acne": 0.5}),
        (BIG[1], ["5", "5"], {}),  # one image twice
        (BIG[2], ["-77", "6"], {"Tinea": 1.0}),  # shares an image with the first
        (BIG[3], ["9"], {"Acne": 0.41, "Tinea": 0.3, "Eczema": 0.29}),
        (IN_TRAIN[0], ["10", "11", "12"], {"Acne": 1}),
    ]
    scin_folder(tmp_path / "scin", cases, ends="\r\n")
    builder = prepare(tmp_path / "scin", tmp_path / "tfds", keep_metadata="all")
    bags = read(builder)
    assert set(bags) == {*BIG, IN_TRAIN[0]}
    names = builder.info.features["label"].names
    assert names == ["Acne", "Eczema", "Tinea"]
    assert [bags[case]["label"] for case in BIG] == [1, -1, 2, 0]  # of a tie the first published
    np.testing.assert_allclose(bags[BIG[3]]["label_weights"], [0.41, 0.29, 0.3], rtol=1e-6)
    assert bags[BIG[1]]["label_weights"].tolist() == [0, 0, 0]
    assert bags[BIG[0]]["image_ids"].tolist() == [
        b"dataset/images/-77.png",
        b"dataset/images/78.png",
    ]
    assert len(bags[BIG[1]]["images"]) == 1
    assert bags[BIG[0]]["patient_id"] == bags[BIG[2]]["patient_id"] == BIG[2].encode()
    metadata = bags[BIG[0]]["metadata"]
    assert metadata["shot_type"].tolist() == [b"CLOSE_UP", b"AT_AN_ANGLE"]
    assert metadata["monk_skin_tone_label_us"].tolist() == [b"4.0"] * 2
    assert not [name for name in metadata if name.startswith("image_")]
    info = builder.info.metadata
    assert info["layout"] == "scin" and "share an image" in info["patient_id_from"]


@pytest.mark.parametrize(
    "tables, images, manual_dir",
    [
        ("dataset", "dataset/images", ""),
        ("dataset", "dataset/images", "dataset"),
        (".", "dataset/images", ""),
        (".", "images", ""),
    ],
    ids=["bucket", "its dataset", "tables moved up", "tables beside images"],
)
def test_scin_is_found_however_it_was_copied(tmp_path, tables, images, manual_dir):
    scin_folder(tmp_path, [(IN_TRAIN[0], ["-1", "2"], {"a": 1})], tables, images)
    (case,) = read_manifest(tmp_path / manual_dir).cases
    assert [os.path.basename(image.path) for image in case.images] == ["-1.png", "2.png"]


def test_the_image_that_scin_lacks(tmp_path):
    """One image of the published table is not in the bucket (its issue 1)."""
    scin_folder(tmp_path, [(IN_TRAIN[0], ["1", "-2"], {"a": 1}), (IN_TRAIN[1], ["3"], {"b": 1})])
    (tmp_path / "dataset/images/-2.png").unlink()
    (tmp_path / "dataset/images/3.png").unlink()
    message = error_of(tmp_path)
    for word in (
        "scin_cases.csv, row 2",
        "-2.png",
        "cannot be found",
        "row 3",
        "--on_missing_image=skip",
    ):
        assert word in message
    builder = prepare(tmp_path, tmp_path / "tfds", on_bad_image="skip")
    assert builder.info.metadata["skipped_images"] == [
        [2, "dataset/images/-2.png", "the file is missing"],
        [3, "dataset/images/3.png", "the file is missing"],
    ]
    bags = read(builder)
    assert set(bags) == {IN_TRAIN[0]} and len(bags[IN_TRAIN[0]]["images"]) == 1


def test_scin_cases_without_image_are_left_out(tmp_path):
    scin_folder(tmp_path, [(IN_TRAIN[0], ["1"], {"a": 1}), (IN_TRAIN[1], [], {"b": 1})])
    manifest = read_manifest(tmp_path)
    assert [case.case_id for case in manifest.cases] == IN_TRAIN[:1]
    assert manifest.classes == ("a",)


def test_a_missing_image_takes_no_label_along(tmp_path):
    draw(tmp_path / "a.png")
    (tmp_path / "manifest.csv").write_text(
        "case_id,image_path,label,split\n1,a.png,,train\n1,gone.png,nv,train\n"
    )
    assert "row 3" in error_of(tmp_path) and "correct it or remove the row" in error_of(tmp_path)
    manifest = read_manifest(tmp_path, skip_missing=True)
    assert (manifest.cases[0].label, manifest.missing[0][:2]) == ("nv", (3, "gone.png"))
    before = manifest.fingerprint
    draw(tmp_path / "gone.png")
    assert read_manifest(tmp_path, skip_missing=True).fingerprint != before


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    "file, old, new, words",
    [
        ("scin_labels.csv", "{'a': 1}", "{'a': }", ["row 2", "weighted_skin", "no list"]),
        ("scin_labels.csv", "weighted_skin_condition_label", "x", ["row 1", "is missing", "SCIN"]),
        ("scin_labels.csv", BIG[2], "-5.15644E+18", ["row 2", "rounded"]),
        ("scin_cases.csv", BIG[2] + ",", "-5156441036700827606.0,", ["row 2", "rounded"]),
        ("scin_cases.csv", BIG[2] + ",", "17,", ["row 2", "'17' is not in scin_labels.csv"]),
        ("scin_cases.csv", "image_3_path", "image_4_path", ["row 1", "'image_3_path' is missing"]),
        ("scin_cases.csv", "combined_race", "split", ["row 1", "SCIN has no column 'split'"]),
        ("scin_cases.csv", "dataset/images/1.png", "../1.png", ["row 2", "leads out of"]),
        ("scin_cases.csv", "dataset/images/1.png", "/etc/passwd", ["row 2", "absolute"]),
    ],
)
def test_scin_mistakes(tmp_path, file, old, new, words):
    scin_folder(tmp_path / "scin", [(BIG[2], ["1"], {"a": 1})])
    draw(tmp_path / "1.png")
    edit(tmp_path / "scin/dataset" / file, old, new)
    message = error_of(tmp_path / "scin")
    for word in [file, *words]:
        assert word in message


def test_scin_tables_belong_together(tmp_path):
    scin_folder(tmp_path, [(BIG[2], ["1"], {"a": 1})])
    table = tmp_path / "dataset/scin_cases.csv"
    table.write_text(table.read_text() + table.read_text().splitlines()[1] + "\n")
    assert "row 3: case_id" in error_of(tmp_path) and "in row 2 already" in error_of(tmp_path)
    (tmp_path / "dataset/scin_labels.csv").unlink()
    assert "scin_labels.csv is missing" in error_of(tmp_path)


# HAM10000


def test_ham_is_split_by_hash_though_sorted_by_class(tmp_path):
    lesions = [(i, ("nv", "mel", "bkl", "akiec")[i % 4], 1 + i % 3) for i in range(160)]
    ham_folder(tmp_path, lesions)
    manifest = read_manifest(tmp_path)
    assert manifest.layout == "ham10000"
    assert manifest.patient_id_from == "lesion_id"
    cases = {case.case_id: case for case in manifest.cases}
    for lesion, dx, num_images in lesions:
        case = cases.pop(f"HAM_{lesion:07d}")
        assert (case.label, len(case.images)) == (dx, num_images)
        assert case.split == hash_split(case.case_id)
    assert not cases
    for split in ("train", "validation", "test"):
        assert {case.label for case in manifest.cases if case.split == split} == {
            *("nv", "mel", "bkl", "akiec")
        }
    check_no_leak(manifest)
    rows = (tmp_path / "HAM10000_metadata.csv").read_text().splitlines()
    (tmp_path / "HAM10000_metadata.csv").write_text("\n".join([rows[0], *rows[:0:-1]]))
    turned = read_manifest(tmp_path)
    assert {c.case_id: c.split for c in turned.cases} == {
        c.case_id: c.split for c in manifest.cases
    }


def test_ham_round_trip(tmp_path):
    ham_folder(tmp_path / "ham", [(i, "nv", 2) for i in range(6)])
    builder = prepare(tmp_path / "ham", tmp_path / "tfds", keep_metadata="all")
    bag = read(builder)["HAM_0000000"]
    assert bag["image_ids"].tolist() == [
        b"HAM10000_images_part_1/ISIC_0024306.jpg",
        b"HAM10000_images_part_2/ISIC_0024307.jpg",
    ]
    assert set(bag["metadata"]) == {"dx_type", "age", "sex", "localization", "dataset"}
    assert "label_weights" not in bag and builder.info.metadata["layout"] == "ham10000"


@pytest.mark.parametrize(
    "file_name, separator",
    [("HAM10000_metadata", ","), ("HAM10000_metadata.tab", "\t"), ("HAM10000_metadata.csv", ",")],
)
def test_ham_under_each_of_its_names_and_in_one_folder(tmp_path, file_name, separator):
    ham_folder(tmp_path, [(HAM_LESION, "mel", 2)], file_name, separator)
    (tmp_path / "all").mkdir()
    for path in tmp_path.glob("HAM10000_images_part_*/*"):
        path.rename(tmp_path / "all" / path.name)
    draw(tmp_path / "masks/ISIC_0024306_segmentation.png")
    (tmp_path / "all/._ISIC_0024306.jpg").write_bytes(b"left by a Mac")
    (case,) = read_manifest(tmp_path).cases
    assert [i.path for i in case.images] == ["all/ISIC_0024306.jpg", "all/ISIC_0024307.jpg"]
    assert (case.case_id, case.label) == (f"HAM_{HAM_LESION:07d}", "mel")


def test_ham_mistakes(tmp_path):
    ham_folder(tmp_path, [(0, "mel", 2), (1, "nv", 1)])
    table, copy = tmp_path / "HAM10000_metadata.csv", tmp_path / "copies/ISIC_0024306.jpg"
    whole = table.read_text()
    copy.parent.mkdir()
    copy.write_bytes((tmp_path / "HAM10000_images_part_1/ISIC_0024306.jpg").read_bytes())
    assert len(read_manifest(tmp_path).cases) == 2  # a copy of one size is the same image
    copy.write_bytes(b"another image")
    message = error_of(tmp_path)
    assert "different images" in message and "'copies/ISIC_0024306.jpg'" in message
    copy.unlink()
    edit(table, "ISIC_0024307,mel", "ISIC_0024307,nv")
    message = error_of(tmp_path)
    assert "HAM10000_metadata.csv, row 3: case 'HAM_0000000' has label 'nv'" in message
    table.write_text(whole.replace("dx,", "diagnosis,", 1))
    assert "row 1: column 'dx' is missing" in error_of(tmp_path)
    table.write_text(whole.replace("HAM_0000001", "", 1))
    assert "row 4: lesion_id is blank" in error_of(tmp_path)
    table.write_text(whole)
    (tmp_path / "HAM10000_images_part_2/ISIC_0024307.jpg").unlink()
    message = error_of(tmp_path)
    for word in ("row 3", "'ISIC_0024307' cannot be found", "unpack all images"):
        assert word in message


def test_nothing_unpacked_is_said_even_when_skipping(tmp_path):
    ham_folder(tmp_path, [(0, "mel", 2)])
    for path in tmp_path.glob("HAM10000_images_part_*/*"):
        path.unlink()
    assert "none of the 2 images is in" in error_of(tmp_path, on_bad_image="skip")


# PAD-UFES-20


@pytest.mark.parametrize("images", ["imgs_part_{}", "images", "images/imgs_part_{}/imgs_part_{0}"])
def test_pad_keeps_patients_together(tmp_path, images):
    rng = random.Random(2)
    lesions = [(rng.randrange(40), i, rng.choice(["BCC", "NEV"]), i % 3 + 1) for i in range(60)]
    images = images.replace("{}", "{0}")
    pad_folder(tmp_path, lesions, images, encoding="latin-1", ends="\r\n")
    manifest = read_manifest(tmp_path)
    assert manifest.layout == "pad_ufes_20"
    assert manifest.patient_id_from == "patient_id"
    assert [(c.patient_id, c.case_id, c.label, len(c.images)) for c in manifest.cases] == [
        (f"PAT_{patient}", f"PAT_{patient}_{lesion}", label, num)
        for patient, lesion, label, num in lesions
    ]
    assert all(case.split == hash_split(case.patient_id) for case in manifest.cases)
    check_no_leak(manifest)
    father = manifest.metadata_columns.index("background_father")
    assert manifest.cases[0].images[0].metadata[father] == "ITÁLIA"
    assert {"lesion_id", "biopsed"} <= set(manifest.metadata_columns)


def test_pad_mistakes(tmp_path):
    pad_folder(tmp_path, [(0, 7, "BCC", 2), (1, 8, "NEV", 1)])
    table = tmp_path / "metadata.csv"
    whole = table.read_text()
    table.write_text(whole.replace("PAT_0,7", "PAT_0,", 1))
    assert "row 2: lesion_id is blank" in error_of(tmp_path)
    table.write_text(whole.replace("lesion_id", "lesion", 1))
    assert "row 1: column 'lesion_id' is missing" in error_of(tmp_path)
    table.write_text(whole.replace("BCC", "MEL", 1))
    assert "row 3: case 'PAT_0_7' has label 'BCC', but 'MEL' in row 2" in error_of(tmp_path)
    table.write_text("a,b\n1,2\n")  # the metadata of something else
    assert "no manifest.csv (found: metadata.csv)" in error_of(tmp_path)


# A tree of folders


def test_tree(tmp_path):
    files = ["nv/1/a.png", "nv/1/b.JPG", "nv/2/a.png", "mel, in situ/3/-x.png"]
    files += ["nv/.hidden/a.png", "nv/1/._a.png", "__MACOSX/nv/1/a.png"]
    for i, name in enumerate(files):
        draw(tmp_path / name, seed=i)
    (tmp_path / "nv/1/notes.txt").touch()
    manifest = read_manifest(tmp_path)
    assert manifest.layout == "tree"
    assert {c.case_id: (c.label, c.split, len(c.images)) for c in manifest.cases} == {
        "mel, in situ/3": ("mel, in situ", hash_split("3"), 1),
        "nv/1": ("nv", hash_split("1"), 2),
        "nv/2": ("nv", hash_split("2"), 1),
    }


def test_tree_with_splits_round_trip(tmp_path):
    for i, name in enumerate(["Train/a/1/x.png", "Train/b/2/x.png", "val/a/3/x.png"]):
        draw(tmp_path / "tree" / name, seed=i)
    builder = prepare(tmp_path / "tree", tmp_path / "tfds")
    assert {case: bag["split"] for case, bag in read(builder).items()} == {
        "a/1": "train",
        "b/2": "train",
        "a/3": "validation",
    }
    assert builder.info.metadata["layout"] == "tree"


def test_tree_keeps_folders_of_one_name_in_one_split(tmp_path):
    for i in range(120):
        draw(tmp_path / f"{'ab'[i % 2]}/{i // 2}/x.png", seed=i, size=(1, 1))
    manifest = read_manifest(tmp_path)
    assert len(manifest.cases) == 120
    check_no_leak(manifest)


@pytest.mark.parametrize(
    "files, words",
    [
        (["a/1/x.png", "stray.png"], ["stray.png is not placed as 'a/1/x.png'", "bag_regex"]),
        (["a/1/x.png", "test/a/2/x.png"], ["test/a/2/x.png is not placed as"]),
        (["a/1/x.png", "a/1/y.png", "a/z.png"], ["a/z.png is not placed as 'a/1/x.png'"]),
        (["VALID/a/x.png", "test/a/y.png"], ["split/label (test, validation), but there is no"]),
        (["train/a/x.png", "b/c/y.png"], ["/b is beside train", "folder 'c'", "split or a label"]),
        (["train/a/x.png", "test/b/y.png"], ["no label is in two of the splits test, train"]),
        (["patient1/1/x.png", "patient2/1/y.png"], ["patient1, patient2 look like numbered parts"]),
        (["a/1/x.png", "Testing/a/y.png"], ["seems to be in folders split/label"]),
        (["images/a/x.png", "images/b/y.png"], ["everything is in one folder"]),
        (["test/a/1/x.png"], ["no row has split 'train' (splits in the file: test)"]),
        (
            ["train/a/1/x.png", "test/a/1/y.png"],
            ["train/a/1/x.png: patient '1' has split 'train', but 'test' in 'test/a/1/y.png'"],
        ),
    ],
)
def test_tree_mistakes(tmp_path, files, words):
    for i, name in enumerate(files):
        draw(tmp_path / name, seed=i)
    message = error_of(tmp_path)
    for word in words:
        assert word in message


# Loose images


def loose_folder(root):
    for i in range(40):
        draw(root / f"site{i % 2}/p{i // 4}_c{i // 2}_{i}.png", seed=i, size=(1, 1))
    return root


def test_images_without_a_table_are_read_only_when_asked_for(tmp_path):
    message = error_of(loose_folder(tmp_path))
    for word in ("has no manifest.csv (found: site0/", "--bag_regex", "'(.+)'"):
        assert word in message


def test_a_regex_of_everything_makes_each_image_a_bag(tmp_path):
    manifest = read_manifest(loose_folder(tmp_path), bag_regex="(.+)")
    assert manifest.layout == "images" and manifest.classes == ()
    assert len(manifest.cases) == 40
    assert all(case.case_id == case.images[0].path for case in manifest.cases)


@pytest.mark.parametrize(
    "regex, patient_from",
    [
        (r"_(c\d+)_", "case_id"),
        (r"(x)?_(?P<case>c\d+)_", "case_id"),
        (r"(?P<patient>p\d+)_(c\d+)_", "bag_regex"),
        (r"/(?P<patient>p\d+)_(?P<case>c\d+)", "bag_regex"),
    ],
)
def test_bag_regex_names_case_and_patient(tmp_path, regex, patient_from):
    manifest = read_manifest(loose_folder(tmp_path), bag_regex=regex)
    cases = {case.case_id: case for case in manifest.cases}
    assert set(cases) == {f"c{i}" for i in range(20)}
    for i in range(20):
        case = cases[f"c{i}"]
        assert [image.path for image in case.images] == [
            f"site0/p{i // 2}_c{i}_{2 * i}.png",
            f"site1/p{i // 2}_c{i}_{2 * i + 1}.png",
        ]
        assert case.patient_id == (f"p{i // 2}" if patient_from == "bag_regex" else f"c{i}")
    assert manifest.patient_id_from == patient_from
    check_no_leak(manifest)


def test_bag_regex_reads_a_tree_as_unlabelled(tmp_path):
    draw(tmp_path / f"{IN_TRAIN[0]}/monday/x.png")
    draw(tmp_path / f"{IN_TRAIN[0]}/tuesday/x.png", seed=1)
    (case,) = read_manifest(tmp_path, bag_regex="^([^/]+)/").cases
    assert (case.case_id, case.label, len(case.images)) == (IN_TRAIN[0], "", 2)


@pytest.mark.parametrize(
    "regex, words",
    [
        ("(", ["no regular expression"]),
        ("p", ["no group for the case"]),
        ("(?P<patient>p)", ["no group for the case"]),
        ("(c1)_", ["site0/p0_c0_0.png", "finds no case_id"]),
        ("(x?)p", ["finds no case_id"]),
        ("(?P<patient>x)?p(0)?", ["finds no"]),
    ],
)
def test_bag_regex_mistakes(tmp_path, regex, words):
    message = error_of(loose_folder(tmp_path), bag_regex=regex)
    for word in words:
        assert word in message


def test_unreadable_image_is_named_by_its_path(tmp_path):
    for name in IN_TRAIN[:2]:
        draw(tmp_path / "d" / f"{name}.png")
    unreadable = tmp_path / "d" / f"{IN_TRAIN[1]}.png"
    unreadable.write_bytes(b"")
    regex = r"(.*)\.png"
    with pytest.raises(DataError) as caught:
        prepare(tmp_path / "d", tmp_path / "tfds", bag_regex=regex)
    assert (
        str(caught.value).startswith(f"{unreadable}: ")
        and "row " not in str(caught.value).split(":")[0]
    )
    builder = prepare(tmp_path / "d", tmp_path / "tfds", bag_regex=regex, on_bad_image="skip")
    assert builder.info.metadata["skipped_images"] == [[2, unreadable.name, "the file has 0 bytes"]]
    assert builder.info.metadata["layout"] == "images"


# Which layout


def test_manifest_wins_and_a_table_is_never_ignored(tmp_path):
    ham_folder(tmp_path, [(HAM_LESION, "mel", 1)])
    assert read_manifest(tmp_path).layout == "ham10000"
    assert "leave --bag_regex out" in error_of(tmp_path, bag_regex="(.*)")
    (tmp_path / "manifest.csv").write_text(
        "case_id,image_path,split\n1,HAM10000_images_part_1/ISIC_0024306.jpg,train\n"
    )
    assert read_manifest(tmp_path).layout == "manifest"
    (tmp_path / "manifest.csv").unlink()
    (tmp_path / "HAM10000_metadata.csv").rename(tmp_path / "labels.csv")
    message = error_of(tmp_path)
    for word in ("no manifest.csv (found: labels.csv)", "SCIN", "HAM10000", "PAD-UFES-20"):
        assert word in message
    image = "HAM10000_images_part_1/ISIC_0024306"
    regex = "(HAM.*)[.]" if hash_split(image) == "train" else "_(1)/"
    assert read_manifest(tmp_path, bag_regex=regex).layout == "images"


def test_each_option_enters_the_fingerprint(tmp_path):
    for i, name in enumerate(IN_TRAIN[:4]):
        draw(tmp_path / f"{'ab'[i % 2]}/{name}/x.png", seed=i)
    options = [{}, {"on_bad_image": "skip"}, {"top_conditions": 1}, {"top_conditions": 2}]
    options += [{"bag_regex": "/(.*)/"}, {"bag_regex": "/([^/]*)/"}]
    assert len({folder_config(str(tmp_path), **option).name for option in options}) == 6
    (tmp_path / f"a/{IN_TRAIN[0]}").rename(tmp_path / f"b/{IN_TRAIN[0]}")
    assert folder_config(str(tmp_path)).name != folder_config(str(tmp_path), top_conditions=1).name


def test_fingerprint_follows_both_tables_of_scin(tmp_path):
    scin_folder(tmp_path, [(IN_TRAIN[0], ["1"], {"a": 0.5, "b": 0.5})])
    names = {folder_config(str(tmp_path)).name}
    edit(tmp_path / "dataset/scin_labels.csv", "'b': 0.5", "'b': 0.4")
    names.add(folder_config(str(tmp_path)).name)
    edit(tmp_path / "dataset/scin_cases.csv", "age_group of", "age of")
    names.add(folder_config(str(tmp_path)).name)
    assert len(names) == 3


def test_names_that_are_not_utf8_are_refused(tmp_path):
    draw(tmp_path / "x.png")
    try:
        os.rename(tmp_path / "x.png", os.fsencode(tmp_path) + b"/n\xe4vus.png")
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert "not UTF-8" in error_of(tmp_path)


def test_the_manifest_of_the_readme_is_accepted(tmp_path):
    readme = ROOT / "tfds_builders/derm_bags/README.md"
    text = re.search(r"```\n(case_id.*?)```", readme.read_text(), re.DOTALL)[1]
    for i, name in enumerate(re.findall(r"images/\w+\.\w+", text)):
        draw(tmp_path / name, seed=i)
    (tmp_path / "manifest.csv").write_text(text)
    cases = read_manifest(tmp_path).cases
    assert [case.label for case in cases] == ["eczema", "", "eczema"]
    assert dict(cases[2].weights) == {"eczema": 0.7, "psoriasis": 0.3}
