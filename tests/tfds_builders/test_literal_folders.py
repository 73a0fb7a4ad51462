"""Prepared data below a folder whose name etils reads as a pattern."""

import os

import pytest
import tensorflow_datasets as tfds
from etils import epath

from helpers import tiny_runs
from tfds_builders import literal_folders, prepare


@pytest.mark.parametrize("name", ["a[b]", "a*c"])
def test_data_is_prepared_once_and_found_again(tmp_path, capsys, name):
    tiny_runs.draw_folder(tmp_path / name / "photos")
    (tmp_path / "abc" / "tfds").mkdir(parents=True)  # which a*c matches
    arguments = {"manual_dir": str(tmp_path / name / "photos")}
    arguments["data_dir"] = str(tmp_path / name / "tfds")
    built = [prepare.prepare("derm_bags", **arguments) for _ in range(2)]
    assert capsys.readouterr().out.count("Preparing") == 1
    assert all(builder.is_prepared() for builder in built)
    assert built[1].info.splits["train"].num_examples == 8
    again = tfds.builder_from_directory(built[0].data_path)
    assert again.info.full_name == built[0].info.full_name


@pytest.mark.parametrize("name", ["plain", "[b]", "a[0-9]", "x*", "q?", "[!a]"])
def test_only_the_pattern_is_one(tmp_path, name):
    for folder in {name, "a1", "xy", "qq", "b"}:
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "in.json").write_text("")
    paths = list(epath.Path(tmp_path / name).glob("*.json"))
    assert [os.fspath(path) for path in paths] == [str(tmp_path / name / "in.json")]
    assert all(isinstance(path, epath.Path) for path in paths)


def test_it_is_mended_once():
    before = epath.gpath.PosixGPath.glob
    literal_folders.mend()
    assert epath.gpath.PosixGPath.glob is before
