"""A study: every arm, use and subset once, nothing chosen on the evaluated split, nothing made twice.

Training and evaluation are stand-ins that leave real predictions; the probes' logistic regressions, the
statistics and the files are real. test_study_for_real.py has real encoders.
"""

import dataclasses
import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from helpers import ROOT
from helpers.folders import draw_cases
from helpers.stand_ins import Killed, StudyStandIns, toy_weights
from helpers.sweep_worker import BASE, SWEEP
from simclr_med.commands import flags
from simclr_med.commands.recipes import of_study
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.experiments import (
    study,
    study_check,
    study_compare,
    study_plan,
)
from simclr_med.metrics import permutation
from simclr_med.metrics.compare import compare
from simclr_med.metrics.predictions import read_predictions
from simclr_med.training.plan import make_plan
from tfds_builders.derm_bags import Builder, folder_config

STUDY = Config().replace(
    label_fractions="0.5,1",
    repeats=2,
    label_subsets=2,
    sweep_learning_rates="0.1",
    sweep_weight_decays="0",
)
# Of tests that need no more.
SMALL = STUDY.replace(label_fractions="0.5", label_subsets=1, uses="probe,finetune")
SMALL_RUNS = 3 * 2 + 4 * 2  # that train
ARMS = ["no pretraining", "SimCLR", "SimCLR → SimCLR by case", "SimCLR → MICLe"]
RUNS = 2 * 2 + 2  # of an arm and a use: seeds x subsets at 50 %, seeds at 100 %


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    splits = {"train": 12, "validation": 6, "test": 24}
    return draw_cases(tmp_path_factory.mktemp("data") / "photos", splits)


def prepare(photos, data_dir):
    builder = Builder(config=folder_config(photos), data_dir=data_dir)
    builder.download_and_prepare()
    return builder


@pytest.fixture(scope="module")
def builder(photos, tmp_path_factory):
    return prepare(photos, tmp_path_factory.mktemp("tfds"))


@pytest.fixture
def stand_ins(monkeypatch):
    return StudyStandIns(monkeypatch)


def recipes(finetune=SWEEP):
    pretrain = BASE.replace(train_mode="pretrain", optimizer="lars", warmup_epochs=1.0)
    return {
        "simclr": pretrain,
        "micle": pretrain.replace(micle=True, train_steps=3),
        "finetune": finetune,
    }


def go(builder, folder, config=SMALL, finetune=SWEEP):
    return study.run(config, recipes(finetune), lambda config: builder, str(folder), None, {})


@pytest.fixture(scope="module")
def finished(builder, tmp_path_factory):
    """A finished STUDY in which pretraining pays: (its folder, what it found, its stand-ins)."""
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        stand_ins = StudyStandIns(patch)
        stand_ins.strength = lambda use, config: 1.5 if config.run.checkpoint else 0.2
        stand_ins.selected = lambda use, config: 0.0  # so the probe is the best use everywhere
        yield folder, go(builder, folder, STUDY), stand_ins


def cells(rows, **values):
    return [row for row in rows if all(row[key] == value for key, value in values.items())]


# The plan


def test_every_arm_and_use_has_the_same_labels_and_its_seed_s_pretraining():
    plan = study_plan.make(STUDY.replace(label_subsets=3), recipes(), "S")
    jobs = study_plan.runs_of_uses(plan)
    assert len(jobs) == len({job.folder for job in jobs}) == 4 * 3 * (2 * 3 + 2)
    subsets = {(use, arm.folder): [] for use in plan.uses for arm in plan.arms}
    for job in jobs:
        data = job.config.data
        subsets[job.use, job.arm].append((job.seed, data.label_fraction, data.label_seed))
        start = None if job.arm == "scratch" else f"S/pretrain_{job.arm}/seed_{job.seed}"
        assert (job.config.run.checkpoint, job.config.run.seed) == (start, job.seed)
        heads = {"finetune": "random", "probe_finetune": "probe", "probe": "random"}
        assert job.config.train.init_head == heads[job.use]
    expected = [
        *((0, 0.5, seed) for seed in (0, 1000, 2000)),
        (0, 1.0, None),
        *((1, 0.5, seed) for seed in (1, 1001, 2001)),
        (1, 1.0, None),
    ]
    assert all(subset == expected for subset in subsets.values())


def test_both_second_stages_have_the_same_bags_steps_and_learning_rates(builder):
    recipe = recipes()["micle"].replace(
        train_steps=0, train_epochs=10, warmup_epochs=2.0, train_batch_size=3
    )
    plan = study_plan.make(STUDY, {**recipes(), "micle": recipe}, "S")
    _, control, micle = study_plan.pretrainings(plan, "S", 0)
    assert (
        control.config.run.checkpoint == micle.config.run.checkpoint == "S/pretrain_simclr/seed_0"
    )
    plans = [make_plan(job.config.replace(checkpoint=None), builder, 1) for job in (control, micle)]
    assert [p.num_examples for p in plans] == [12, 12]  # bags, of 24 images
    assert [p.total_steps for p in plans] == [41, 41]
    rates = [[float(p.schedule(step)) for step in range(41)] for p in plans]
    assert rates[0] == rates[1]
    # They differ in the pair alone.
    differing = {
        name
        for name, value in control.config.to_dict().items()
        if micle.config.to_dict()[name] != value
    }
    assert differing == {"micle", "simclr_unit"}


def test_the_study_starts_from_given_weights_and_adds_their_arm():
    config = STUDY.replace(checkpoint="IMAGENET")
    plan = study_plan.make(config, recipes(), "S")
    assert [(arm.name, arm.checkpoint) for arm in plan.arms] == [
        ("no pretraining", None),
        ("given weights", "IMAGENET"),
        ("SimCLR", "S/pretrain_simclr"),
        ("SimCLR → SimCLR by case", "S/pretrain_control"),
        ("SimCLR → MICLe", "S/pretrain_micle"),
    ]
    assert [len({arm.pretraining(seed) for seed in range(4)}) for arm in plan.arms] == [
        4,
        1,
        4,
        4,
        4,
    ]
    first = study_plan.pretrainings(plan, "S", 7)[0].config.run
    assert (first.checkpoint, first.seed) == ("IMAGENET", 7)
    probes = [j for j in study_plan.runs_of_uses(plan) if (j.arm, j.use) == ("given", "probe")]
    # With all labels the probes of one encoder are one, whatever the seed.
    assert [(j.fraction, j.seed, j.subset) for j in probes] == [
        *((0.5, 0, subset) for subset in (0, 1)),
        (1.0, 0, 0),
        *((0.5, 1, subset) for subset in (0, 1)),
    ]


@pytest.mark.slow
@pytest.mark.one_stack
def test_the_list_of_jobs_is_what_is_run(stand_ins, builder, tmp_path):
    config = SMALL.replace(sweep_train_steps="2,4", label_subsets=2)
    plan = study_plan.make(config, recipes(), str(tmp_path))
    jobs = study_plan.jobs(plan, str(tmp_path))
    kinds = [job.kind for job in jobs]
    counts = {kind: kinds.count(kind) for kind in kinds}
    assert counts == {
        "pretraining": 3 * 2,
        "probe": 4 * 2 * 2,
        "sweep": 4 * 2,
        "finetune": 4 * 2 * 2,
    }
    go(builder, tmp_path, config)
    folders = {
        str(path.parent.relative_to(tmp_path)) for path in tmp_path.glob("**/predictions*.csv")
    }
    assert folders == {job.folder for job in jobs}
    assert len(stand_ins.trained) == len(jobs) - counts["probe"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            {"uses": "probe,finetuning"},
            "--uses=probe,finetuning: 'finetuning' is not a use. Give one or",
        ),
        ({"uses": ""}, "--uses=: none is given"),
        ({"sweep_train_steps": "10,2.5"}, "--sweep_train_steps=10,2.5: 2.5 is not a whole number"),
        ({"sweep_train_steps": "0"}, "0 is not a whole number, at least 1"),
        ({"sweep_label_fraction": "2"}, "--sweep_label_fraction=2: --label_fraction=2.0 must be"),
        ({"label_fractions": "0.1,x"}, "'x' is not a number"),
    ],
)
def test_a_mistake_in_the_plan_is_an_error_message(change, words):
    with pytest.raises(UserError) as raised:
        study_plan.make(STUDY.replace(**change), recipes(), "S")
    assert words in str(raised.value)


# The run


def test_a_study_makes_every_run_once_and_its_file_says_all(finished, builder):
    folder, content, stand_ins = finished
    pretrainings, fine_tunings = 3 * 2, 4 * 2 * RUNS
    assert len(stand_ins.trained) == len(stand_ins.evaluated) == pretrainings + fine_tunings
    assert len(stand_ins.featured) == 4 * 2  # one pass for all probes of an arm and a seed
    assert content == json.loads((folder / "study.json").read_text()) == stand_ins.reports[0]
    assert go(builder, folder, STUDY) == content
    assert len(stand_ins.trained) == pretrainings + fine_tunings
    assert len(stand_ins.featured) == 8
    assert [arm["name"] for arm in content["arms"]] == ARMS
    assert [arm["is_baseline"] for arm in content["arms"]] == [True, False, False, False]
    assert (content["uses"], content["label_subsets"]) == (
        ["probe", "finetune", "probe_finetune"],
        2,
    )
    for stage in ("simclr", "control", "micle"):
        rows = content["pretraining"][stage]
        assert [row["run"] for row in rows] == [f"pretrain_{stage}/seed_{s}" for s in (0, 1)]
    counts = {"inside": 12 * 2, "selection": 12 * 2}
    assert {p: len(cells(content["results"], place=p)) for p in counts} == counts
    for row in content["results"]:
        assert len(row["macro_auc"]["values"]) == (4 if row["fraction"] == 0.5 else 2)
        assert row["labels"] == 12 * row["fraction"]
    assert content["runs"]["fine-tuning"] == fine_tunings and content["runs"]["probe"] == 4 * RUNS
    of_splits = content["runs"]["splits"]
    assert {name: of["cases"] for name, of in of_splits.items()} == {
        "pretraining": 12,
        "training": 12,
        "selection": 6,
        "evaluation": 24,
    }
    assert of_splits["evaluation"]["patients"] == 24


def test_rows_are_means_over_the_runs_predictions(finished):
    study_folder, content, _ = finished
    (row,) = cells(content["results"], arm="SimCLR", use="finetune", fraction=0.5, place="inside")
    folder = study_folder / "finetune" / "simclr" / "fraction_0.5"
    values = []
    for seed in (0, 1):
        for subset in (0, 1):
            its = read_predictions(
                str(folder / f"subset_{subset}" / f"seed_{seed}/predictions.csv")
            )
            positive = its.scores[its.truth == 1, 1], its.scores[its.truth == 0, 1]
            values.append((positive[0][:, None] > positive[1]).mean())  # the area under the curve
    assert row["macro_auc"]["values"] == pytest.approx(values)
    assert row["macro_auc"]["mean"] == pytest.approx(np.mean(values))
    assert row["macro_auc"]["sd"] == pytest.approx(np.std(values, ddof=1))
    low, high = row["macro_auc"]["interval"]
    assert low < row["macro_auc"]["mean"] < high and row["macro_auc"]["over"] == "runs and patients"
    (compared,) = cells(
        content["comparisons"],
        question="pays_same_use",
        use_b="finetune",
        fraction=0.5,
        metric="macro_auc",
    )
    assert compared["value_b"] == pytest.approx(row["macro_auc"]["mean"])
    assert compared["pretrainings"] == 2


def test_arms_are_compared_in_pairs_of_runs_on_the_same_labelled_cases(finished):
    study_folder, content, _ = finished
    rows = cells(content["comparisons"], metric="macro_auc", place="inside")
    assert {(row["fraction"], row["pairs"]) for row in rows} == {(0.5, 4), (1.0, 2)}
    (row,) = cells(rows, question="pays_same_use", use_b="finetune", fraction=0.5)
    keys = [(subset, seed) for subset in (0, 1) for seed in (0, 1)]
    sides = [
        [
            read_predictions(
                str(
                    study_folder
                    / f"finetune/{arm}/fraction_0.5/subset_{i}/seed_{j}/predictions.csv"
                )
            )
            for i, j in keys
        ]
        for arm in ("scratch", "simclr")
    ]
    expected = compare(
        *sides,
        seed=0,
        blocks=(keys, keys),
        pretrainings=([str(j) for _, j in keys], [str(j) for _, j in keys]),
    )["macro_auc"]
    assert row["difference_95"] == pytest.approx(expected["difference_95"])


def test_the_best_use_is_chosen_on_the_selection_split_though_the_test_split_disagrees(
    stand_ins, builder, tmp_path
):
    """On test fine-tuning from the probe is best by far; on the selection split the probe is at 100 %."""

    def selected(use, config):
        return {0.5: 1.1, 1.0: 0.0}[config.data.label_fraction] * (use == "finetune")

    stand_ins.selected = selected
    stand_ins.strength = lambda use, config: 9.0 if use == "probe_finetune" else 1.0
    config = SMALL.replace(label_fractions="0.5,1", uses=STUDY.experiment.uses)
    content = go(builder, tmp_path, config)
    for fraction, use in ((0.5, "finetune"), (1.0, "probe")):
        on_test = {
            row["use"]: row["macro_auc"]["mean"]
            for row in cells(content["results"], arm="SimCLR", place="inside", fraction=fraction)
        }
        assert max(on_test, key=on_test.get) == "probe_finetune"
        (best,) = cells(content["best_use"], arm="SimCLR", fraction=fraction)
        assert best["use"] == use
        assert "highest mean macro-AUC on validation: the linear probe " in best["why"]
        (pays,) = cells(
            content["comparisons"],
            question="pays",
            b="SimCLR",
            fraction=fraction,
            metric="macro_auc",
        )
        assert (pays["use_a"], pays["use_b"], pays["best"]) == (use, use, True)
        assert pays["value_b"] == pytest.approx(on_test[use])


@pytest.mark.slow
@pytest.mark.one_stack
def test_without_a_selection_split_there_is_no_best_use_and_it_says_why(
    stand_ins, builder, tmp_path
):
    content = go(builder, tmp_path, finetune=BASE)
    assert {row["place"] for row in content["results"]} == {"inside"}
    assert {row["use"] for row in content["best_use"]} == {None}
    assert "no --selection_split was given" in content["best_use"][0]["why"]
    assert {row["question"] for row in content["comparisons"]} == {
        "pays_same_use",
        "micle_same_use",
        "use",
    }


def test_questions_are_those_of_the_study():
    best = dict(zip(ARMS, ("probe", "finetune", "probe", "finetune")))
    rows = list(study_compare.questions(ARMS, ["probe", "finetune"], best))
    none, simclr, control, micle = ARMS
    assert [dataclasses.astuple(question) for question in rows] == [
        ("pays", none, "probe", simclr, "finetune", True),
        ("pays", none, "probe", control, "probe", True),
        ("pays", none, "probe", micle, "finetune", True),
        ("pays_same_use", none, "probe", simclr, "probe", False),
        ("pays_same_use", none, "finetune", simclr, "finetune", False),
        ("micle", control, "probe", micle, "finetune", True),
        ("micle_same_use", control, "probe", micle, "probe", False),
        ("micle_same_use", control, "finetune", micle, "finetune", False),
        ("second_stage", simclr, "finetune", control, "probe", True),
        *(("use", arm, "probe", arm, "finetune", False) for arm in ARMS),
    ]


def test_holm_s_correction_is_over_the_questions_that_the_study_is_for(finished):
    _, content, _ = finished
    rows = cells(content["comparisons"], metric="macro_auc")
    family = [row for row in rows if row["question"] in ("pays", "pays_same_use", "micle")]
    assert len(family) == 2 * (3 + 3 + 1) and any(row["p_holm"] < 0.05 for row in family)
    keys = ("place", "fraction", "a", "use_a", "b", "use_b")
    tests = {tuple(row[key] for key in keys): row["p"] for row in family}
    corrected = dict(zip(tests, permutation.holm(np.array(list(tests.values())))))
    expected = [corrected[tuple(row[key] for key in keys)] for row in family]
    assert [row["p_holm"] for row in family] == pytest.approx(expected)
    # The best uses of SimCLR and of no pretraining are both the probe, which is asked about as a use.
    assert study_compare.num_planned(content) == len(tests) == len(family) - 2
    assert {row["p_holm"] for row in rows if row not in family} == {None}


@pytest.mark.slow
@pytest.mark.one_stack
def test_each_arm_and_use_gets_the_best_of_its_own_grid(stand_ins, builder, tmp_path):
    def score(config):
        if config.eval.eval_name != "selection":
            return 0.5
        best = 0.1 if config.run.checkpoint else 0.01
        longer = (config.train.init_head == "probe") != (config.data.label_fraction == 1)
        steps = 4 if longer else 2
        return 0.9 - (config.optim.learning_rate != best) - (config.train.train_steps != steps)

    stand_ins.score = score
    config = SMALL.replace(
        **{"repeats": 1, "label_fractions": "0.5,1", "uses": "finetune,probe_finetune"},
        **{"sweep_learning_rates": "0.01,0.1", "sweep_train_steps": "2,4"},
        sweep_label_fraction="0.4,1",
    )
    content = go(builder, tmp_path, config)
    chosen = {
        (row["arm"], row["use"], row["fraction"]): (row["learning_rate"], row["train_steps"])
        for row in content["hyperparameters"]
    }
    assert len(chosen) == 4 * 2 * 2
    for (arm, use, fraction), values in chosen.items():
        rate = 0.01 if arm == "no pretraining" else 0.1
        assert values == (rate, 4 if (use == "probe_finetune") != (fraction == 1) else 2)
    assert {row["chosen_at"] for row in content["hyperparameters"]} == {0.4, 1.0}
    saved = tmp_path / "probe_finetune" / "micle" / "fraction_0.5" / "subset_0" / "seed_0"
    run = json.loads((saved / "config.json").read_text())
    assert (run["learning_rate"], run["train_steps"], run["label_seed"]) == (0.1, 4, 0)
    # A choice looks at the selection split alone.
    of_sweep = {split for name, split in stand_ins.evaluated if name.startswith("lr_")}
    assert of_sweep == {"validation"}
    with pytest.raises(UserError, match="--selection_split, which is missing"):
        go(builder, tmp_path / "other", config, finetune=BASE)


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_killed_study_goes_on(stand_ins, builder, tmp_path):
    def die(config):
        if len(stand_ins.trained) in (2, 9, 12):
            raise Killed

    stand_ins.before = die
    for _ in range(3):
        with pytest.raises(Killed):
            go(builder, tmp_path)
    go(builder, tmp_path)
    assert len(stand_ins.trained) == SMALL_RUNS + 3
    assert len(stand_ins.featured) == 8


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_kill_between_evaluation_and_removal_loses_nothing(
    stand_ins, builder, tmp_path, monkeypatch
):
    def die(folder, **how):
        if "finetune" in folder:
            raise Killed
        remove(folder, **how)

    remove = study.runs.remove_weights
    monkeypatch.setattr(study.runs, "remove_weights", die)
    with pytest.raises(Killed):
        go(builder, tmp_path)
    monkeypatch.setattr(study.runs, "remove_weights", remove)
    go(builder, tmp_path)
    assert len(stand_ins.trained) == SMALL_RUNS
    assert not list(tmp_path.glob("finetune/**/ckpt-*"))


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_study_whose_folder_and_data_were_moved_goes_on(
    stand_ins, builder, photos, tmp_path, monkeypatch
):
    def die(config):
        if len(stand_ins.trained) == 10:
            raise Killed

    stand_ins.before = die
    with pytest.raises(Killed):
        go(builder, tmp_path / "here")
    (tmp_path / "here").rename(tmp_path / "there")
    shutil.copytree(photos, tmp_path / "photos")
    moved = prepare(tmp_path / "photos", tmp_path / "tfds")
    monkeypatch.chdir(tmp_path)
    content = go(moved, "there")  # a relative path too
    assert len(stand_ins.trained) == SMALL_RUNS + 1 and len(stand_ins.featured) == 8
    assert str(tmp_path) not in json.dumps(content)
    (tmp_path / "there").rename(tmp_path / "elsewhere")
    assert go(builder, tmp_path / "elsewhere") == content
    assert len(stand_ins.trained) == SMALL_RUNS + 1
    one = tmp_path / "elsewhere" / "finetune" / "micle" / "fraction_0.5" / "subset_0" / "seed_1"
    run = json.loads((one / "config.json").read_text())
    assert run["checkpoint"] == str(tmp_path / "elsewhere" / "pretrain_micle" / "seed_1")


@pytest.mark.slow
@pytest.mark.one_stack
def test_other_weights_at_the_same_place_are_still_refused(stand_ins, builder, tmp_path):
    go(builder, tmp_path)
    start = tmp_path / "pretrain_micle"
    (start / "seed_0").rename(start / "kept")
    shutil.copytree(tmp_path / "pretrain_control" / "seed_0", start / "seed_0")
    for name in ("config.json", "experiment.json", "result.json", "predictions.csv"):
        shutil.copy(start / "kept" / name, start / "seed_0" / name)
    with pytest.raises(UserError, match="began with other weights than --checkpoint="):
        go(builder, tmp_path)


# Weights


def kept(folder, part):
    return sorted(str(path.relative_to(folder)) for path in folder.glob(f"{part}/**/ckpt-*.index"))


@pytest.mark.slow
@pytest.mark.one_stack
def test_weights_of_finished_runs_are_removed_but_what_starts_others(stand_ins, builder, tmp_path):
    config = SMALL.replace(sweep_learning_rates="0.1,0.2")
    go(builder, tmp_path, config)
    for part in ("finetune", "sweep"):
        assert kept(tmp_path, part) == []
        assert not list((tmp_path / part).glob("**/checkpoint"))
    assert len(kept(tmp_path, "pretrain_*")) == 6
    go(builder, tmp_path / "all", config.replace(study_keep_weights="all"))
    assert len(kept(tmp_path / "all", "finetune")) == 4 * 2
    assert len(kept(tmp_path / "all", "sweep")) == 4 * 2


def test_of_a_pretraining_the_last_checkpoint_is_kept(tmp_path):
    manager = tf.train.CheckpointManager(toy_weights(1.0), str(tmp_path), 5)
    for step in (1, 2, 3):
        manager.save(step)
    before = study.runs._weights(str(tmp_path))
    study.runs.remove_weights(str(tmp_path), keep_last=True)
    left = sorted(path.name for path in tmp_path.glob("ckpt-*.index"))
    assert left == ["ckpt-3.index"] and study.runs._weights(str(tmp_path)) == before


SHIFT = {"shift_dataset": "derm_bags", "shift_split": "test"}


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_shift_set_that_comes_later_is_scored_with_the_weights_that_were_kept(
    stand_ins, builder, tmp_path
):
    keeping = SMALL.replace(study_keep_weights="all")
    first = go(builder, tmp_path, keeping)
    trained = len(stand_ins.trained)
    content = go(builder, tmp_path, keeping.replace(**SHIFT))
    assert len(stand_ins.trained) == trained
    assert len(cells(content["results"], place="shift")) == 4 * 2
    inside = [cells(one["results"], place="inside") for one in (first, content)]
    assert inside[0] == inside[1]
    assert {row["place"] for row in content["comparisons"]} == {"inside", "shift"}
    assert content["runs"]["splits"]["shift"]["cases"] == 24


@pytest.mark.slow
@pytest.mark.one_stack
def test_a_shift_set_that_comes_when_the_weights_are_gone_is_refused_at_once(
    stand_ins, builder, tmp_path
):
    go(builder, tmp_path)
    before = len(stand_ins.evaluated)
    with pytest.raises(UserError, match="--uses=probe needs only") as raised:
        go(builder, tmp_path, SMALL.replace(**SHIFT))
    assert "the weights of 8 fine-tuned runs" in str(raised.value)
    assert len(stand_ins.evaluated) == before
    trained = len(stand_ins.trained)
    content = go(builder, tmp_path, SMALL.replace(**SHIFT | {"uses": "probe"}))
    assert len(stand_ins.trained) == trained
    assert len(cells(content["results"], place="shift")) == 4
    assert {row["use"] for row in content["best_use"]} == {"probe"}


# Mistakes


def test_a_study_of_an_earlier_layout_is_refused(stand_ins, builder, tmp_path):
    (tmp_path / "pretrain_simclr1").mkdir()
    with pytest.raises(UserError, match="holds a study of an earlier version"):
        go(builder, tmp_path)
    assert not stand_ins.trained


def check(builder, config, of_recipes):
    builders = study_plan.Builders(lambda config: builder)
    return study_check.checked_plan(config, of_recipes, builders, "nowhere")


def test_recipes_that_do_not_fit_are_refused_before_training(builder):
    with pytest.raises(UserError, match="--width_multiplier is 1 in --simclr_recipe, 1 in"):
        check(builder, STUDY, recipes(SWEEP.replace(width_multiplier=2)))
    check(builder, STUDY, recipes(SWEEP.replace(image_size=64)))
    with pytest.raises(UserError, match="--image_size is 34 in"):
        check(builder, STUDY, recipes() | {"micle": BASE.replace(image_size=32)})
    with pytest.raises(UserError, match="no split 'nowhere'"):
        check(builder, STUDY.replace(shift_dataset="derm_bags", shift_split="nowhere"), recipes())
    with pytest.raises(UserError, match="share 6 patients"):
        check(builder, STUDY, recipes(SWEEP.replace(selection_split="train[:50%]")))


def test_the_study_s_flags_win_over_its_recipes(tmp_path):
    for name, text in (
        ("simclr", "--mode=train\n--train_steps=9\n--image_size=64\n--model_dir=x\n"),
        ("micle", "--micle\n--train_steps=8\n"),
        ("finetune", "--train_mode=finetune\n--image_size=96\n"),
    ):
        (tmp_path / f"{name}.flags").write_text(text)
    given = {f"{name}_recipe": str(tmp_path / f"{name}.flags") for name in study_plan.RECIPES}
    given |= {"image_size": 48, "mode": "study", "checkpoint": "c", "model_dir": "m"}
    configs = of_study(given)
    assert {recipe.augment.image_size for recipe in configs.values()} == {48}
    assert [configs[name].train.train_steps for name in ("simclr", "micle")] == [9, 8]
    assert {recipe.run.checkpoint for recipe in configs.values()} == {None}
    assert {recipe.run.model_dir for recipe in configs.values()} == {None}
    assert configs["micle"].method == "micle" and configs["finetune"].method == "finetune"
    with pytest.raises(UserError, match="needs --micle_recipe=FILE"):
        of_study({**given, "micle_recipe": ""})
    with pytest.raises(UserError, match="nowhere.flags"):
        of_study({**given, "micle_recipe": "nowhere.flags"})


def test_the_demo_study_s_flags_are_complete():
    given = flags.parse(["", f"--flagfile={ROOT / 'flags' / 'study_demo.flags'}"]).given
    configs = of_study(given)
    plan = study_plan.make(flags.config_from(given), configs, "S")
    assert plan.config.run.mode == "study"
    assert plan.tuning.data.selection_split == "validation"
    assert len(plan.seeds) == 3  # the least that speak of recipes
    study_check._check_alike(configs)
    assert {recipe.data.eval_split for recipe in configs.values()} == {"test"}
    for job in study_plan.jobs(plan, "S"):
        job.config.validate()
