"""A dataset is its content: a copy of a folder is the same one, and unchanged files are read once."""

import dataclasses
import hashlib
import os
import pathlib
import shutil

import pytest

from helpers import cxr_twins
from helpers.derm_folders import draw
from helpers.folders import draw_cases
from tfds_builders import chexpert_studies, contents, derm_bags, nih_cxr14
from tfds_builders.contents import UNREADABLE, Contents, File
from tfds_builders.prepare import BuildOptions, prepare

LONG_AGO = 10**18  # ns, 2001


def listed(folder):
    """Returns the files of a folder, and sets their times to LONG_AGO."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        os.utime(path, ns=(LONG_AGO, LONG_AGO))
    return [
        File(str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns)
        for path in files
    ]


@pytest.fixture
def some_files(tmp_path):
    folder = tmp_path / "ünïcode folder"
    (folder / "sub").mkdir(parents=True)
    for i in range(5):
        (folder / ("sub" if i % 2 else "") / f"{i} é.bin").write_bytes(bytes([i]) * (100_000 * i))
    return folder


@pytest.fixture
def reads(monkeypatch):
    """Returns the list of paths that are read, growing."""
    paths, read = [], contents._hash
    monkeypatch.setattr(contents, "_hash", lambda path: paths.append(path) or read(path))
    return paths


def test_digests_are_those_of_the_files_and_each_is_read_once(some_files, tmp_path, reads):
    files = listed(some_files)
    expected = [hashlib.sha256((some_files / f.path).read_bytes()).digest() for f in files]
    twice = [*files, *files[::-1]]
    for data_dir in (tmp_path / "data", str(tmp_path / "data")):
        assert Contents(data_dir).digests(str(some_files), twice) == expected + expected[::-1]
    assert len(reads) == 5  # the second time none
    (some_files / files[2].path).write_bytes(b"now another")
    changed = files[2]._replace(size=11, mtime=LONG_AGO + 1)
    new = Contents(tmp_path / "data").digests(str(some_files), [*files[:2], changed])
    assert new == [*expected[:2], hashlib.sha256(b"now another").digest()]
    assert len(reads) == 6
    Contents(tmp_path / "data").digests(str(some_files), files[:2])
    assert len(reads) == 6
    Contents("").digests(str(some_files), files[:2])  # remembers nothing
    assert len(reads) == 8


def test_a_file_that_has_just_changed_is_not_remembered(some_files, tmp_path, reads):
    files = listed(some_files)
    new = files[0]._replace(mtime=contents.time.time_ns())
    for _ in range(2):
        Contents(tmp_path).digests(str(some_files), [new, *files[1:]])
    assert len(reads) == 6 and reads[0] == reads[5]


@pytest.mark.parametrize("damage", [b"", b"PK\x03\x04 cut off", None])
def test_a_damaged_memory_is_made_again(some_files, tmp_path, reads, damage):
    files = listed(some_files)
    digests = Contents(tmp_path).digests(str(some_files), files)
    (cache,) = (tmp_path / ".file_hashes").iterdir()
    cache.write_bytes(cache.read_bytes()[:-200] if damage is None else damage)
    assert Contents(tmp_path).digests(str(some_files), files) == digests and len(reads) == 10
    assert Contents(tmp_path).digests(str(some_files), files) == digests and len(reads) == 10


def test_what_a_killed_process_has_left_is_removed_and_that_of_a_living_one_is_not(
    some_files, tmp_path
):
    Contents(tmp_path).digests(str(some_files), listed(some_files)[:1])
    (cache,) = (tmp_path / ".file_hashes").iterdir()
    old, young = (cache.with_name(f"{cache.name}.{pid}.tmp") for pid in (1, 2))
    for leftover in (old, young):
        leftover.write_bytes(b"half")
    os.utime(old, ns=(LONG_AGO, LONG_AGO))
    Contents(tmp_path).digests(str(some_files), listed(some_files))
    assert sorted((tmp_path / ".file_hashes").iterdir()) == [cache, young]


def test_what_cannot_be_read_or_remembered_stops_nothing(some_files, tmp_path, capsys):
    files = [*listed(some_files), File("gone.png", 3, LONG_AGO)]
    (tmp_path / "data").write_text("a file, not a folder")
    digests = Contents(tmp_path / "data").digests(str(some_files), files)
    assert digests[-1] == UNREADABLE and UNREADABLE not in digests[:-1]
    assert "cannot be written to" in capsys.readouterr().out
    (some_files / "gone.png").write_bytes(b"abc")  # it has come back, with its old time
    cached = Contents(tmp_path / "there")
    cached.digests(str(some_files), files[:-1])
    assert cached.digests(str(some_files), files)[-1] == hashlib.sha256(b"abc").digest()


def test_long_reading_says_how_far_it_is(some_files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(contents, "_SECONDS_UNTIL_REPORT", -1)
    Contents("").digests(str(some_files), listed(some_files))
    output = capsys.readouterr().err
    assert output.count("\n") == 1 and "1 of 5" in output and "s left" in output


# The same dataset


def draw_tree(folder):
    for i in range(8):
        draw(folder / f"{'ab'[i % 2]}/case{i}/{i}.png", seed=i)


FOLDERS = {
    "manifest": (derm_bags, lambda folder: draw_cases(folder, {"train": 3, "test": 2})),
    "tree": (derm_bags, draw_tree),
    "chexpert": (chexpert_studies, lambda f: cxr_twins.draw_chexpert(f, 6, seed=0, size=16)),
    "nih": (nih_cxr14, lambda folder: cxr_twins.draw_nih(folder, 6, seed=0, size=16)),
}


@pytest.mark.parametrize("name", FOLDERS)
def test_a_copy_with_other_times_is_the_same_dataset(name, tmp_path):
    package, draw_folder = FOLDERS[name]
    draw_folder(tmp_path / "here")
    shutil.copytree(tmp_path / "here", tmp_path / "there", copy_function=shutil.copyfile)
    listed(tmp_path / "there")
    here, there = (package.folder_config(str(tmp_path / place)) for place in ("here", "there"))
    assert here.name == there.name
    image = next(
        p
        for p in sorted((tmp_path / "there").rglob("*.*g"))
        if "train" in str(p) or name != "chexpert"
    )
    data = bytearray(image.read_bytes())
    data[len(data) // 2] ^= 1  # of the same size
    image.write_bytes(data)
    os.utime(image, ns=(LONG_AGO, LONG_AGO))  # and time
    assert package.folder_config(str(tmp_path / "there")).name != here.name


def test_what_is_prepared_of_one_copy_serves_the_other(tmp_path, capsys):
    draw_cases(tmp_path / "here", {"train": 3, "test": 2})
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    first = prepare("derm_bags", manual_dir=tmp_path / "here", data_dir=tmp_path / "data")
    assert "Preparing" in capsys.readouterr().out
    second = prepare("derm_bags", manual_dir=tmp_path / "there", data_dir=tmp_path / "data")
    assert second.data_path == first.data_path and capsys.readouterr().out == ""


# What earlier versions prepared


def older_name(folder, long_side=0):
    """Returns the name by which versions before prepared a manifest's folder with all metadata."""
    raw = (folder / "manifest.csv").read_bytes()
    digest = hashlib.sha256(f"manifest False 0 '' 1.2.0 {long_side}".encode() + b"\0" + raw)
    for row in raw.decode().splitlines()[1:]:
        name = row.split(",")[1]
        info = (folder / name).stat()
        digest.update(f"{name}\0{info.st_size}\0{info.st_mtime_ns}\n".encode())
    return f"folder_{digest.hexdigest()[:10]}"


def prepare_as_before(package, folder, data_dir, name):
    config = package.folder_config(str(folder), keep_metadata="all")
    builder = package.Builder(config=dataclasses.replace(config, name=name), data_dir=data_dir)
    builder.download_and_prepare()
    return builder


def test_what_earlier_versions_prepared_is_found_while_files_are_as_they_were(tmp_path, capsys):
    folder, data = draw_cases(tmp_path / "here", {"train": 3, "test": 2}), tmp_path / "data"
    older = prepare_as_before(derm_bags, folder, data, older_name(folder))
    capsys.readouterr()
    builder = prepare("derm_bags", manual_dir=folder, data_dir=data)
    assert builder.data_path == older.data_path and builder.info.full_name == older.info.full_name
    assert "earlier version prepared" in capsys.readouterr().out
    fewer = BuildOptions(keep_metadata="none")  # for privacy: never the copy with everything
    assert (
        prepare("derm_bags", manual_dir=folder, data_dir=data, options=fewer).data_path
        != older.data_path
    )
    listed(folder)
    capsys.readouterr()
    assert prepare("derm_bags", manual_dir=folder, data_dir=data).data_path != older.data_path
    assert "earlier version" not in capsys.readouterr().out


def test_an_older_copy_with_other_labels_is_not_used_and_that_is_said(tmp_path, capsys):
    folder, data = draw_cases(tmp_path / "here", {"train": 3, "test": 2}), tmp_path / "data"
    prepared = draw_cases(tmp_path / "other", {"train": 3, "test": 2}, classes=3)
    older = prepare_as_before(derm_bags, prepared, data, older_name(folder))
    builder = prepare("derm_bags", manual_dir=folder, data_dir=data)
    assert builder.data_path != older.data_path
    assert "Not used:" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["chexpert", "nih"])
def test_older_copies_of_chest_xrays_are_found(name, tmp_path, capsys):
    package, draw_folder = FOLDERS[name]
    draw_folder(tmp_path / "here")
    config = package.folder_config(str(tmp_path / "here"), keep_metadata="all")
    table = config.table
    digest = hashlib.sha256(b"1.0.0 error 0")
    for file in sorted(table.files):
        digest.update(b"\0%s\0" % file.encode() + pathlib.Path(table.folder, file).read_bytes())
    paths = table.rows["path"]
    stats = [os.stat(os.path.join(table.folder, path)) for path in paths]
    digest.update("\0".join(paths).encode())
    for numbers in ([s.st_size for s in stats], [s.st_mtime_ns for s in stats]):
        digest.update(b"".join(number.to_bytes(8, "little") for number in numbers))
    older = f"folder_{digest.hexdigest()[:10]}"
    assert config.older_names == (older,)
    older_copy = prepare_as_before(package, tmp_path / "here", tmp_path / "data", older)
    capsys.readouterr()
    dataset = {"chexpert": "chexpert", "nih": "nih_cxr14"}[name]
    builder = prepare(dataset, manual_dir=tmp_path / "here", data_dir=tmp_path / "data")
    assert builder.data_path == older_copy.data_path and "earlier" in capsys.readouterr().out
