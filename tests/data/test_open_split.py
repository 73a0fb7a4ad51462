"""Opening prepared datasets: projections, bags by patient, splits and slices, against slow counting."""

from typing import ClassVar

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from helpers import cxr_twins
from simclr_med.data import open_split
from simclr_med.data.by_patient import join_patients
from simclr_med.data.cases import read_cases
from simclr_med.data.labels import LabelReading
from simclr_med.errors import UserError
from tfds_builders import chexpert_studies, nih_cxr14


@pytest.fixture(scope="module")
def chexpert(tmp_path_factory):
    return prepared(chexpert_studies, cxr_twins.draw_chexpert, tmp_path_factory.mktemp("chexpert"))


@pytest.fixture(scope="module")
def nih(tmp_path_factory):
    return prepared(nih_cxr14, cxr_twins.draw_nih, tmp_path_factory.mktemp("nih"))


def prepared(package, draw, folder):
    draw(folder / "data", num_patients=80, seed=3, size=16)
    config = package.folder_config(str(folder / "data"))
    builder = package.Builder(config=config, data_dir=folder / "tfds")
    builder.download_and_prepare()
    return builder


def stored(builder, split):
    decoders = {"images": tfds.decode.SkipDecoding()}
    return list(tfds.as_numpy(builder.as_dataset(split=split, decoders=decoders)))


FIVE = LabelReading(label_set="chexpert5")


def list_bags(bags):
    return list(bags.dataset.as_numpy_iterator())


@pytest.mark.parametrize("split", ["train", "test", "official_valid", "train[:20]"])
@pytest.mark.parametrize("projection", ["all", "frontal", "lateral"])
def test_projections_keep_their_images_and_no_empty_bag(chexpert, split, projection):
    bags = open_split(chexpert, split, LabelReading(projection=projection))
    expected = {}
    for study in stored(chexpert, split):
        images = [
            image
            for image, view in zip(study["images"], study["views"])
            if projection in ("all", view.decode())
        ]
        if images:
            expected[study["bag_id"]] = images
    seen = {bag["bag_id"]: bag["images"].tolist() for bag in list_bags(bags)}
    assert seen == expected
    assert bags.num_bags == len(expected)
    assert bags.num_images == sum(map(len, expected.values()))


@pytest.mark.parametrize("projection", ["all", "frontal"])
@pytest.mark.parametrize("which", ["chexpert", "nih"])
def test_bags_by_patient_hold_all_images_of_each_patient(request, which, projection):
    builder = request.getfixturevalue(which)
    bags = open_split(builder, "train", LabelReading(bag_by="patient", projection=projection))
    expected = {}
    for study in stored(builder, "train"):
        for image, view in zip(study["images"], study["views"]):
            if projection in ("all", view.decode()):
                expected.setdefault(study["patient_id"], []).append(image)
    seen = list_bags(bags)
    assert len(seen) == len(expected) == bags.num_bags
    assert {bag["patient_id"]: bag["images"].tolist() for bag in seen} == expected
    assert bags.num_images == sum(map(len, expected.values()))
    assert max(len(images) for images in expected.values()) > 2


def test_labels_in_which_the_studies_of_a_patient_differ_are_unknown(chexpert):
    by_study, by_patient = {}, {}
    for bag in list_bags(open_split(chexpert, "train")):
        by_study.setdefault(bag["patient_id"], []).append(bag["label"])
    for bag in list_bags(open_split(chexpert, "train", LabelReading(bag_by="patient"))):
        by_patient[bag["patient_id"]] = bag["label"]
    some_differ = False
    for patient, labels in by_study.items():
        labels = np.stack(labels)
        agree = (labels == labels[0]).all(0)  # NaN, unknown, equals nothing
        np.testing.assert_array_equal(by_patient[patient], np.where(agree, labels[0], np.nan))
        some_differ |= not agree.all()
    assert some_differ


def test_single_labels_that_differ_become_none():
    rows = [("p1", 2, "a"), ("p1", 2, "b"), ("p2", 1, "c"), ("p3", 0, "d"), ("p3", 1, "e")]
    ids, labels, images = zip(*rows)
    bags = tf.data.Dataset.from_tensor_slices(
        {
            "bag_id": list(images),
            "patient_id": list(ids),
            "images": [[image] for image in images],
            "label": tf.constant(labels, tf.int64),
        }
    )
    joined = list(join_patients(bags).as_numpy_iterator())
    assert [bag["label"] for bag in joined] == [2, 1, -1]
    assert [bag["images"].tolist() for bag in joined] == [[b"a", b"b"], [b"c"], [b"d", b"e"]]


def test_the_papers_training_split_is_a_named_part_of_train(chexpert):
    part = [bag["bag_id"] for bag in list_bags(open_split(chexpert, "paper_train"))]
    whole = [bag["bag_id"] for bag in list_bags(open_split(chexpert, "train"))]
    assert part == whole[: len(part)] and 0 < len(part) < len(whole)


def test_label_sets_have_the_names_of_chexpert_on_both_datasets(chexpert, nih):
    names = [open_split(b, "train", FIVE).class_names for b in (chexpert, nih)]
    assert names[0] == names[1] and "Pleural Effusion" in names[1]
    assert "Effusion" in open_split(nih, "train").class_names
    bag = list_bags(open_split(nih, "train", FIVE))[0]
    stored_labels = stored(nih, "train")[0]["labels"]
    assert bag["label"][4] == stored_labels["Effusion"]


@pytest.mark.parametrize(
    "options, words",
    [
        (dict(split="nope"), "it has: .*train.*paper_train"),
        (dict(split="train[:0]"), "is empty"),
        (dict(split="train", reading=LabelReading(uncertain_policy="x")), "--uncertain_policy=x"),
    ],
)
def test_mistakes_are_named(chexpert, options, words):
    with pytest.raises(UserError, match=words):
        open_split(chexpert, **options)


def test_a_view_that_no_image_has_is_refused_before_training(nih):
    with pytest.raises(UserError, match="--projection=lateral leaves no image in split 'train'"):
        open_split(nih, "train", LabelReading(projection="lateral"))


def test_what_a_dataset_has_not_is_named(nih):
    with pytest.raises(UserError, match="no label 'No Finding'; it has: Atelectasis"):
        open_split(nih, "train", LabelReading(label_set="chexpert14"))


class Plain(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """As TFDS has hundreds: an image and whatever `LABEL` is."""

    VERSION = tfds.core.Version("1.0.0")
    LABEL: ClassVar = {"label": tfds.features.ClassLabel(names=["cat", "dog"])}
    VALUE: ClassVar = {"label": 1}

    def _info(self):
        features = {"image": tfds.features.Image(shape=(None, None, 3)), **self.LABEL}
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict(features))

    def _split_generators(self, dl_manager):
        return {"train": self._generate_examples()}

    def _generate_examples(self):
        for i in range(3):
            yield i, {"image": np.full((4, 5, 3), i, np.uint8), **self.VALUE}


class Tagged(Plain, skip_registration=True):
    """With a list of labels, and a label that is text: neither is a class of the image."""

    VERSION = tfds.core.Version("1.0.0")
    LABEL: ClassVar = {
        "labels": tfds.features.Sequence(tfds.features.ClassLabel(num_classes=3)),
        "label": tfds.features.Text(),
    }
    VALUE: ClassVar = {"labels": [0, 2], "label": "a cat"}


@pytest.mark.parametrize("kind, names, label", [(Plain, ("cat", "dog"), 1), (Tagged, (), -1)])
def test_any_image_dataset_of_tfds_is_bags_of_one(kind, names, label, tmp_path):
    builder = kind(data_dir=tmp_path)
    builder.download_and_prepare()
    bags = open_split(builder, "train")
    assert (bags.num_bags, bags.num_images, bags.class_names) == (3, 3, names)
    rows = list_bags(bags)
    assert [len(bag["images"]) for bag in rows] == [1, 1, 1]
    assert [int(bag["label"]) for bag in rows] == [label] * 3
    assert len({bag["patient_id"] for bag in rows}) == 3
    cases = read_cases(bags, 0)
    assert cases.ids.tolist() == cases.patients.tolist() == [b["bag_id"].decode() for b in rows]
    assert cases.labels.tolist() == [label] * 3 and cases.num_images.tolist() == [1] * 3
    assert open_split(builder, "train[:2]").num_bags == 2
