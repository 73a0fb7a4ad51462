"""Who names a folder never gets the demo: --manual_dir without --dataset, and mistakes of --dataset."""

import shutil

import pytest

from helpers import cxr_twins
from helpers.command_line import run
from helpers.derm_folders import ham_folder, pad_folder, scin_folder
from helpers.folders import draw_cases
from simclr_med.commands import flags
from tfds_builders.detect import detect
from tfds_builders.errors import DataError


@pytest.fixture
def photos(tmp_path):
    return draw_cases(tmp_path / "photos", {"train": 3, "validation": 2})


def chexpert(root):
    cxr_twins.draw_chexpert(root, num_patients=6, seed=0, size=8)


def nih(root):
    cxr_twins.draw_nih(root, num_patients=6, seed=0, size=8)


DRAW = {
    "chexpert": [chexpert],
    "nih_cxr14": [nih],
    "derm_bags": [
        lambda root: draw_cases(root, {"train": 2}),
        lambda root: scin_folder(root, [("1", ["1"], {"a": 1})]),
        lambda root: root.mkdir() or ham_folder(root, [(1, "nv", 1)]),
        lambda root: pad_folder(root, [(1, 1, "BCC", 1)]),
        lambda root: root.mkdir(),
    ],
}


@pytest.mark.parametrize("name", DRAW)
def test_each_dataset_is_recognised_by_its_tables(name, tmp_path):
    for i, draw in enumerate(DRAW[name]):
        draw(tmp_path / str(i))
        assert detect(tmp_path / str(i))[0] == name


def test_another_s_train_csv_is_not_chexpert_s_and_excel_s_is(tmp_path):
    (tmp_path / "train.csv").write_text("image,label\na.png,x\n")
    assert detect(tmp_path)[0] == "derm_bags"
    for text in ("\ufeffPath;Sex;Age;Frontal/Lateral\n", "sep=;\nPath;Frontal/Lateral\n"):
        (tmp_path / "train.csv").write_text(text)
        assert detect(tmp_path)[0] == "chexpert"
    (tmp_path / "train.csv").write_bytes("Path,Frontal/Lateral\n".encode("utf-16"))
    assert detect(tmp_path) == ("chexpert", "train.csv")


def test_tables_of_several_datasets_are_not_chosen_from(tmp_path):
    nih(tmp_path)
    (tmp_path / "manifest.csv").write_text("case_id,image_path\n")
    with pytest.raises(DataError) as caught:
        detect(tmp_path)
    for words in ("manifest.csv (derm_bags)", "--dataset=nih_cxr14|derm_bags"):
        assert words in str(caught.value)
    with pytest.raises(DataError, match="does not exist"):
        detect(tmp_path / "nowhere")


@pytest.mark.parametrize("mode", ["verify", "build"])
def test_a_folder_alone_is_read(mode, tmp_path, photos):
    code, output, _ = run(f"--mode={mode}", f"--manual_dir={photos}", f"--data_dir={tmp_path}/tfds")
    assert code == 0
    assert f"--manual_dir={photos} is read as --dataset=derm_bags (manifest.csv)" in output
    assert "demo" not in output and "derm_bags/folder_" in output


def test_a_chest_x_ray_folder_alone_is_read(tmp_path):
    chexpert(tmp_path / "data")
    code, output, _ = run(
        "--mode=build", f"--manual_dir={tmp_path}/data", f"--data_dir={tmp_path}/tfds"
    )
    assert code == 0 and "chexpert_studies/folder_" in output
    assert "is read as --dataset=chexpert (CheXpert-v1.0-small/train.csv)" in output


@pytest.mark.parametrize("mode", ["train", "train_then_eval", "verify", "build", "sweep"])
def test_a_folder_that_is_not_there_is_no_demo(mode, tmp_path):
    code, output, errors = run(f"--mode={mode}", f"--manual_dir={tmp_path}/nowhere")
    assert (code, output) == (2, "") and "nowhere does not exist" in errors


def test_without_any_folder_it_stays_the_demo(photos):
    assert flags.parse(["", "--mode=verify"]).is_demo
    assert not flags.parse(["", "--mode=verify", f"--manual_dir={photos}"]).is_demo
    assert not flags.parse(["", "--mode", "verify", "--manual_dir", str(photos)]).is_demo
    assert not flags.parse(["", f"--image_root={photos}"]).is_demo
    code, _, errors = run("--mode=verify", f"--image_root={photos}")
    assert code == 2 and "--dataset is missing" in errors and "--manual_dir" in errors


def test_a_recipe_s_dataset_is_kept_but_the_demo_s_is_refused(tmp_path, photos):
    (tmp_path / "my.flags").write_text("--dataset=derm_bags\n")
    flagfile = f"--flagfile={tmp_path}/my.flags"
    where = [f"--manual_dir={photos}", f"--data_dir={tmp_path}/tfds"]
    code, output, _ = run(flagfile, "--mode=build", *where)
    assert code == 0 and "is read as" not in output
    for demo in ("--flagfile=demo.flags", "--dataset=derm_bags/demo_shift"):
        code, _, errors = run(demo, "--mode=verify", *where)
        assert code == 2 and "reads no folder" in errors and "--dataset=derm_bags," in errors


@pytest.mark.parametrize(
    "name, words",
    [
        ("{photos}", "A folder is read with --dataset=derm_bags --manual_dir={photos}."),
        ("{photos}/", "A folder is read with --dataset=derm_bags --manual_dir={photos}/."),
        ("{photos}/manifest.csv", "read with --dataset=derm_bags --manual_dir={photos}."),
        ("{xrays}", "A folder is read with --dataset=nih_cxr14 --manual_dir={xrays}."),
        ("~/no such folder", "It looks like a path, and there is no"),
        ("./nowhere", "It looks like a path, and there is no ./nowhere"),
        ("CheXpert-small", "Did you mean --dataset=chexpert?"),
        ("NIH", "Did you mean --dataset=nih_cxr14?"),
        ("nih_cxr", "Did you mean --dataset=nih_cxr14?"),
        ("HAM10000", "Did you mean --dataset=derm_bags?"),
        ("derm_bag", "Did you mean --dataset=derm_bags?"),
        ("derm_bags/demoo", "Did you mean --dataset=derm_bags/demo?"),
    ],
)
def test_a_dataset_that_is_none(name, words, tmp_path, photos):
    nih(tmp_path / "xrays")
    folders = {"photos": photos, "xrays": tmp_path / "xrays"}
    code, _, errors = run("--mode=verify", f"--dataset={name.format(**folders)}")
    assert code == 2 and len(errors.splitlines()) == 1
    assert words.format(**folders) in errors


def test_manual_dir_may_be_a_file_by_mistake(photos):
    code, _, errors = run("--mode=verify", f"--manual_dir={photos}/manifest.csv")
    assert code == 2 and "is not a folder" in errors and f"perhaps {photos}." in errors


def test_a_run_of_the_demo_is_evaluated_on_the_folder_that_is_named(tmp_path, photos, monkeypatch):
    """Never on the demo; a run of a folder keeps its own kind of dataset."""
    from simclr_med.commands.main import _with_dataset

    given = {"mode": "eval", "model_dir": "run", "manual_dir": str(photos)}
    with_dataset, notes = _with_dataset(given, "eval", {"dataset": "derm_bags/demo"})
    assert with_dataset["dataset"] == "derm_bags" and len(notes) == 1
    assert _with_dataset(given, "eval", {"dataset": "chexpert"}) == (given, [])
    shutil.rmtree(photos)
    assert _with_dataset({**given, "dataset": "derm_bags"}, "eval", None)[1] == []
