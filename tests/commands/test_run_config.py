"""What a command takes from the run that it works on, or that its weights are from."""

import json

import pytest

from simclr_med.commands.run_config import (
    config_of_run,
    default_model_dir,
    models_of,
    with_encoder_of_checkpoint,
)
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.run_folder import check_same_run

SAVED = {**Config().to_dict(), "resnet_depth": 18, "image_size": 64, "proj_out_dim": 32}


@pytest.mark.parametrize("subpath", ["run", "run/ckpt-7", "run/"])
def test_fine_tuning_has_the_encoder_of_its_checkpoint(tmp_path, subpath):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(json.dumps(SAVED))
    given = {"checkpoint": f"{tmp_path}/{subpath}", "image_size": 96}
    values, (note,) = with_encoder_of_checkpoint(given)
    assert (values["resnet_depth"], values["proj_out_dim"]) == (18, 32)
    assert values["image_size"] == 96  # told
    assert note == "Note: as the run in --checkpoint: --resnet_depth=18 --proj_out_dim=32."
    assert "learning_rate" not in values and values["checkpoint"] == given["checkpoint"]


def test_an_export_says_it_too(tmp_path):
    folder = tmp_path / "export" / "saved_model"
    folder.mkdir(parents=True)
    facts = {"resnet_depth": 34, "image_size": 224, "class_names": ["a"], "antialias": True}
    (folder / "simclr_med.json").write_text(json.dumps(facts))
    for path in (folder, folder.parent):
        values, (note,) = with_encoder_of_checkpoint({"checkpoint": str(path)})
        assert values["resnet_depth"] == 34 and note.endswith("--resnet_depth=34.")


def test_a_run_of_before_a_field_was_renamed_is_known(tmp_path):
    """Its config.json says `views`; the default folders are those that version 0.2.0 of November had."""
    config = Config().replace(dataset="chexpert", projection="frontal")
    values = {**config.to_dict(), "prepared_dataset": "chexpert"}
    saved = {("views" if k == "projection" else k): v for k, v in values.items()}
    (tmp_path / "config.json").write_text(json.dumps(saved))
    assert config_of_run({"model_dir": str(tmp_path)}, "eval").data.projection == "frontal"
    check_same_run(str(tmp_path), config, "chexpert", ())
    with pytest.raises(UserError, match="projection was frontal, now all"):
        check_same_run(str(tmp_path), config.replace(projection="all"), "chexpert", ())
    assert default_model_dir(Config(), "chexpert") == "runs/chexpert_simclr_f986c9e2"
    assert default_model_dir(config, "chexpert") == "runs/chexpert_simclr_65387a33"


@pytest.mark.parametrize("text", ["{", '["x"]', '{"architectures": ["ResNet"]}'])
def test_other_people_s_config_json_says_nothing(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    given = {"checkpoint": str(tmp_path)}
    assert with_encoder_of_checkpoint(given) == (given, [])
    assert with_encoder_of_checkpoint({"resnet_depth": 18}) == ({"resnet_depth": 18}, [])


def test_models_of_a_list_and_of_a_folder_with_a_comma(tmp_path):
    (tmp_path / "a,b").mkdir()
    assert models_of({"model_dir": f"{tmp_path}/a,b"}) == [f"{tmp_path}/a,b"]
    assert models_of({"model_dir": "x, y"}) == ["x", "y"]
    for name in ("fold_2", "fold_10", "fold_1", "fold_x", "notes"):
        (tmp_path / "cv" / name).mkdir(parents=True)
    folds = [f"{tmp_path}/cv/fold_{k}" for k in (1, 2, 10)]
    assert models_of({"model_dir": f"{tmp_path}/cv,x"}) == [*folds, "x"]
    (tmp_path / "cv" / "config.json").write_text("{}")  # a run itself
    assert models_of({"model_dir": f"{tmp_path}/cv"}) == [f"{tmp_path}/cv"]
    with pytest.raises(UserError, match="x is given twice"):
        models_of({"model_dir": "x,x"})
    with pytest.raises(UserError, match="needs the --model_dir"):
        models_of({})
