"""What is said of single images: counted in `info.metadata`, whole in a CSV, in every builder."""

import csv
import pathlib
import shutil

import pandas as pd
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from helpers import cxr_twins
from helpers.folders import draw_cases
from tfds_builders import derm_bags, nih_cxr14, read_ahead
from tfds_builders import prepare as preparation
from tfds_builders.errors import NOT_INSTALLED, ImageError, NotAPicture
from tfds_builders.image_log import IMAGES_CSV, ImageLog
from tfds_builders.pixels import Loaded, load_encoded
from tfds_builders.verify import verify

ENCODED = {"images": tfds.decode.SkipDecoding()}


def load(path, long_side, dicom_frame):
    """Reads files by their names, as if they were DICOMs of all kinds."""
    path, name = path if isinstance(path, tuple) else (path, pathlib.Path(path).stem)
    if "report" in name:
        raise NotAPicture("a DICOM without pixels (report)")
    if "bad" in name:
        raise ImageError("broken")
    images = load_encoded(path).images
    if "frames" in name and dicom_frame == "all":
        return Loaded(images * 3, ("burned-in annotation", "secondary capture"))
    return Loaded(images, ("secondary capture",) if "note" in name else ())


def derm(folder):
    names = ["a", "frames", "note", "note2", "report", "report2"]
    (folder / "img").mkdir(parents=True)
    for number, name in enumerate(names):
        Image.new("L", (9, 12), 20 * number).save(folder / f"img/{name}.png")
    rows = [(f"c{n // 2}", f"img/{name}.png", "train") for n, name in enumerate(names)]
    columns = ["case_id", "image_path", "split"]
    pd.DataFrame(rows, columns=columns).to_csv(folder / "manifest.csv", index=False)
    return derm_bags


def nih(folder):
    cxr_twins.draw_nih(folder, num_patients=3, seed=1, size=16)
    return nih_cxr14


@pytest.fixture
def prepare(monkeypatch, tmp_path):
    def prepared(draw, names=None, **options):
        package = draw(tmp_path / "folder")
        kinds = {}
        if names:
            files = sorted(str(path) for path in (tmp_path / "folder").rglob("*.png"))
            kinds = {path: (path, name) for path, name in zip(files, names)}
        monkeypatch.setattr(
            read_ahead, "load_encoded", lambda path, *rest: load(kinds.get(path, path), *rest)
        )
        config = package.folder_config(str(tmp_path / "folder"), **options)
        builder = package.Builder(config=config, data_dir=tmp_path / "tfds")
        builder.download_and_prepare()
        return builder

    return prepared


def bags(builder, split="train"):
    return list(tfds.as_numpy(builder.as_dataset(split=split, decoders=ENCODED)))


def test_frames_and_notes_and_what_was_no_picture(prepare):
    builder = prepare(derm, dicom_frame="all", keep_metadata="all")
    stored = {bag["bag_id"].decode(): bag for bag in bags(builder)}
    assert sorted(stored) == ["c0", "c1"]  # c2 had reports only
    ids = [name.decode() for name in stored["c0"]["image_ids"]]
    frames = [f"img/frames.png, frame {i}" for i in (1, 2, 3)]
    assert ids == ["img/a.png", *frames] and len(stored["c0"]["images"]) == 4
    info = builder.info.metadata
    assert info["passed_over"] == {"a DICOM without pixels (report)": 2}
    assert info["skipped_images"] == []  # on_bad_image is "error"
    assert info["num_images"] == {"train": 6}
    assert info["image_notes"] == {
        "burned-in annotation": [1, ["img/frames.png"]],
        "secondary capture": [3, ["img/frames.png", "img/note.png", "img/note2.png"]],
    }
    with (builder.data_path / IMAGES_CSV).open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["kind"], row["row"], row["image"]) for row in rows if row["kind"] != "note"] == [
        ("passed over", "6", "img/report.png"),
        ("passed over", "7", "img/report2.png"),
    ]
    assert sum(row["kind"] == "note" for row in rows) == 4


def test_another_frame_is_another_dataset(tmp_path):
    derm(tmp_path)
    names = {derm_bags.folder_config(str(tmp_path)).name}
    names |= {derm_bags.folder_config(str(tmp_path), dicom_frame=f).name for f in ("first", "all")}
    assert len(names) == 2  # "first" is the default


def test_shards_say_it_too(prepare):
    kinds = ["report", "frames", "bad"]
    builder = prepare(nih, kinds, dicom_frame="all", on_bad_image="skip")
    num_files = sum(1 for _ in pathlib.Path(builder.info.metadata["source"]).rglob("*.png"))
    info = builder.info.metadata
    splits = list(builder.info.splits)
    stored = [bag for split in splits for bag in bags(builder, split)]
    ids = [image.decode() for bag in stored for image in bag["image_ids"]]
    assert len(set(ids)) == len(ids) == sum(info["num_images"].values()) == num_files - 2 + 2
    assert sorted(image.split(", ")[-1] for image in ids if "frame" in image) == [
        "frame 1",
        "frame 2",
        "frame 3",
    ]
    assert list(info["passed_over"].values()) == [1] and len(info["skipped_images"]) == 1
    assert len(info["image_notes"]) == 2
    assert not (builder.data_path / "image_logs").exists()
    assert len((builder.data_path / IMAGES_CSV).read_text().splitlines()) == 1 + 4
    counted = verify(builder).splits
    assert {split: counted[split].images for split in splits} == info["num_images"]


def test_only_a_few_ids_of_a_note_go_into_the_metadata():
    log = ImageLog()
    for row in range(100):
        assert log.add_stored("t.csv", row, f"{row}.png", Loaded((b"",), ("dark",))) == [
            f"{row}.png"
        ]
    (note,) = ImageLog.join([log.to_json(), log.to_json()]).metadata()["image_notes"].values()
    assert note[0] == 200 and len(note[1]) == 5


def test_a_copy_that_lacks_images_for_want_of_a_decoder_says_so_when_it_is_used(
    tmp_path, monkeypatch, capsys
):
    folder = draw_cases(tmp_path / "here", {"train": 3})

    def no_decoder(path, long_side, dicom_frame):
        if path.endswith("0_0.png"):
            raise ImageError(f"compressed as lossless JPEG, {NOT_INSTALLED}: pip install ...")
        return load_encoded(path)

    options = preparation.BuildOptions(on_bad_image="skip")
    arguments = dict(manual_dir=folder, data_dir=tmp_path / "data", options=options)
    with monkeypatch.context() as patch:
        patch.setattr(read_ahead, "load_encoded", no_decoder)
        preparation.prepare("derm_bags", **arguments)
    capsys.readouterr()
    builder = preparation.prepare("derm_bags", **arguments)
    output = capsys.readouterr().out
    assert "1 images are not in this prepared copy" in output and str(builder.data_path) in output
    shutil.rmtree(builder.data_path)
    for _ in range(2):  # with the decoder it is whole, and there is nothing to say
        preparation.prepare("derm_bags", **arguments)
    assert "not in this prepared copy" not in capsys.readouterr().out
