"""Several label columns, and graded labels, as a user gives them: verify, a short fine-tuning, eval."""

import csv
import json

import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from helpers import command_line
from helpers.derm_folders import draw

LABELS = {
    "1": "1",
    "0": "0",
    "": "0",
    "-1": "",
}  # in predictions.csv: blank is negative, -1 unknown
SHORT = [
    *("--train_mode=finetune", "--resnet_depth=18", "--image_size=34", "--train_steps=2"),
    *(
        "--train_batch_size=4",
        "--optimizer=momentum",
        "--warmup_epochs=0",
        "--keep_hub_module_max=0",
    ),
]


@pytest.fixture(autouse=True)
def undo():
    yield
    command_line.undo()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of 40 cases with two label columns, and a grade in a third."""
    root, rng = tmp_path_factory.mktemp("photos"), np.random.default_rng(0)
    head = ["case_id", "image_path", "split", "edema", "effusion", "grade"]
    rows = [
        [f"c{i:02d}", f"{i}.png", ("train", "validation")[i % 2], *rng.choice(list(LABELS), 2)]
        + [str([0, 2, 10][rng.integers(3)])]
        for i in range(40)
    ]
    for i, row in enumerate(rows):
        draw(root / row[1], seed=i, size=(40, 40))
    with open(root / "manifest.csv", "w", newline="") as file:
        csv.writer(file).writerows([head, *rows])
    graded = tmp_path_factory.mktemp("graded")
    text = (root / "manifest.csv").read_text()
    (graded / "manifest.csv").write_text(text.replace(",grade", ",label", 1))
    return root, graded, [dict(zip(head, row)) for row in rows]


def of_columns(photos, tmp_path):
    return [f"--manual_dir={photos[0]}", f"--data_dir={tmp_path}", "--label_columns=edema,effusion"]


def of_grades(photos, tmp_path):
    here = [f"--manual_dir={photos[1]}", f"--image_root={photos[0]}", f"--data_dir={tmp_path}"]
    return [*here, "--ordinal"]


def evaluated(run_dir):
    """Returns result.json and the rows of predictions.csv."""
    with open(run_dir / "predictions.csv", encoding="utf-8-sig", newline="") as file:
        return json.loads((run_dir / "result.json").read_text()), list(csv.DictReader(file))


def test_build_and_verify_name_the_labels(photos, tmp_path):
    arguments = of_columns(photos, tmp_path)
    code, out, errors = command_line.run("--mode=build", *arguments)
    assert code == 0, errors
    assert "Note: Several labels a case, from the columns edema, effusion of 40 rows; " in out
    assert "Next: " in out and "--label_columns=edema,effusion" in out.split("Next: ")[1]
    _, out, _ = command_line.run("--mode=verify", *arguments)
    assert "Labels of train, by image" in out and "uncertain" in out


def test_build_and_verify_name_the_order_of_grades(photos, tmp_path):
    arguments = of_grades(photos, tmp_path)
    for mode in ("build", "verify"):
        _, out, _ = command_line.run(f"--mode={mode}", *arguments)
        assert (
            "Grades, lowest first: 0 < 2 < 10. Without a class between them 0 and 2, 2 and " in out
        )
    _, out, _ = command_line.run("--mode=build", *arguments, "--class_order=10,2,0")
    assert "Grades, lowest first: 10 < 2 < 0." in out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            ["--mode=verify", "--ordinal"],
            "--ordinal is for one grade a case; this data has several",
        ),
        (["--mode=train", "--ordinal", *SHORT], "--ordinal is for one grade a case; this data has"),
        (["--mode=train", "--class_order=a,b", *SHORT], "it needs --ordinal"),
        (["--mode=train", "--selection_metric=quadratic_kappa", *SHORT], "add --ordinal"),
        (["--mode=build", "--label_columns=edema,grade"], "'grade' is '"),
    ],
)
def test_what_cannot_be_is_one_message_and_exit_code_2(photos, tmp_path, arguments, words):
    command = [*of_columns(photos, tmp_path), f"--model_dir={tmp_path / 'run'}", *arguments]
    code, _, errors = command_line.run(*command)
    assert code == 2 and words in errors and "Traceback" not in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.one_stack
def test_fine_tuning_on_label_columns(photos, tmp_path):
    run_dir = tmp_path / "run"
    arguments = [*of_columns(photos, tmp_path), *SHORT, f"--model_dir={run_dir}"]
    code, _, errors = command_line.run("--mode=train_then_eval", *arguments)
    assert code == 0, errors
    code, out, _ = command_line.run("--mode=eval", f"--model_dir={run_dir}")  # reads its flags
    assert code == 0 and "Labels: label_set all, uncertain_policy ignore, blank_policy neg" in out
    result, rows = evaluated(run_dir)
    of_case = {row["case_id"]: row for row in photos[2] if row["split"] == "validation"}
    assert {row["case_id"] for row in rows} == set(of_case)
    per_class = result["classification"]["supervised head"]["trained"]["per_class"]
    for name in ("edema", "effusion"):
        for row in rows:
            assert row[f"truth: {name}"] == LABELS[of_case[row["case_id"]][name]]
        known = [row for row in rows if row[f"truth: {name}"]]
        truth = [int(row[f"truth: {name}"]) for row in known]
        want = roc_auc_score(truth, [float(row[name]) for row in known])
        assert per_class[name]["auc"] == pytest.approx(want, abs=1e-6)


@pytest.mark.slow
@pytest.mark.one_stack
def test_fine_tuning_on_grades(photos, tmp_path):
    run_dir = tmp_path / "run"
    arguments = [*of_grades(photos, tmp_path), *SHORT, f"--model_dir={run_dir}"]
    code, out, errors = command_line.run("--mode=train_then_eval", *arguments)
    assert code == 0, errors
    assert "Grades, lowest first: 0 < 2 < 10." in out and "quadratic kappa" in out
    result, rows = evaluated(run_dir)
    assert result["grades"] == ["0", "2", "10"]
    columns = ([row[name] for row in rows] for name in ("truth", "prediction"))
    want = cohen_kappa_score(*columns, labels=["0", "2", "10"], weights="quadratic")
    kappa = result["classification"]["supervised head"]["trained"]["quadratic_kappa"]
    assert kappa == pytest.approx(want)
    page = (run_dir / "report.html").read_text()
    assert "quadratic kappa" in page and "Grades, lowest first: 0 &lt; 2 &lt; 10." in page
