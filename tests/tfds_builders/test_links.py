"""Links, images kept elsewhere, and files whose names differ in spelling: one rule in all readers."""

import os
import random
import shutil
import unicodedata

import numpy as np
import pandas as pd
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from helpers import cxr_twins
from helpers.derm_folders import draw, ham_folder, pad_folder, scin_folder
from tfds_builders import chexpert_studies, derm_bags, nih_cxr14
from tfds_builders.chexpert_studies import table as chexpert_table
from tfds_builders.derm_bags.layouts.files import image_paths
from tfds_builders.derm_bags.manifest import read_manifest
from tfds_builders.errors import DataError
from tfds_builders.folders import ImageRoot
from tfds_builders.image_index import index_files, walk
from tfds_builders.near_paths import difference, near_miss
from tfds_builders.nih_cxr14 import table as nih_table
from tfds_builders.splits import hash_split

IN_TRAIN = [f"in{i}" for i in range(60) if hash_split(f"in{i}") == "train"]
HAM_LESION = next(i for i in range(60) if hash_split(f"HAM_{i:07d}") == "train")
PAT = next(i for i in range(60) if hash_split(f"PAT_{i}") == "train")


def error_of(function, *args, **options):
    with pytest.raises(DataError) as caught:
        function(*args, **options)
    message = str(caught.value)
    assert message.endswith(".") and ("\n" in message) == (" problems in " in message)
    return message


def picture(path, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    draw(path, seed=seed)


# The walk, against a slow and obvious one


def slow_walk(folder):
    """Returns the real files that os.walk finds by following every link, to a depth of four."""
    paths = {}
    for here, folders, names in os.walk(folder, followlinks=True):
        depth = os.path.relpath(here, folder).count(os.sep)
        folders[:] = [name for name in folders if depth < 4]
        for name in names:
            path = os.path.join(here, name)
            if os.path.isfile(path) and name.endswith(".png"):
                paths.setdefault(os.path.realpath(path), path)
    return set(paths)


def test_every_file_is_found_once_whatever_the_links(tmp_path):
    rng = random.Random(3)
    for trial in range(30):
        root, outside = tmp_path / f"{trial}" / "in", tmp_path / f"{trial}" / "out"
        folders = [root, outside]
        for base in (root, root, root, outside, outside):
            folder = rng.choice([f for f in folders if base in (f, *f.parents)] or [base])
            folders.append(folder / f"d{len(folders)}")
        for i, folder in enumerate(folders):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{i}.png").write_bytes(b"x")
        for link in range(4):  # among them to itself, to parents, to each other
            target = rng.choice([f for f in folders if f != outside and f != root])
            if rng.random() < 0.2:
                target = root
            os.symlink(
                target, rng.choice([f for f in folders if root in (f, *f.parents)]) / f"l{link}"
            )
        os.symlink("loop", root / "loop")
        try:
            paths = list(walk(ImageRoot(str(root), follow_links=True)))
        except DataError as error:
            assert "lead to one folder" in str(error)
            continue
        real_paths = [os.path.realpath(root / path) for path in paths]
        assert len(set(real_paths)) == len(real_paths) and set(real_paths) == slow_walk(root)
        inside = {path for path in slow_walk(root) if str(root) in path}
        try:
            without = {os.path.realpath(root / path) for path in walk(ImageRoot(str(root)))}
        except DataError as error:
            assert "--follow_links" in str(error) and set(real_paths) != inside
        else:
            assert without == inside == set(real_paths)


def test_links_to_each_other_do_not_hang(tmp_path):
    """Ten folders, each with a link to all others: to follow each way would be 10! ways."""
    root, store = tmp_path / "root", tmp_path / "store"
    root.mkdir()
    for i in range(10):
        (store / f"f{i}").mkdir(parents=True)
        (store / f"f{i}" / f"{i}.png").write_bytes(b"x")
        for j in range(10):
            os.symlink(store / f"f{j}", store / f"f{i}" / f"to{j}")
    os.symlink(store, root / "store")
    paths = list(walk(ImageRoot(str(root), follow_links=True)))
    assert sorted(paths) == [f"store/f{i}/{i}.png" for i in range(10)]


def test_links_that_lead_above_the_folder_or_twice_to_one_are_refused(tmp_path):
    root = tmp_path / "a" / "root"
    picture(root / "x.png")
    picture(tmp_path / "b" / "y.png")
    follow = ImageRoot(str(root), follow_links=True)
    os.symlink(tmp_path / "b", root / "one")
    os.symlink(tmp_path / "b", root / "two")
    message = error_of(image_paths, follow)
    assert f"{root}/two and {root}/one lead to one folder" in message
    (root / "two").unlink()
    assert image_paths(follow) == ["one/y.png", "x.png"]
    os.symlink(tmp_path, root / "above")
    assert "above is a link to" in error_of(image_paths, follow)
    assert "which holds this folder itself" in error_of(image_paths, follow)


def test_hidden_files_and_links_to_nowhere(tmp_path):
    for name in ("a.png", ".b.png", ".hidden/c.png", "__MACOSX/d.png", "e.txt", "F.JPG"):
        picture(tmp_path / name) if not name.endswith("txt") else (tmp_path / name).touch()
    os.symlink(tmp_path / "nowhere.png", tmp_path / "gone.png")
    assert sorted(walk(ImageRoot(str(tmp_path)))) == ["F.JPG", "a.png", "gone.png"]
    assert list(index_files(ImageRoot(str(tmp_path)))["path"]) == ["F.JPG", "a.png"]


# Every reader: links that lead out, and --image_root


def manifest_folder(root):
    for i, name in enumerate(("img/a.png", "img/b.png")):
        picture(root / name, seed=i)
    (root / "manifest.csv").write_text(
        "case_id,image_path,label,split\n1,img/a.png,x,train\n2,img/b.png,y,train\n"
    )


def scin(root):
    scin_folder(root, [(IN_TRAIN[0], ["1", "2"], {"a": 1}), (IN_TRAIN[1], ["3"], {"b": 1})])


def ham(root):
    root.mkdir(parents=True)
    ham_folder(root, [(HAM_LESION, "mel", 3)])


def pad(root):
    pad_folder(root, [(PAT, 7, "BCC", 2)], images="img")


def tree(root):
    for i, name in enumerate(IN_TRAIN[:4]):
        picture(root / f"{'ab'[i % 2]}/{name}/x.png", seed=i)


def image_folder(root):
    for i in range(8):
        picture(root / f"train/{'ab'[i % 2]}/{i}.png", seed=i)


def loose(root):
    for i, name in enumerate(IN_TRAIN[:4]):
        picture(root / f"all/{name}.png", seed=i)


def chexpert(root):
    cxr_twins.draw_chexpert(root.parent, num_patients=12, seed=1, size=8, root=root.name)


def nih(root):
    cxr_twins.draw_nih(root, num_patients=12, seed=1, size=8)


READERS = {
    "manifest": (manifest_folder, derm_bags, {}),
    "scin": (scin, derm_bags, {}),
    "ham": (ham, derm_bags, {}),
    "pad": (pad, derm_bags, {}),
    "tree": (tree, derm_bags, {}),
    "image_folder": (image_folder, derm_bags, {}),
    "loose": (loose, derm_bags, {"bag_regex": r"([^/]+)\.png"}),
    "chexpert": (chexpert, chexpert_studies, {}),
    "nih": (nih, nih_cxr14, {}),
}


def images_of(config):
    """Returns the paths of a config's images, and the folder they are relative to."""
    if hasattr(config, "manifest"):
        cases = config.manifest.cases
        return {i.path for case in cases for i in case.images}, config.manifest.image_folder
    return set(config.table.rows["path"]), config.table.image_folder


@pytest.fixture(params=READERS)
def reader(request, tmp_path):
    """(folder, its config function, names of the folders of images in it)."""
    draw_folder, package, options = READERS[request.param]
    root = tmp_path / "mine" / "data"
    draw_folder(root)
    tops = sorted(path.name for path in root.iterdir() if path.is_dir())

    def config(folder=root, **more):
        return package.folder_config(str(folder), **options, **more)

    return root, config, tops


def test_linked_folders_are_refused_or_followed_by_one_rule(reader, tmp_path):
    root, config, tops = reader
    before = images_of(config())
    for top in tops:
        shutil.move(root / top, tmp_path / "share" / top)
        os.symlink(tmp_path / "share" / top, root / top)
    message = error_of(config)
    assert f"leads out of {root}" in message and "--follow_links" in message
    assert images_of(config(follow_links=True)) == before


def test_linked_files_are_refused_or_followed_by_one_rule(reader, tmp_path):
    root, config, _ = reader
    before = images_of(config())
    (tmp_path / "share").mkdir()
    for i, path in enumerate(sorted(before[0])):
        shutil.move(root / path, tmp_path / "share" / str(i))
        os.symlink(tmp_path / "share" / str(i), root / path)
    message = error_of(config)
    assert f"leads out of {root}" in message and "--follow_links" in message
    assert images_of(config(follow_links=True)) == before


def test_links_inside_need_no_flag(reader):
    root, config, tops = reader
    before = images_of(config())
    os.symlink(root, root / tops[0] / "back")  # a cycle
    os.symlink(root / tops[0], root / "also")
    assert images_of(config()) == before
    assert images_of(config(follow_links=True)) == before


def test_images_may_be_elsewhere_and_nothing_is_written_there(reader, tmp_path):
    root, config, tops = reader
    before, _ = images_of(config())
    share = tmp_path / "share"
    share.mkdir()
    for top in tops:
        moved = "dataset/images" if top == "dataset" else top  # SCIN's tables stay
        shutil.move(root / moved, share / moved)
    listed = sorted((path, path.stat().st_mtime_ns) for path in share.rglob("*"))
    reread = config(image_root=str(share))
    assert images_of(reread) == (before, str(share))
    assert "--image_root" in error_of(config, image_root=str(share / "nowhere"))
    os.symlink(share, tmp_path / "link_to_share")  # the root itself may be a link
    assert images_of(config(image_root=str(tmp_path / "link_to_share"))) == (before, str(share))
    package = chexpert_studies if hasattr(reread, "table") and "train" in tops else None
    package = package or (nih_cxr14 if hasattr(reread, "table") else derm_bags)
    builder = package.Builder(config=reread, data_dir=tmp_path / "tfds")
    builder.download_and_prepare()
    assert sum(builder.info.metadata["num_images"].values()) == len(before)
    assert sorted((path, path.stat().st_mtime_ns) for path in share.rglob("*")) == listed


def test_where_images_are_does_not_decide_the_name_of_the_copy(tmp_path):
    manifest_folder(tmp_path / "data")
    plain = derm_bags.folder_config(str(tmp_path / "data"))
    linked = derm_bags.folder_config(str(tmp_path / "data"), follow_links=True)
    assert linked.name == plain.name
    (tmp_path / "share").mkdir()
    (tmp_path / "data" / "img").rename(tmp_path / "share" / "img")
    moved = derm_bags.folder_config(str(tmp_path / "data"), image_root=str(tmp_path / "share"))
    assert moved.name == plain.name


def test_a_path_of_a_table_leads_nowhere_else_even_with_follow_links(tmp_path):
    manifest_folder(tmp_path / "data")
    picture(tmp_path / "secret.png")
    picture(tmp_path / "store" / "in" / "c.png")
    picture(tmp_path / "store" / "secret.png")
    os.symlink(tmp_path / "store" / "in", tmp_path / "data" / "link")
    head = "case_id,image_path,split\n"
    for path, words in {
        "../secret.png": "leads out of",
        "img/../../secret.png": "leads out of",
        f"{tmp_path}/secret.png": "is absolute",
        "link/../secret.png": "goes back out of a link",
    }.items():
        (tmp_path / "data" / "manifest.csv").write_text(f"{head}1,{path},train\n")
        message = error_of(read_manifest, tmp_path / "data", follow_links=True)
        assert "row 2" in message and words in message
    (tmp_path / "data" / "manifest.csv").write_text(f"{head}1,link/c.png,train\n")
    (case,) = read_manifest(tmp_path / "data", follow_links=True).cases
    assert case.images[0].path == "link/c.png"


# Files whose names differ in spelling

NFC, NFD = (unicodedata.normalize(form, "Müller é.jpg") for form in ("NFC", "NFD"))


@pytest.mark.parametrize(
    "written, there, words",
    [
        ("img/a.jpg", "img/A.jpg", "in case"),
        ("img/a.jpg", "IMG/a.jpg", "in case"),
        ("img/a.jpg", "img/a.JPG", "in case"),
        ("img/a.jpg", "img/a.png", "in extension"),
        ("img/a.jpeg", "Img/A.png", "in case and in extension"),
        (NFC, NFD, "in Unicode normal form (NFC in the table, NFD on the disk)"),
        (NFD, NFC, "in Unicode normal form (NFD in the table, NFC on the disk)"),
        (
            f"Müller/{NFC}",
            unicodedata.normalize("NFD", f"müller/{NFC}"),
            "NFD on the disk) and in case",
        ),
        ("Straße/1.png", "STRASSE/1.png", "in case"),
        ("img\\a.jpg", "img/a.jpg", "in / and \\"),
        ("a", "a.png", "in extension"),
        ("./img//a.jpg", "img/a.tif", "in extension"),
    ],
)
def test_the_file_that_is_there_is_found(tmp_path, written, there, words):
    (tmp_path / there).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / there).touch()
    assert near_miss(ImageRoot(str(tmp_path)), written) == there
    assert words in difference(written, there)


def test_nothing_near_is_nothing(tmp_path):
    (tmp_path / "img").mkdir()
    (tmp_path / "img" / "ab.jpg").touch()
    (tmp_path / "a.jpg").mkdir()
    (tmp_path.parent / "outside.jpg").touch()
    root = ImageRoot(str(tmp_path))
    for path in ("img/a.jpg", "imgs/ab.jpg", "A.JPG", "../OUTSIDE.jpg", "img/ab.jpg/x", ""):
        assert near_miss(root, path) == ""


def test_a_file_in_the_other_of_two_folders_is_found(tmp_path):
    for name in ("Img/x.jpg", "img/y.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert near_miss(ImageRoot(str(tmp_path)), "img/X.jpg") == "Img/x.jpg"


def respell(root, paths, change):
    """Renames files, name and extension, as `change` says; returns old -> new."""
    new = {
        path: os.path.join(os.path.dirname(path), change(os.path.basename(path))) for path in paths
    }
    for old, now in new.items():
        os.rename(root / old, root / now)
    return new


@pytest.mark.parametrize("name", ["manifest", "scin", "ham", "pad"])
def test_derm_readers_name_the_file_that_is_there(tmp_path, name):
    root = tmp_path / "data"
    READERS[name][0](root)
    paths, _ = images_of(derm_bags.folder_config(str(root)))
    first = min(paths)
    new = respell(root, [first], lambda text: text.swapcase() + "F" * (name == "pad"))
    if name == "pad":
        new = {first: first.replace(".png", ".jpg")}
        os.rename(next(root.glob("img/*F")), root / new[first])
    elif name == "scin":
        new = {first: first.replace(".png", ".webp")}
        os.rename(next(root.glob("dataset/images/*.PNG")), root / new[first])
    message = error_of(derm_bags.folder_config, str(root))
    assert f"there is {new[first]!r}, which differs in " in message and "cannot be found" in message
    config = derm_bags.folder_config(str(root), on_bad_image="skip")
    (note,) = config.notes
    assert "1 of the missing images may be there under another spelling" in note
    assert repr(new[first]) in note
    (missing,) = config.manifest.missing
    assert missing[2].startswith("the file is missing; there is one that differs in ")


def test_chexpert_names_files_of_another_case_and_takes_any_extension(tmp_path):
    root = tmp_path / "CheXpert-v1.0-small"
    chexpert(root)
    before = chexpert_table.read_table(root)
    paths = sorted(before.rows["path"])
    respell(root, paths[::2], lambda text: text.replace(".jpg", ".JPEG"))
    read = chexpert_table.read_table(root)
    assert list(read.rows["bag_id"]) == list(before.rows["bag_id"]) and not read.notes
    respell(root, [paths[1]], lambda text: text.replace("view", "View"))
    read = chexpert_table.read_table(root)
    there = paths[1].replace("view", "View")
    assert read.num_missing == 1 and read.facts["near_images"][0][1] == there
    missing, near = read.notes
    assert "1 of the" in missing and repr(there) in near
    os.rename(root / "train", root / "Train")
    message = error_of(chexpert_table.read_table, root)
    assert "rename those that are there under another spelling" in message and "'Train/" in message


def test_nih_is_read_as_jpg_or_png_in_any_case(tmp_path):
    nih(tmp_path)
    before = nih_table.read_table(tmp_path)
    for i, path in enumerate(sorted(before.rows["path"])):
        new = tmp_path / path.replace(".png", (".png", ".PNG", ".jpg", ".JPEG")[i % 4])
        if "j" in new.suffix.lower():
            Image.open(tmp_path / path).convert("L").save(new)
            (tmp_path / path).unlink()
        else:
            os.rename(tmp_path / path, new)
    after = nih_table.read_table(tmp_path)
    same = ["bag_id", "patient_id", "split", "age", *nih_table.LABELS]
    pd.testing.assert_frame_equal(after.rows[same], before.rows[same])
    assert after.num_missing == 0 and len(set(after.rows["path"].str[-4:])) == 4
    text = (tmp_path / "Data_Entry_2017_v2020.csv").read_text()  # a table that says so, too
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(text.replace(".png", ".jpg"))
    pd.testing.assert_frame_equal(nih_table.read_table(tmp_path).rows[same], before.rows[same])


def test_nih_in_another_format_is_named(tmp_path):
    nih(tmp_path)
    path = sorted(nih_table.read_table(tmp_path).rows["path"])[0]
    os.rename(tmp_path / path, tmp_path / path.replace(".png", ".tif"))
    read = nih_table.read_table(tmp_path)
    assert read.num_missing == 1
    assert repr(path.replace(".png", ".tif")) in read.notes[-1]


def test_chexpert_s_images_may_be_in_the_dataset_s_folder_below_image_root(tmp_path):
    root = tmp_path / "CheXpert-v1.0-small"
    chexpert(root)
    before = chexpert_table.read_table(root).rows
    tables = tmp_path / "tables"
    tables.mkdir()
    for name in ("train.csv", "valid.csv"):
        (root / name).rename(tables / name)
    read = chexpert_table.read_table(tables, image_root=str(tmp_path))
    assert list(read.rows["path"]) == [f"CheXpert-v1.0-small/{path}" for path in before["path"]]
    assert read.facts["image_root"] == str(tmp_path)


def test_what_is_stored_is_the_same_with_images_elsewhere(tmp_path):
    manifest_folder(tmp_path / "data")
    stored = []
    for image_root in ("", str(tmp_path / "share")):
        if image_root:
            (tmp_path / "share").mkdir()
            (tmp_path / "data" / "img").rename(tmp_path / "share" / "img")
        config = derm_bags.folder_config(str(tmp_path / "data"), image_root=image_root)
        builder = derm_bags.Builder(config=config, data_dir=tmp_path / f"tfds{len(stored)}")
        builder.download_and_prepare()
        encoded = {"images": tfds.decode.SkipDecoding()}
        bags = tfds.as_numpy(builder.as_dataset(split="train", decoders=encoded))
        stored.append(sorted(bag["images"].tolist() for bag in bags))
        assert builder.info.metadata.get("image_root", "") == image_root
    np.testing.assert_array_equal(*stored)
