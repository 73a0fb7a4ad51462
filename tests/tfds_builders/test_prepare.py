"""From a dataset's name to a prepared one, and --mode=build and verify: what they print and refuse."""

import concurrent.futures
import errno
import os
import shutil
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds
from PIL import Image

import run
from helpers import cxr_twins
from simclr_med.commands import dataset
from tfds_builders import prepare as prepare_module
from tfds_builders.errors import DataError
from tfds_builders.prepare import BuildOptions, prepare
from tfds_builders.splits import hash_split


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    rng = np.random.default_rng(0)
    rows = ["case_id,image_path,label,split"]
    for case in range(6):
        for image in range(1 + case % 2):
            pixels = rng.integers(0, 256, (40, 60, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{case}_{image}.png")
            split = "train" if case < 4 else "validation"
            rows.append(f"c{case},{case}_{image}.png,{'ab'[case % 2]},{split}")
    (folder / "manifest.csv").write_text("\n".join(rows) + "\n")
    return folder


def main(capsys, *flags):
    code = run.main(["run.py", *map(str, flags)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_build_prepares_and_says_where(photos, tmp_path, capsys):
    flags = ["--mode=build", "--dataset=derm_bags", f"--manual_dir={photos}"]
    code, output, _ = main(capsys, *flags, f"--data_dir={tmp_path}")
    assert code == 0
    assert "train: 4 bags" in output and "validation: 2 bags" in output
    assert str(tmp_path) in output and not list(tmp_path.rglob("contact_sheet.png"))


def test_build_writes_the_index_of_cases_and_does_without(photos, tmp_path, capsys, monkeypatch):
    flags = ["--mode=build", "--dataset=derm_bags", f"--manual_dir={photos}"]
    flags.append(f"--data_dir={tmp_path}")
    main(capsys, *flags)
    paths = sorted(tmp_path.rglob("case_index-*.parquet"))
    assert [path.name.split("-")[1] for path in paths] == ["train.parquet", "validation.parquet"]
    whole = [path.read_bytes() for path in paths]
    paths[0].unlink()
    main(capsys, *flags)  # as to data that an earlier version prepared
    assert [path.read_bytes() for path in paths] == whole
    paths[0].unlink()

    def full(builder):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(dataset.case_index, "write", full)
    code, output, _ = main(capsys, *flags)
    assert code == 0 and "could not be written" in output and "No space left" in output


def test_verify_counts_draws_and_finds_nothing_wrong(photos, tmp_path, capsys):
    flags = ["--mode=verify", "--dataset=derm_bags", f"--manual_dir={photos}"]
    code, output, _ = main(capsys, *flags, f"--data_dir={tmp_path}")
    assert code == 0 and "Nothing is wrong." in output
    assert "Bags by label" in output and "2 (50.0%)" in output
    assert len(list(tmp_path.rglob("contact_sheet.png"))) == 1


def test_labels_that_look_like_markup_are_printed_as_they_are(photos, tmp_path, capsys):
    manifest = (photos / "manifest.csv").read_text()
    marked = tmp_path / "marked"
    marked.mkdir()
    for image in photos.glob("*.png"):
        (marked / image.name).write_bytes(image.read_bytes())
    (marked / "manifest.csv").write_text(manifest.replace(",a,", ",nevus [/hand],"))
    flags = ["--mode=verify", "--dataset=derm_bags", f"--manual_dir={marked}"]
    code, output, _ = main(capsys, *flags, f"--data_dir={tmp_path / 'tfds'}")
    assert code == 0 and "nevus [/hand]" in output


def test_verify_works_where_the_papers_split_has_no_study(tmp_path, capsys):
    cxr_twins.draw_chexpert(tmp_path / "data", num_patients=8, seed=0, size=16)
    images = sorted((tmp_path / "data").rglob("train/**/*.jpg"))
    in_train = [image for image in images if hash_split(image.parent.parent.name) == "train"]
    for image in {*images} - {in_train[0]}:
        image.unlink()
    flags = ["--mode=verify", "--dataset=chexpert", f"--manual_dir={tmp_path / 'data'}"]
    code, output, _ = main(capsys, *flags, f"--data_dir={tmp_path / 'tfds'}")
    assert code == 1 and "problems." in output and "paper_train" not in output


def test_verify_says_what_a_partial_download_lacks_and_exits_1(tmp_path, capsys):
    cxr_twins.draw_chexpert(tmp_path / "data", num_patients=20, seed=0, size=16)
    images = sorted((tmp_path / "data").rglob("*.jpg"))
    for image in images[::5]:
        image.unlink()
    flags = ["--mode=verify", "--dataset=chexpert", f"--manual_dir={tmp_path / 'data'}"]
    code, output, _ = main(capsys, *flags, f"--data_dir={tmp_path / 'tfds'}")
    assert code == 1
    assert f"has not: {len(images[::5])}" in output
    assert (
        "1 problem." in output and "say with --on_missing_image=skip that a part is meant" in output
    )
    # The table itself is a part: that there is less than was published is no news.
    of_tables = pd.concat(pd.read_csv(file) for file in (tmp_path / "data").rglob("train.csv"))
    assert "Note: images in train+validation+test: 223,414 were published, " in output
    assert f"found; the tables have {len(of_tables):,}, a part." in output


def test_images_are_reduced_at_build(photos, tmp_path):
    options = BuildOptions(long_side=30)
    builder = prepare("derm_bags", manual_dir=photos, data_dir=tmp_path, options=options)
    shapes = {image.shape for bag in read(builder, "train") for image in bag["images"]}
    assert shapes == {(20, 30, 3)}


def test_what_a_killed_build_left_is_cleared_away(photos, tmp_path):
    builder = prepare("derm_bags", manual_dir=photos, data_dir=tmp_path)
    shutil.move(builder.data_path, builder.data_path.parent / "incomplete.ABCDEF_1.1.0")
    again = prepare("derm_bags", manual_dir=photos, data_dir=tmp_path)
    assert again.is_prepared()
    assert not list(tmp_path.rglob("incomplete*"))


_HOLDS = """
import filelock, sys
file = open(sys.argv[1], "a")
filelock.lock_descriptor(file.fileno())
print("held", flush=True)
sys.stdin.read()
"""


def test_a_second_process_waits_and_finds_the_dataset_done(photos, tmp_path, monkeypatch):
    builds = []
    first = prepare("derm_bags", manual_dir=photos, data_dir=tmp_path / "first").data_path
    place = tmp_path / "shared" / first.relative_to(tmp_path / "first")
    place.parent.mkdir(parents=True)
    monkeypatch.setattr(prepare_module, "_build", lambda *_: builds.append(True))
    holds = [sys.executable, "-c", _HOLDS, place.parent / ".lock"]
    with (
        concurrent.futures.ThreadPoolExecutor() as threads,
        subprocess.Popen(holds, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other,
    ):
        assert other.stdout.readline() == b"held\n"
        options = {"manual_dir": photos, "data_dir": tmp_path / "shared"}
        second = threads.submit(prepare, "derm_bags", **options)
        with pytest.raises(concurrent.futures.TimeoutError):  # who does not wait is done in 0.1 s
            second.result(timeout=2)
        shutil.move(first, place)
        other.stdin.close()  # which ends it
        prepared = second.result(timeout=60)
    assert not builds and prepared.info.splits["train"].num_examples == 4


@pytest.mark.parametrize("code", [errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK])
def test_where_there_are_no_locks_nobody_clears_away_what_another_may_be_building(
    photos, tmp_path, monkeypatch, code
):
    def has_none(descriptor):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(prepare_module.filelock, "lock_descriptor", has_none)
    builder = prepare("derm_bags", manual_dir=photos, data_dir=tmp_path)
    unfinished_build = builder.data_path.parent / "incomplete.ABCDEF_1.1.0"
    shutil.move(builder.data_path, unfinished_build)
    assert prepare("derm_bags", manual_dir=photos, data_dir=tmp_path).is_prepared()
    assert unfinished_build.exists()


def read(builder, split):
    return tfds.as_numpy(builder.as_dataset(split=split))


@pytest.mark.parametrize(
    "name, options, words",
    [
        ("nonesuch", {}, "is no dataset that TFDS knows, nor one of derm_bags, chexpert"),
        ("/tmp", {}, "--dataset=derm_bags --manual_dir=/tmp"),
        ("chexpert", {}, "--dataset=chexpert reads a folder"),
        ("derm_bags/demo", {"options": BuildOptions(long_side=3)}, "build_long_side means nothing"),
        (
            "nih_cxr14",
            {"options": BuildOptions(top_conditions=3)},
            "--top_conditions means nothing",
        ),
        ("derm_bags", {"beam_runner": "DirectRunner"}, "built by one process"),
    ],
)
def test_mistakes_are_named(name, options, words, photos, tmp_path):
    arguments = {"manual_dir": photos, **options} if options else {}
    with pytest.raises(DataError) as caught:
        prepare(name, data_dir=tmp_path, **arguments)
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "raised, words",
    [
        (AssertionError("Put ILSVRC.tar\ninto /manual."), "Put ILSVRC.tar into /manual."),
        (ConnectionError("no route"), "could not be downloaded (ConnectionError): no route"),
    ],
)
def test_what_tfds_raises_becomes_a_sentence(raised, words, tmp_path, monkeypatch):
    class Builder:
        data_path, name = tmp_path / "there", "imagenet"
        info = type("Info", (), {"full_name": "imagenet/1.0.0"})

        def is_prepared(self):
            return False

        def download_and_prepare(self, download_config):
            raise raised

    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Builder())
    with pytest.raises(DataError) as caught:
        prepare("imagenet")
    assert words in str(caught.value) and "\n" not in str(caught.value)
