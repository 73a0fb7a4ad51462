"""A study whose arms a file names: the paper's files; what is shared, left out and shown."""

import collections
import json
import os
import re
import time

import pytest
import tomllib

from helpers import ROOT, cxr_twins, paper_worker, processes
from helpers.folders import draw_cases
from helpers.stand_ins import Killed, StudyStandIns, toy_weights
from simclr_med.commands import flags
from simclr_med.commands.recipes import of_study
from simclr_med.errors import UserError
from simclr_med.experiments import arms_file, paper_report, study, study_plan, study_report
from simclr_med.metrics.predictions import read_predictions
from tfds_builders.derm_bags import Builder, folder_config

DERM, CXR = (str(ROOT / "flags" / f"study_{domain}.flags") for domain in ("derm", "cxr"))
SMALL = """
title = "Small"
finetune = "{folder}/tune.flags"
[encoders.a]
title = "A"
resnet_depth = 18
[encoders.b]
title = "B"
resnet_depth = 34
[weights.public]
title = "Nature"
method = "SimCLR"
where = "a shop"
[weights.public.path]
a = "a"
[stages.own]
title = "Own"
method = "SimCLR"
recipe = "{folder}/own.flags"
[stages.pairs]
title = ""
method = "MICLe"
recipe = "{folder}/own.flags"
micle = true
learning_rate = 0.25
[arms.a-none]
encoder = "a"
[arms.a-public]
encoder = "a"
start = "public"
label_efficiency = true
[arms.a-public-own]
encoder = "a"
start = "public"
stages = ["own"]
[arms.a-public-own-pairs]
encoder = "a"
start = "public"
stages = ["own", "pairs"]
label_efficiency = true
[arms.b-public]
encoder = "b"
start = "public"
[[comparisons]]
question = "Does it add?"
a = "a-public"
b = "a-public-own-pairs"
[[comparisons]]
question = "Is B better?"
a = "a-public"
b = "b-public"
[[tables]]
title = "Table 7"
columns = [["Model", "encoder"], ["Data", "data"], ["Pairs", "micle"], ["Top-1", "top_1"]]
rows = [["a-public-own", "1.5 %"], ["a-public-own-pairs", "2.5 %"], ["b-public", "3.5 %"]]
[[figures]]
title = "Figure 8"
file = "figure8.png"
kind = "labels"
arms = ["a-public", "a-public-own-pairs", "b-public"]
[[figures]]
title = "Figure 9"
file = "figure9.png"
kind = "shift"
arms = ["a-public"]
"""
OWN = "--train_mode=pretrain\n--train_steps=3\n--learning_rate=1\n--train_batch_size=4\n"
TUNE = (
    "--train_mode=finetune\n--dataset=derm_bags\n--train_steps=2\n--selection_split=validation\n"
    "--eval_split=test\n--bootstrap_resamples=100\n--eval_batch_size=8\n--train_batch_size=4\n"
)
STUDY = (
    *(
        "--mode=study",
        "--dataset=derm_bags",
        "--uses=finetune",
        "--label_subsets=2",
        "--label_fractions=0.5,1",
    ),
    *("--sweep_learning_rates=0.1,0.2", "--sweep_weight_decays=0", "--image_size=34"),
)


def write(folder, text=SMALL):
    folder.mkdir(exist_ok=True)
    (folder / "own.flags").write_text(OWN)
    (folder / "tune.flags").write_text(TUNE)
    toy_weights(9.0).write(str(folder / "a"))
    (folder / "arms.toml").write_text(text.format(folder=folder))
    return str(folder / "arms.toml")


def planned(*argv):
    """Returns (configuration, plan) of a command line."""
    given = flags.parse(["run.py", *argv]).given
    config = flags.config_from(given)
    return config, arms_file.plan(config, of_study(given), "S")


@pytest.fixture
def plan(tmp_path):
    path = write(tmp_path / "arms")
    return planned(*STUDY, f"--arms={path}", f"--weights_dir={tmp_path / 'arms'}")[1]


def weights_of(path, root):
    """Makes files where all public weights of an arms file are looked for, and returns their number."""
    count = 0
    for weights in tomllib.loads((ROOT / "flags" / path).read_text())["weights"].values():
        for name in weights["path"].values():
            os.makedirs(root / name, exist_ok=True)
            count += 1
    return count


# The plan


def test_stages_that_arms_share_are_run_once_and_go_on_from_each_other(plan, tmp_path):
    public = str(tmp_path / "arms" / "a")
    configs = {job.folder: job.config for job in study_plan.pretrainings(plan, "S", 0)}
    assert list(configs) == ["pretrain/a/public+own/seed_0", "pretrain/a/public+own+pairs/seed_0"]
    first, second = configs.values()
    assert first.run.checkpoint == public
    assert second.run.checkpoint == "S/pretrain/a/public+own/seed_0"
    assert (first.optim.learning_rate, second.optim.learning_rate) == (1, 0.25)
    assert (first.method, second.method) == ("simclr", "micle")
    assert {config.model.resnet_depth for config in configs.values()} == {18}
    starts = {arm.folder: arm.start(0) for arm in plan.arms}
    assert starts == {
        "a-none": None,
        "a-public": public,
        "a-public-own": "S/pretrain/a/public+own/seed_0",
        "a-public-own-pairs": "S/pretrain/a/public+own+pairs/seed_0",
    }


def test_every_arm_is_repeated_with_seeds_of_its_own_and_few_labels_where_asked(plan):
    seen = collections.defaultdict(list)
    for job in study_plan.runs_of_uses(plan):
        data = job.config.data
        seen[job.arm].append((data.label_fraction, data.label_seed, job.config.run.seed))
    all_labels = [(1.0, None, 0), (1.0, None, 1000)]
    assert seen["a-none"] == seen["a-public-own"] == all_labels
    few = [(0.5, 0, 0), (0.5, 1000, 0)]
    assert seen["a-public"] == seen["a-public-own-pairs"] == few + all_labels


def test_an_arm_without_weights_is_left_out_by_name_and_with_what_is_compared_to_it(plan):
    (gone,) = plan.layout["left_out"]
    assert gone["arm"] == "B, SimCLR, Nature" and gone["where"] == "a shop"
    assert [row["question"] for row in plan.comparisons] == ["Does it add?"]


def test_names_are_those_of_the_papers_tables(plan):
    assert [arm.name for arm in plan.arms] == [
        "A, no pretraining",
        "A, SimCLR, Nature",
        "A, SimCLR, Nature → Own",
        "A, MICLe, Nature → Own",
    ]


def test_a_second_file_changes_the_first(tmp_path):
    path = write(tmp_path / "arms")
    (tmp_path / "mine.toml").write_text(
        '[encoders.a]\nresnet_depth = 50\n[weights.public.path]\nb = "a"\n'
        "[stages.own]\ntrain_steps = 9\n"
    )
    both = f"--arms={path},{tmp_path / 'mine.toml'}"
    _, plan = planned(*STUDY, both, f"--weights_dir={tmp_path / 'arms'}")
    assert len(plan.arms) == 5 and not plan.layout["left_out"]
    (first, second) = plan.stages
    assert (first.config.model.resnet_depth, first.config.train.train_steps) == (50, 9)
    assert second.config.train.train_steps == 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            ('encoder = "b"', 'encoder = "c"'),
            r"\[arms.b-public\]: no \[encoders.c\]; there are a, b",
        ),
        (('start = "public"\nlabel', 'begin = "public"\nlabel'), "'begin' is not known"),
        (("resnet_depth = 34", "resnet_dept = 34"), "'resnet_dept' is not known"),
        (("resnet_depth = 34", "train_steps = 34"), "'train_steps' is not known"),
        (("resnet_depth = 34", 'resnet_depth = "deep"'), "--resnet_depth=deep"),
        (("micle = true", "mickle = true"), "'mickle' is not known"),
        (('["own", "pairs"]', '["own"]'), "are the same: A, SimCLR, Nature → Own"),
        (('"top_1"]]', '"top1"]]'), "column 'top1' is none of encoder, method"),
        (('["a-public-own", "1.5 %"]', '["a-public-own", "1", "2"]'), "has 2 published numbers"),
        (('kind = "labels"', 'kind = "pie"'), "'pie' is none of bars, shift, labels"),
        (("[[comparisons]]", "[[comparison]]"), "'comparison' is not known"),
        (('title = "Small"', "title = "), "cannot be read"),
        (('finetune = "{folder}/tune.flags"', ""), "no 'finetune = RECIPE'"),
        (("{folder}/own.flags", "{folder}/gone.flags"), "gone.flags"),
    ],
)
def test_a_mistake_in_the_file_is_an_error_message(tmp_path, change, words):
    assert change[0] in SMALL
    path = write(tmp_path / "arms", SMALL.replace(*change))
    with pytest.raises(UserError, match=words):
        planned(*STUDY, f"--arms={path}", f"--weights_dir={tmp_path / 'arms'}")


def test_the_command_cannot_name_the_encoder_and_needs_some_weights(tmp_path):
    path = write(tmp_path / "arms", re.sub(r"\[arms.a-none\]\nencoder = \"a\"\n", "", SMALL))
    with pytest.raises(UserError, match=r"--resnet_depth=34: with --arms the encoders are those"):
        planned(*STUDY, f"--arms={path}", "--resnet_depth=34")
    with pytest.raises(UserError, match=r"no arm can be made.*a shop"):
        planned(*STUDY, f"--arms={path}", f"--weights_dir={tmp_path}")


# The paper's files


@pytest.mark.parametrize(
    ("recipe", "arms", "stages", "left_out"), [(DERM, 18, 12, 1), (CXR, 14, 8, 1)]
)
def test_the_papers_arms(tmp_path, recipe, arms, stages, left_out):
    weights_of(os.path.basename(recipe).replace(".flags", ".toml"), tmp_path)
    config, plan = planned(f"--flagfile={recipe}", f"--weights_dir={tmp_path}")
    assert len(plan.arms) + len(plan.layout["left_out"]) == arms
    assert len(plan.stages) == stages and len(plan.layout["left_out"]) == left_out
    for job in study_plan.jobs(plan, "S"):
        job.config.validate()
    # Section 4.3's grid, and section 4.4's repeats.
    searches = [
        len(arms_file.study_plan.sweep.points(job.config)) for job in study_plan.searches(plan)
    ]
    assert set(searches) == {28} and len(searches) == len(plan.arms)
    repeats = collections.Counter(
        job.arm for job in study_plan.runs_of_uses(plan) if job.fraction == 1
    )
    assert set(repeats.values()) == {5 if recipe == DERM else 10}


def test_published_numbers_are_those_of_the_paper():
    paper = ROOT.parent / "shared" / "PAPER.txt"
    if not paper.exists():
        pytest.skip("../shared/PAPER.txt is not here")
    text = re.sub(r"[^0-9.±]", "", paper.read_text())
    for domain in ("derm", "cxr"):
        content = tomllib.loads((ROOT / "flags" / f"study_{domain}.toml").read_text())
        for table in content["tables"]:
            for _, *published in table["rows"]:
                for number in published:
                    assert re.sub(r"[^0-9.±]", "", number) in text, number


# The study


@pytest.fixture(scope="module")
def builder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    photos = draw_cases(folder / "photos", {"train": 12, "validation": 6, "test": 24})
    builder = Builder(config=folder_config(photos), data_dir=folder / "tfds")
    builder.download_and_prepare()
    return builder


def go(builder, root, folder, *argv):
    path = write(root / "arms")
    given = flags.parse(
        ["run.py", *STUDY, f"--arms={path}", f"--weights_dir={root / 'arms'}", *argv]
    ).given
    config = flags.config_from(given)
    recipes = {
        name: recipe.replace(dataset="derm_bags") for name, recipe in of_study(given).items()
    }
    return study.run(config, recipes, lambda config: builder, str(folder), None, {})


@pytest.mark.slow
@pytest.mark.one_stack
def test_the_study_fills_the_files_tables(builder, tmp_path, monkeypatch):
    save = study_report.save
    stand_ins = StudyStandIns(monkeypatch)
    stand_ins.strength = lambda use, config: 1.5 if "pairs" in str(config.run.checkpoint) else 0.5

    def killed_at(count):
        def before(config):
            if len(stand_ins.trained) == count:
                raise Killed

        return before

    for count in (1, 9):  # in a pretraining, in a fine-tuning
        stand_ins.before = killed_at(count)
        with pytest.raises(Killed):
            go(builder, tmp_path, tmp_path / "study")
    stand_ins.before = lambda config: None
    content = go(builder, tmp_path, tmp_path / "study")
    # 2 pretrainings; 2 points of a grid for each of 4 arms; 2 repeats of each, twice as many of two.
    assert len(stand_ins.trained) == 2 + 4 * 2 + 4 * 2 + 2 * 2 + 2  # two runs were begun again
    save(str(tmp_path / "study"), content)
    page = (tmp_path / "study" / "study.md").read_text()
    columns, cells = paper_report.table(content, content["layout"]["tables"][0])
    assert columns == ["Model", "Data", "Pairs", "Top-1", "Top-1, published"]
    assert [line[:3] for line in cells] == [
        ["A", "Nature → Own", "No"],
        ["A", "Nature → Own", "Yes"],
        ["B", "Nature", "No"],
    ]
    assert [line[-1] for line in cells] == ["1.5 %", "2.5 %", "3.5 %"]
    assert cells[2][3] == "left out: no weights"
    # The mean of the repeats, from their predictions.
    tops = []
    for repeat in (0, 1):
        path = f"finetune/a-public-own-pairs/fraction_1/subset_{repeat}/seed_0/predictions.csv"
        its = read_predictions(str(tmp_path / "study" / path))
        tops.append((its.scores.argmax(1) == its.truth).mean())
    assert cells[1][3].startswith(f"{sum(tops) / 2:.3f} ± ")
    assert "**Does it add?**" in page and "Is B better?" not in page
    assert "B, SimCLR, Nature" in page and "a shop" in page
    assert (tmp_path / "study" / "figure8.png").exists()
    assert "Not drawn: it needs --shift_dataset." in page
    assert json.loads((tmp_path / "study" / "study.json").read_text()) == content


# For real


def start(domain, root, log):
    """Starts the study of a domain in a process, as a command with the paper's file, and returns it."""
    data = {
        "derm": ["--manual_dir=photos", "--top_conditions=0"],
        "cxr": ["--manual_dir=chexpert", "--shift_dataset=nih_cxr14", "--shift_manual_dir=nih"],
    }
    command = [
        ROOT / "tests" / "helpers" / "paper_worker.py",
        *(f"--flagfile=flags/study_{domain}.flags", f"--arms=flags/study_{domain}.toml,mine.toml"),
        *("--weights_dir=weights", "--data_dir=tfds", "--model_dir=study", *paper_worker.TINY),
        *data[domain],
    ]
    return processes.start(command, processes.environments(1)[0], log, root)


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("domain", ["derm", "cxr"])
def test_all_arms_of_the_papers_files_are_made_though_killed_twice(domain, tmp_path):
    """From weights in SimCLR's, BiT's and Keras's layouts to the paper's tables, with tiny encoders.

    The last of the processes share the folder: each makes runs that the other has not begun.
    """
    with pytest.MonkeyPatch.context() as patch:
        paper_worker.shorten(patch)
        paper_worker.write_weights(tmp_path / "weights")
    (tmp_path / "mine.toml").write_text(paper_worker.MINE)
    draw_cases(tmp_path / "photos", {"train": 12, "validation": 6, "test": 24})
    if domain == "cxr":
        cxr_twins.draw_chexpert(tmp_path / "chexpert", num_patients=60, size=40)
        cxr_twins.draw_nih(tmp_path / "nih", num_patients=30, size=40)
    log = tmp_path / "log"
    for seen in ("run 2 of", "Study, stage 4"):  # in pretraining, in fine-tuning
        log.write_text("")
        process = start(domain, tmp_path, log)
        while seen not in log.read_text() and process.poll() is None:
            time.sleep(0.2)
        process.kill()
        process.wait(60)
    logs = [tmp_path / f"log_{i}" for i in range(2 if domain == "derm" else 1)]
    for process, its_log in [(start(domain, tmp_path, its_log), its_log) for its_log in logs]:
        assert process.wait(1500) == 0, its_log.read_text()[-3000:]
    if domain == "derm":
        took_part = ["takes part: each makes runs" in its_log.read_text() for its_log in logs]
        assert took_part.count(True) == 1
        made = [re.findall(r"^finetune: .*, (study/\S+)$", f.read_text(), re.M) for f in logs]
        assert all(made) and not set(made[0]) & set(made[1])
    sessions = [
        len(json.loads(path.read_text())["sessions"])
        for path in tmp_path.glob("study/**/sessions.json")
    ]
    assert len(sessions) > 20 and sum(sessions) <= len(sessions) + 2  # two kills
    result = json.loads((tmp_path / "study" / "study.json").read_text())
    content = tomllib.loads((ROOT / "flags" / f"study_{domain}.toml").read_text())
    assert not result["layout"]["left_out"] and len(result["arms"]) == len(content["arms"])
    for table in result["layout"]["tables"]:
        _, cells = paper_report.table(result, table)
        assert len(cells) == len(table["rows"]) and "–" not in {
            cell for line in cells for cell in line
        }
    for figure in content["figures"]:
        assert (tmp_path / "study" / figure["file"]).exists() == (
            figure["kind"] != "shift" or domain == "cxr"
        )
