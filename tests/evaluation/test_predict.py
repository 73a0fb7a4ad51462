"""--mode=predict gives the scores of evaluation, whatever stops it; bad images cost only themselves."""

import csv
import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from helpers import command_line, encoders, tiny_runs
from simclr_med.commands import predict as command
from simclr_med.evaluation.ensemble import Ensemble, Member
from simclr_med.evaluation.predict import Scored
from simclr_med.evaluation.prediction_files import PredictionFiles
from simclr_med.evaluation.prediction_table import PredictionTable
from simclr_med.export.command import export
from simclr_med.metrics.predictions import read_predictions

pytestmark = pytest.mark.usefixtures("one_block")
CLASSES = ["label0", "label1"]


@pytest.fixture(scope="module")
def photos(tiny_data):
    """The folder that the run was trained on."""
    return tiny_data.builder_config.manifest.folder


@pytest.fixture(scope="module")
def run(tiny_tuned, tmp_path_factory):
    """A fine-tuned and evaluated run to predict with; nothing but predictions is written to it."""
    return shutil.copytree(tiny_tuned, tmp_path_factory.mktemp("predict") / "run")


@pytest.fixture(scope="module")
def other_run(tiny_data, strategy, tmp_path_factory):
    """One of another seed."""
    folder = tmp_path_factory.mktemp("predict") / "other"
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch)
        return tiny_runs.trained(tiny_runs.FINETUNE.replace(seed=1), tiny_data, folder, strategy)


def predict(model_dir, photos, out, *flags):
    """Returns predictions_new.csv of a command that succeeds, and what it printed."""
    code, printed, errors = command_line.run(
        *("--mode=predict", f"--model_dir={model_dir}", f"--output_dir={out}"),
        *([f"--manual_dir={photos}"] if photos else []),
        *flags,
    )
    assert code == 0, errors
    return pd.read_csv(out / "predictions_new.csv", keep_default_na=False), printed


def refused(*flags):
    code, _, errors = command_line.run("--mode=predict", *flags)
    assert code == 2
    return errors


def test_scores_are_those_of_evaluation_whatever_the_batch(run, photos, tmp_path):
    evaluated = read_predictions(str(run / "predictions.csv"))
    table, printed = predict(run, photos, tmp_path, "--eval_batch_size=3")
    assert list(table["case_id"]) == [f"c{i}" for i in range(12)]
    assert list(table["patient_id"]) == [f"p{i}" for i in range(12)]
    assert list(table["num_images"]) == [1, 2, 3, 4] * 3
    scores = table.set_index("case_id").loc[evaluated.ids, CLASSES].to_numpy(float)
    np.testing.assert_allclose(scores, evaluated.scores, atol=1e-6)
    best = table[CLASSES].to_numpy(float).argmax(axis=1)
    assert list(table["prediction"]) == [CLASSES[i] for i in best]
    assert list(table["top_2"]) == [f"{CLASSES[i]}; {CLASSES[1 - i]}" for i in best]
    assert "12 cases, 30 image files" in printed and re.search(r"images scored +│ +30", printed)


def test_all_images_of_a_case_count_and_each_has_a_row_on_request(run, photos, tmp_path):
    few = shutil.copytree(run, tmp_path / "run")
    values = json.loads((few / "config.json").read_text())
    (few / "config.json").write_text(json.dumps({**values, "max_bag_size": 1}))
    table, _ = predict(few, photos, tmp_path, "--per_image")
    alone = pd.read_csv(tmp_path / "predictions_new_images.csv")
    assert list(alone["image_id"][:3]) == ["0_0.png", "1_0.png", "1_1.png"]
    of_one = table[table["num_images"] == 1].set_index("case_id")
    rows = alone.set_index("case_id").loc[of_one.index]
    np.testing.assert_allclose(rows[CLASSES], of_one[CLASSES].to_numpy(float), atol=1e-6)
    # The head is linear: of one case the logits of the mean are the mean of the logits.
    four = alone[alone["case_id"] == "c3"][CLASSES].to_numpy(float)
    logits = np.log(four).mean(axis=0)
    expected = np.exp(logits) / np.exp(logits).sum()
    np.testing.assert_allclose(
        table.set_index("case_id").loc["c3", CLASSES].to_numpy(float), expected, rtol=1e-4
    )


def test_several_runs_are_averaged_and_their_spread_is_shown(run, other_run, photos, tmp_path):
    one, _ = predict(run, photos, tmp_path / "one")
    two, _ = predict(other_run, photos, tmp_path / "two")
    both, _ = predict(f"{run},{other_run}", photos, tmp_path / "both")
    a, b = (t[CLASSES].to_numpy(float) for t in (one, two))
    np.testing.assert_allclose(both[CLASSES].to_numpy(float), (a + b) / 2, atol=1e-6)
    spread = both[[f"spread: {name}" for name in CLASSES]].to_numpy(float)
    np.testing.assert_allclose(spread, abs(a - b), atol=1e-4)
    assert abs(a - b).max() > 0.005 and not [c for c in one if c.startswith("spread")]


def test_an_export_predicts_what_its_run_does(run, photos, tmp_path, monkeypatch):
    encoders.one_true_block(monkeypatch)
    there = shutil.copytree(run, tmp_path / "run")
    export(tiny_runs.FINETUNE.replace(export_formats="saved_model"), str(there), of_run=True)
    expected, _ = predict(run, photos, tmp_path / "run_of_it")
    for i, folder in enumerate((there / "export", there / "export" / "saved_model")):
        predictions, printed = predict(folder, photos, tmp_path / str(i))
        a, b = (t[CLASSES].to_numpy(float) for t in (expected, predictions))
        np.testing.assert_allclose(a, b, atol=1e-6)
        assert "get no note" in printed  # an export does not know its training images


def chosen(run, tmp_path, **also):
    """Returns a copy of a run on whose validation data something was chosen."""
    run = shutil.copytree(run, tmp_path / "chosen")
    points = [dict(what="specificity", target=0.9, threshold=0.5, positives=30, negatives=70)]
    values = {"checkpoint": "ckpt-2", "candidates": ["ckpt-1", "ckpt-2"], "thresholds": None}
    values |= {"temperature": 2.0, "operating_points": {"label1": points}, **also}
    (run / "selection.json").write_text(json.dumps(values))
    return run


def test_calibrated_probabilities_and_the_verdict_of_operating_points(run, photos, tmp_path):
    there = chosen(run, tmp_path)
    table, _ = predict(there, photos, tmp_path / "out", "--positive_class=label1")
    raw = table[CLASSES].to_numpy(float)
    root = np.sqrt(raw)  # temperature 2
    calibrated = table[[f"calibrated: {name}" for name in CLASSES]].to_numpy(float)
    np.testing.assert_allclose(calibrated, root / root.sum(1, keepdims=True), atol=1e-4)
    assert list(table["label1 at 90% specificity"]) == list((raw[:, 1] >= 0.5).astype(int))
    facts = json.loads((tmp_path / "out" / "predictions_new.json").read_text())
    assert facts["operating_points"] == {"90% specificity": 0.5}


def test_a_verdict_that_nobody_has_chosen_thresholds_for_is_refused(
    run, other_run, photos, tmp_path
):
    there = chosen(run, tmp_path)
    flags = (f"--manual_dir={photos}", f"--output_dir={tmp_path / 'out'}")
    for models, name, message in (
        (there, "mole", "is none of the classes label0, label1"),
        (there, "label0", "has no operating points for it"),
        (run, "label1", "has no operating points for it"),
        (f"{there},{other_run}", "label1", "chosen for one run"),
    ):
        assert message in refused(f"--model_dir={models}", f"--positive_class={name}", *flags)


def test_bad_images_cost_only_themselves(run, tmp_path):
    folder = tmp_path / "photos"
    tiny_runs.draw_folder(folder)
    (folder / "0_0.png").write_bytes(b"no image")  # all that case c0 has
    (folder / "1_1.png").unlink()
    Image.fromarray(np.zeros((40, 48, 3), np.uint8)).save(folder / "2_0.png")
    table, printed = predict(run, folder, tmp_path / "out", "--per_image")
    table = table.set_index("case_id")
    assert list(table.loc["c0", [*CLASSES, "prediction"]]) == ["", "", ""]
    assert table.loc["c0", "notes"] == "no image that can be read"
    assert table.loc["c0", "unreadable"].startswith("0_0.png (not an image")
    assert (table.loc["c1", "num_images"], table.loc["c1", "unreadable"]) == (
        1,
        "1_1.png (the file is missing)",
    )
    assert table.loc["c2", "notes"].startswith("2_0.png: all black")
    assert float(table.loc["c11", "label0"]) > 0
    assert re.search(r"cases without a readable image +│ +1 ", printed)
    alone = pd.read_csv(tmp_path / "out" / "predictions_new_images.csv").set_index("image_id")
    assert alone.loc["0_0.png", "notes"].startswith("not read: not an image")
    facts = json.loads((tmp_path / "out" / "predictions_new.json").read_text())
    assert facts["counts"]["image files that could not be read"] == 2


def test_images_unlike_the_training_images_are_noted(tiny_tuned, tiny_data, tmp_path):
    run = shutil.copytree(tiny_tuned, tmp_path / "run")
    code, _, errors = command_line.run(
        "--mode=eval", f"--model_dir={run}", "--keep_hub_module_max=0"
    )
    assert code == 0, errors
    folder = tmp_path / "new"
    folder.mkdir()
    grey = np.linspace(0, 255, 48).astype(np.uint8)[np.newaxis].repeat(40, axis=0)
    Image.fromarray(grey).save(folder / "ramp.png")
    usual = tiny_data.builder_config.manifest.folder
    shutil.copy(f"{usual}/0_0.png", folder / "usual.png")
    table, printed = predict(run, folder, tmp_path / "out")
    ramp, same = table["notes"]
    assert "no colour, and training images have" in ramp and "unlike training images" in ramp
    assert same == "" and "so did 1% of 10 images of split 'validation'" in printed
    assert float(table["distance"][0]) > float(table["distance"][1])


def test_what_was_stopped_goes_on_with_nothing_twice(run, photos, tmp_path, monkeypatch):
    """Killed after any number of parts, and while parts are joined: the table is the same."""
    expected, _ = predict(run, photos, tmp_path / "whole", "--eval_batch_size=2")
    monkeypatch.setattr(command, "_MOST_CASES", 1)
    parts, writes = [], PredictionFiles.write

    def killed(self, cases):
        if len(parts) == 3:
            raise MemoryError
        writes(self, cases)
        parts.append(len(cases))

    out = tmp_path / "out"
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr(PredictionFiles, "write", killed)
        predict(run, photos, out, "--eval_batch_size=2")
    assert not (out / "predictions_new.csv").exists()
    with monkeypatch.context() as patch, pytest.raises(MemoryError):
        patch.setattr("simclr_med.evaluation.prediction_files.write_json", killed_json)
        predict(run, photos, out, "--eval_batch_size=2")
    assert (out / "predictions_new.csv").exists() and not (out / "predictions_new.json").exists()
    table, printed = predict(run, photos, out, "--eval_batch_size=2")
    assert "Goes on behind the 12 cases that are done." in printed
    pd.testing.assert_frame_equal(table, expected)
    assert sorted(p.name for p in out.iterdir()) == ["predictions_new.csv", "predictions_new.json"]
    assert "done already" in predict(run, photos, out)[1]


def killed_json(path, value):
    """Dies as the last file is about to be written."""
    if path.endswith("predictions_new.json"):
        raise MemoryError
    from simclr_med.run_folder import write_json

    write_json(path, value)


def test_files_of_other_cases_are_not_overwritten(run, photos, tmp_path):
    predict(run, photos, tmp_path)
    before = (tmp_path / "predictions_new.csv").read_bytes()
    one = f"--images={photos}/0_*.png"
    flags = (f"--model_dir={run}", f"--output_dir={tmp_path}", one)
    assert "is there already, of other cases" in refused(*flags)
    assert (tmp_path / "predictions_new.csv").read_bytes() == before
    code, *_ = command_line.run("--mode=predict", *flags, "--eval_name=one")
    assert code == 0 and len(pd.read_csv(tmp_path / "predictions_one.csv")) == 1


def test_the_predictions_of_an_evaluation_stay(run, photos):
    """A run evaluated as NAME has its own predictions_NAME.csv."""
    shutil.copy(run / "predictions.csv", run / "predictions_clinic.csv")
    flags = (f"--model_dir={run}", f"--manual_dir={photos}", "--eval_name=clinic")
    assert "predictions_clinic.csv is there already" in refused(*flags)


def test_what_cannot_be_predicted_with_is_refused(run, tiny_pretrained, photos, tmp_path):
    model = f"--model_dir={run}"
    assert "was pretrained and tells no classes apart" in refused(
        f"--model_dir={tiny_pretrained}", f"--manual_dir={photos}"
    )
    assert "needs the --model_dir of a fine-tuned run" in refused(f"--manual_dir={photos}")
    assert "holds neither a run" in refused(f"--model_dir={tmp_path}", f"--manual_dir={photos}")
    assert "there is no such folder" in refused("--model_dir=nowhere", f"--manual_dir={photos}")
    assert "is given twice" in refused(f"--model_dir={run},{run}", f"--manual_dir={photos}")
    assert "give --manual_dir=DIR or --images" in refused(model)
    assert "not both" in refused(model, f"--manual_dir={photos}", "--images=*.png")
    (tmp_path / "empty").mkdir()
    assert "is empty" in refused(model, f"--manual_dir={tmp_path / 'empty'}")
    assert "has no effect" in refused(model, f"--manual_dir={photos}", "--on_bad_image=skip")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_size": 40}, "was trained with --image_size=34"),
        ({"classes": 1}, "knows the classes"),
    ],
)
def test_runs_that_cannot_be_averaged_are_refused(run, photos, tmp_path, change, message):
    other = shutil.copytree(run, tmp_path / "other")
    values = json.loads((other / "config.json").read_text())
    if "classes" in change:
        values["class_names"] = ["label0", "another"]
    else:
        values |= change
    (other / "config.json").write_text(json.dumps(values))
    assert message in refused(f"--model_dir={run},{other}", f"--manual_dir={photos}")


def written(tmp_path, *cases, members=1, **of_member):
    """Returns the rows of the table of some scored cases, header first."""
    options = {"class_names": ("a", "b", "c"), "multilabel": False, **of_member}
    member = Member("", None, None, weights="", identity="", **options)
    table = PredictionTable(Ensemble((member,) * members, None))
    files = PredictionFiles(str(tmp_path), "_x", {}, table, per_image=False)
    with files.locked():
        files.begin()
        files.write(list(cases))
        files.finish({})
    with open(tmp_path / "predictions_x.csv", newline="") as file:
        return list(csv.reader(file))


def scored(*probabilities, case="c", image="i.png", notes=()):
    about = (case, "p", (image,), (tuple(notes),), ())
    return Scored(*about, probabilities=np.array(probabilities))


def test_labels_of_which_a_case_can_have_several_get_the_verdict_of_their_thresholds(tmp_path):
    header, row = written(
        tmp_path,
        scored([0.2, 0.7, 0.5]),
        multilabel=True,
        thresholds={"a": 0.3, "b": 0.7, "c": 0.6},
    )
    cells = dict(zip(header, row))
    assert [cells[f"positive: {name}"] for name in "abc"] == ["0", "1", "0"]
    assert "prediction" not in cells and "top_3" not in cells


def test_text_that_a_spreadsheet_would_execute_is_quoted(tmp_path):
    _, row = written(
        tmp_path, scored([0.1, 0.2, 0.7], case="=1+1", image="a\r.png", notes=["tiny"])
    )
    assert row[0] == "'=1+1" and row[-2] == "a\r.png: tiny" and row[7] == "c; b; a"
