"""New cases are read as a prepared dataset stores them; what cannot be read is said of the case."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from helpers import cxr_twins, tiny_runs
from helpers.dicom_files import dicom, stored
from simclr_med import data
from tfds_builders import chexpert_studies, nih_cxr14
from tfds_builders.errors import DataError
from tfds_builders.new_cases import in_files, in_folder


def picture(path, seed=0, size=(20, 30)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def test_images_are_those_of_the_prepared_dataset(tiny_data):
    """Of all splits, in the order of the table; a start leaves out the first."""
    folder = tiny_data.builder_config.manifest.folder
    stored = {}
    for split in ("train", "validation"):
        for bag in data.open_split(tiny_data, split).dataset.as_numpy_iterator():
            stored[bag["bag_id"].decode()] = bag["patient_id"].decode(), list(bag["images"])
    cases = in_folder("derm_bags", folder)
    loaded = [(c.case_id, (c.patient_id, list(c.images))) for c in cases.load()]
    assert [case for case, _ in loaded] == [f"c{i}" for i in range(12)]
    assert dict(loaded) == stored
    assert [c.case_id for c in cases.load(10)] == ["c10", "c11"]


def test_a_chest_x_ray_study_is_a_case_and_so_can_be_its_patient(tmp_path):
    cxr_twins.draw_chexpert(tmp_path / "cxr", num_patients=9, seed=0, size=16)
    config = chexpert_studies.folder_config(str(tmp_path / "cxr"))
    rows = config.table.rows
    cases = in_folder("chexpert", str(tmp_path / "cxr"))
    assert [c.case_id for c in cases.cases] == list(dict.fromkeys(rows["bag_id"]))
    assert sum(len(c.paths) for c in cases.cases) == len(rows)
    frontal = in_folder("chexpert", str(tmp_path / "cxr"), projection="frontal", by_patient=True)
    assert {c.case_id for c in frontal.cases} == {c.patient_id for c in frontal.cases}
    of_view = rows[rows["view"] == "frontal"]
    assert sum(len(c.paths) for c in frontal.cases) == len(of_view) < len(rows)
    assert frontal.views_known and not in_files(f"{tmp_path}/**/*.jpg").views_known
    with pytest.raises(DataError, match="--bag_regex means nothing to --dataset=chexpert"):
        in_folder("chexpert", str(tmp_path / "cxr"), bag_regex="(.)")


def test_a_folder_without_training_images_will_do(tmp_path):
    """Its table says that all are of the test list: no training split is needed to predict."""
    cxr_twins.draw_nih(tmp_path / "nih", num_patients=3, seed=0, size=16)
    names = (tmp_path / "nih" / nih_cxr14.table.TRAIN_VAL_LIST).read_text().split()
    test = tmp_path / "nih" / nih_cxr14.table.TEST_LIST
    test.write_text("\n".join([*test.read_text().split(), *names]))
    (tmp_path / "nih" / nih_cxr14.table.TRAIN_VAL_LIST).write_text("")
    with pytest.raises(DataError, match="none of the rest is in split 'train'"):
        nih_cxr14.folder_config(str(tmp_path / "nih"))
    assert in_folder("nih_cxr14", str(tmp_path / "nih")).cases


def test_a_folder_of_images_alone_has_a_case_each_whatever_they_are(tmp_path):
    picture(tmp_path / "a.png")
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save(tmp_path / "black.png")
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "scan.dcm").write_bytes(dicom(stored(12), bits=12))
    (tmp_path / "notes.txt").write_text("no image")
    cases = in_folder("derm_bags", str(tmp_path))
    assert any("Each image is a case of its own" in note for note in cases.notes)
    assert any(".txt 1" in note for note in cases.notes)
    black, broken, scan = list(cases.load())[1:]
    assert black.notes == (("all black",),) and not black.unreadable
    assert broken.images == () and broken.unreadable == (("broken.jpg", "truncated image"),)
    assert tf.io.decode_image(scan.images[0], 3).shape[-1] == 3


def test_folders_of_labels_and_cases_are_understood_and_others_are_not_refused(tmp_path):
    for case in ("001", "002"):
        for image in ("x.png", "y.png"):
            picture(tmp_path / "visits" / case / image)
            picture(tmp_path / "tree" / ("acne" if case == "001" else "eczema") / case / image)
    alone = in_folder("derm_bags", str(tmp_path / "visits"))
    assert len(alone.cases) == 4  # numbered folders are no labels
    assert any("'([^/]+)/[^/]+$': those of one folder" in note for note in alone.notes)
    by_regex = in_folder("derm_bags", str(tmp_path / "visits"), bag_regex="([^/]+)/[^/]+$")
    assert [(c.case_id, len(c.paths)) for c in by_regex.cases] == [("001", 2), ("002", 2)]
    assert len(in_folder("derm_bags", str(tmp_path / "tree")).cases) == 2


def test_images_that_are_missing_are_said_of_their_case_and_labels_are_not_read(tmp_path):
    """Neither labels that disagree nor patients in two splits keep anybody from predicting."""
    picture(tmp_path / "1.png")
    (tmp_path / "manifest.csv").write_text(
        "case_id,patient_id,image_path,label,split\n"
        "A,p,1.png,x,train\nA,p,2.png,y,train\nB,p,3.png,x,test\n"
    )
    a, b = in_folder("derm_bags", str(tmp_path)).load()
    assert (a.case_id, a.patient_id, a.image_ids) == ("A", "p", ("1.png",))
    assert a.unreadable == (("2.png", "the file is missing"),)
    assert b.images == () and b.unreadable == (("3.png", "the file is missing"),)


def test_files_that_a_pattern_matches(tmp_path):
    for name in ("a/case1_x.png", "a/case1_y.png", "b/case2_x.png", "b/other.gif"):
        picture(tmp_path / name)
    cases = in_files(f"{tmp_path}/**/*.png")
    assert [c.case_id for c in cases.cases] == ["a/case1_x.png", "a/case1_y.png", "b/case2_x.png"]
    grouped = in_files(f"{tmp_path}/**/*.png", r"(case\d)_")
    assert [(c.case_id, len(c.paths)) for c in grouped.cases] == [("case1", 2), ("case2", 1)]
    assert len(list(grouped.load())[0].images) == 2
    with pytest.raises(DataError, match="matches no file"):
        in_files(f"{tmp_path}/*.jpeg")


def test_the_digest_is_of_what_is_scored(tmp_path):
    folder = tiny_runs.draw_folder(tmp_path / "photos")
    first = in_folder("derm_bags", str(folder)).digest
    assert in_folder("derm_bags", str(folder)).digest == first
    picture(folder / "0_0.png", seed=9, size=(21, 30))
    assert in_folder("derm_bags", str(folder)).digest != first
