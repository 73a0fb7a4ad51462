"""--features: our own embeddings, written and read back, give our own numbers to the last digit."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest

from helpers import command_line
from simclr_med.errors import UserError
from simclr_med.evaluation import foreign_features

pytestmark = pytest.mark.usefixtures("one_block")


@pytest.fixture(scope="module")
def run(tiny_pretrained, tmp_path_factory):
    return shutil.copytree(tiny_pretrained, tmp_path_factory.mktemp("features") / "run")


@pytest.fixture
def data_flags(tiny_data):
    """Flags that name the data."""
    photos = tiny_data.builder_config.manifest.folder
    return [f"--manual_dir={photos}", f"--data_dir={tiny_data._data_dir_root}"]


def embedded(run, unit="case"):
    """Returns the embeddings of both splits, {split: path without ending}."""
    paths = {}
    for split in ("train", "validation"):
        flags = [f"--eval_split={split}", f"--embed_unit={unit}", f"--eval_name={unit}"]
        code, _, errors = command_line.run("--mode=embed", f"--model_dir={run}", *flags)
        assert code == 0, errors
        paths[split] = f"{run}/embeddings_{unit}_{split}"
    return paths


def compared(data_flags, out, features, *flags):
    code, printed, errors = command_line.run(
        "--mode=compare", f"--features={features}", f"--model_dir={out}", *data_flags, *flags
    )
    assert code == 0, errors
    return printed


def refused(data_flags, out, features, *flags):
    code, _, errors = command_line.run(
        "--mode=compare", f"--features={features}", f"--model_dir={out}", *data_flags, *flags
    )
    assert code == 2
    return errors


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_our_own_embeddings_give_our_own_numbers(run, data_flags, tmp_path, ending):
    paths = embedded(run)
    text = "+".join(f"{path}.{ending}" for path in paths.values())
    printed = compared(data_flags, tmp_path, f"own:{text}", f"--runs={run}")
    assert (tmp_path / "own" / "predictions.csv").read_bytes() == (
        run / "predictions.csv"
    ).read_bytes()
    expected, actual = (
        json.loads((folder / "result.json").read_text())["classification"]
        for folder in (run, tmp_path / "own")
    )
    for evaluator in ("linear probe", "kNN"):
        assert actual[evaluator]["trained"] == expected[evaluator]["trained"]
    assert (tmp_path / "own" / "report.html").exists()
    assert "No metric differs" in printed and "own: 64 numbers a case" in printed
    (row,) = json.loads((tmp_path / "compare.json").read_text())
    assert row["metrics"]["macro_auc"]["difference"] == 0


def test_rows_of_images_are_averaged_and_columns_of_numbers_are_read(run, data_flags, tmp_path):
    images = embedded(run, "image")
    stored = {split: np.load(f"{path}.npz") for split, path in images.items()}
    for split, of_split in stored.items():
        table = pd.DataFrame(of_split["embeddings"])
        table.columns = [f"x{i}" for i in table]
        table.insert(0, "case_id", of_split["case_id"])
        table.insert(1, "file", of_split["image_id"])  # text is no feature
        table.to_parquet(tmp_path / f"{split}.parquet")
    names = [str(tmp_path / f"{split}.parquet") for split in stored]
    features = foreign_features.read("x", names)
    ids = stored["train"]["case_id"]
    expected = stored["train"]["embeddings"][ids == ids[0]].mean(axis=0)
    np.testing.assert_array_equal(features.of(ids[:1], "train")[0], expected)
    a = f"a:{'+'.join(names)}"
    b = f"b:{'+'.join(f'{path}.npz' for path in embedded(run).values())}"
    compared(data_flags, tmp_path / "out", f"{a},{b}")
    one, two = (pd.read_csv(tmp_path / "out" / name / "predictions.csv") for name in "ab")
    np.testing.assert_allclose(one[["label0", "label1"]], two[["label0", "label1"]], atol=1e-4)


def test_a_file_that_does_not_fit_is_refused_before_anything_is_written(run, data_flags, tmp_path):
    paths = embedded(run)
    half = f"x:{paths['train']}.npz"
    errors = refused(data_flags, tmp_path / "out", half)
    assert (
        "0 of the 4 cases of split 'validation' have features" in errors
        and "4 have none (c8" in errors
    )
    assert not (tmp_path / "out").exists()
    assert "there is no file" in refused(data_flags, tmp_path / "out", "x:nowhere.npz")
    assert "write NAME:FILE" in refused(data_flags, tmp_path / "out", "nowhere.npz")
    assert "is given twice" in refused(data_flags, tmp_path / "out", f"{half},{half}")
    (tmp_path / "bad.npz").write_bytes(b"PK no archive")
    assert "holds no features" in refused(data_flags, tmp_path / "out", f"x:{tmp_path}/bad.npz")
    np.savez(tmp_path / "wide.npz", case_id=["a"], embeddings=np.ones((1, 3)))
    wide = f"x:{paths['train']}.npz+{tmp_path}/wide.npz"
    assert "have features of 64 and 3 numbers" in refused(data_flags, tmp_path / "out", wide)
    np.savez(tmp_path / "nan.npz", case_id=["a"], features=np.full((1, 3), np.nan))
    with pytest.raises(UserError, match="finite numbers"):
        foreign_features.read("x", [str(tmp_path / "nan.npz")])


def test_flags_of_the_data_are_for_features_alone(run, data_flags, tmp_path):
    code, _, errors = command_line.run(
        "--mode=compare", f"--runs={run},{run}", "--eval_split=train"
    )
    assert code == 2 and "it is for" in errors and "--mode=compare with --features" in errors
    both = "+".join(f"{path}.npz" for path in embedded(run).values())
    message = refused(data_flags, tmp_path / "out", f"x:{both}", "--image_size=40")
    assert "--image_size=40 has no effect" in message
    assert (
        "--model_dir" in command_line.run("--mode=compare", f"--features=x:{both}", *data_flags)[2]
    )
