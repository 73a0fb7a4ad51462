"""Nothing that is reported may have been trained or chosen on: by the command, on drawn folders."""

import json
import os
import shutil

import pytest

from helpers import ROOT, cxr_twins, derm_folders, encoders, tiny_runs
from helpers.command_line import flags_of, run
from helpers.folders import draw_cases
from simclr_med import build
from simclr_med.commands import flags
from simclr_med.commands.recipes import of_study
from simclr_med.data.patients import patients_of
from simclr_med.errors import UserError
from simclr_med.evaluation import draw, evaluate, splits
from simclr_med.metrics import known_patients
from simclr_med.run_folder import data_json
from simclr_med.training import train
from tfds_builders import chexpert_studies, derm_bags, nih_cxr14

TUNE = tiny_runs.FINETUNE.replace(train_steps=1, learning_rate=0.1, bootstrap_resamples=100)
SIZES = {"train": 12, "validation": 6, "test": 6}


@pytest.fixture(scope="module", autouse=True)
def short_encoders():
    with pytest.MonkeyPatch.context() as patch:
        encoders.shorten(patch)
        yield


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    monkeypatch.setattr(draw.embedding, "save", lambda *args: None)
    monkeypatch.setattr(draw, "save_report", lambda *args: {})


@pytest.fixture
def never_trained(monkeypatch):
    """What is refused is refused before hours of training."""

    def trained(*args):
        raise AssertionError("it trained")

    monkeypatch.setattr(train, "train", trained)


class World:
    """A folder of 24 cases in three splits, and the commands on it."""

    def __init__(self, root):
        self.root = root
        self.photos = draw_cases(
            root / "photos", SIZES, columns={"patient_id": lambda case: f"p{case}"}
        )
        self.data = ["--dataset=derm_bags", f"--manual_dir={self.photos}"]
        self.builder = self.prepared(self.photos)

    def prepared(self, photos):
        config = derm_bags.folder_config(str(photos))
        builder = derm_bags.Builder(config=config, data_dir=self.root / "tfds")
        builder.download_and_prepare()
        return builder

    def train(self, name, config, *more):
        """Trains with a configuration; returns the folder of the run."""
        folder = self.root / name
        config_flags = flags_of(config.replace(dataset=None, data_dir=str(self.root / "tfds")))
        code, _, errors = run(
            "--mode=train", *self.data, *config_flags, f"--model_dir={folder}", *more
        )
        assert code == 0, errors
        return folder

    def eval(self, folder, *more):
        return run("--mode=eval", f"--model_dir={folder}", *more)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def tuned(world, short_encoders):
    """A fine-tuning on train that is to be chosen on validation; --eval_split is the default."""
    return world.train("tuned", TUNE, "--selection_split=validation")


@pytest.fixture(scope="module")
def pretrained(world, short_encoders):
    return world.train("pretrained", tiny_runs.BASE.replace(train_steps=1, learning_rate=0.1))


def result_of(folder, suffix=""):
    return json.loads((folder / f"result{suffix}.json").read_text())


def in_common(result):
    return {row["with"]: row["patients"] for row in result["patients"]["in_common"]}


# Refused


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            [],
            "6 of its 6 patients are in 'validation', which chose the run or its checkpoint",
        ),  # the default
        (["--eval_split=validation[:50%]"], "3 of its 3 patients are in 'validation'"),
        (
            ["--selection_split=test", "--eval_split=test"],
            "'test', which chose the run or its checkpoint",
        ),
        (["--eval_split=train"], "12 of its 12 patients are in 'train', which the run was trained"),
        (["--eval_split=train[50%:]"], "6 of its 6 patients are in 'train'"),
        (["--eval_split=all"], "6 of its 24 patients are in 'validation'"),
        # What the run was trained on is not the command's to say.
        (["--eval_split=train[50%:]", "--train_split=train[:50%]"], "are in 'train'"),
        (["--selection_split=train[:50%]", "--eval_split=test"], "share 6 patients"),
        # Patients who chose are not reported, whatever is allowed.
        (["--allow_patient_overlap"], "which chose the run or its checkpoint"),
    ],
)
def test_an_evaluation_on_known_patients_is_refused_and_names_the_splits(
    world, tuned, arguments, words
):
    before = sorted(os.listdir(tuned))
    code, _, errors = world.eval(tuned, *arguments)
    assert code == 2 and words in errors, errors
    assert "The splits are train (12 cases), validation (6 cases), test (6 cases)" in errors
    free = (
        "--eval_split: validation"
        if "--selection_split=test" in arguments
        else "--eval_split: test"
    )
    if "--selection_split=train[:50%]" in arguments:
        free = "--selection_split: validation"
    assert errors.rstrip().endswith(f"Free for {free}.")  # never train, which is trained on
    assert sorted(os.listdir(tuned)) == before and "Traceback" not in errors


@pytest.mark.parametrize(
    "mode", ["train_then_eval", "sweep", "label_efficiency", "repeats", "study"]
)
@pytest.mark.parametrize(
    "arguments",
    [
        ["--selection_split=test", "--eval_split=test"],
        ["--selection_split=validation"],  # the default --eval_split
        ["--selection_split=validation", "--eval_split=train"],
        ["--selection_split=train[:50%]", "--eval_split=test"],
    ],
)
def test_every_mode_that_chooses_finds_out_before_it_trains(
    world, tmp_path, never_trained, mode, arguments
):
    if mode == "study":
        (tmp_path / "some.flags").write_text("\n".join(flags_of(tiny_runs.BASE)) + "\n")
        (tmp_path / "tune.flags").write_text("\n".join(flags_of(TUNE)) + "\n")
        first = f"{tmp_path}/some.flags"
        config_flags = [f"--simclr_recipe={first}", f"--micle_recipe={first}", "--mode=study"]
        config_flags += [f"--finetune_recipe={tmp_path}/tune.flags", "--sweep_learning_rates=0.1"]
        config_flags += ["--sweep_weight_decays=0"]
    else:
        config_flags = flags_of(TUNE.replace(dataset=None))
        config_flags += (
            ["--mode=train_then_eval", "--repeats=2"] if mode == "repeats" else [f"--mode={mode}"]
        )
    data = [*world.data, f"--data_dir={world.root}/tfds"]
    code, _, errors = run(*data, *config_flags, *arguments, f"--model_dir={tmp_path}/run")
    assert code == 2 and "patients" in errors and "Free for --" in errors, errors
    assert not list((tmp_path).glob("run/**/config.json"))


def test_a_point_of_a_sweep_may_be_judged_on_what_it_is_chosen_by(world, tuned, strategy):
    """Its own evaluation is the choice; the same evaluation as a report is refused."""
    saved = json.loads((tuned / "config.json").read_text())
    config = TUNE.replace(selection_split="validation", eval_split="validation", eval_name="judged")
    config = config.replace(input_range=saved["input_range"])
    how = dict(pictures=False, to_choose=True)
    result = evaluate.evaluate(config, world.builder, str(tuned), strategy, **how)
    assert in_common(result) == {"selection": 6, "training": 0}
    (warning,) = known_patients.warnings(result)
    assert (
        "6 of the 6 evaluated patients" in warning
        and "they chose the run or its checkpoint" in warning
    )
    with pytest.raises(UserError, match="which chose the run or its checkpoint"):
        evaluate.evaluate(config, world.builder, str(tuned), strategy, pictures=False)


@pytest.mark.parametrize("arguments", ["--selection_split=", "--selection_split=test"])
def test_what_a_sweep_chose_a_run_on_is_not_reported_by_another_choice(
    world, tuned, tmp_path, arguments
):
    run_of_sweep = tmp_path / "lr_0.1_wd_0"
    shutil.copytree(tuned, run_of_sweep)
    saved = json.loads((run_of_sweep / "config.json").read_text())
    (run_of_sweep / "config.json").write_text(json.dumps({**saved, "mode": "sweep"}))
    code, _, errors = world.eval(run_of_sweep, arguments, "--eval_split=validation")
    assert code == 2 and "'validation', which chose the run or its checkpoint" in errors


def test_the_split_of_selection_json_counts_until_the_choice_is_made_again(world, tuned, tmp_path):
    run_of_before = tmp_path / "run"
    shutil.copytree(tuned, run_of_before)
    (run_of_before / "selection.json").write_text('{"split": "validation", "checkpoint": "ckpt-1"}')
    arguments = ["--selection_split=", "--eval_split=validation"]
    code, _, errors = world.eval(run_of_before, *arguments)
    assert code == 2 and "6 of its 6 patients are in 'validation'" in errors
    saved = json.loads((run_of_before / "config.json").read_text())
    config = TUNE.replace(selection_split="test", eval_split="validation")
    of_run = {**saved, "prepared_dataset": data_json.name_of(world.builder)}
    overlap = splits.check(config, world.builder, of_run, str(run_of_before))  # test chooses again
    assert overlap["in_common"][0]["split"] == "test" and len(overlap["in_common"]) == 2


def test_training_alone_refuses_a_selection_split_that_it_trains_on(world, tmp_path, never_trained):
    config_flags = [
        *world.data,
        *flags_of(TUNE.replace(dataset=None)),
        f"--data_dir={world.root}/tfds",
    ]
    arguments = ["--mode=train", "--selection_split=train[:50%]", f"--model_dir={tmp_path}/run"]
    code, _, errors = run(*config_flags, *arguments)
    assert code == 2 and "--train_split=train share 6 patients" in errors
    config = TUNE.replace(selection_split="validation", eval_split="nowhere")  # not looked at yet
    splits.check_selection(config, world.builder, to_choose=True)


def test_probes_are_not_judged_on_the_patients_they_are_fitted_on(world, pretrained):
    code, _, errors = world.eval(pretrained, "--eval_split=train[50%:]")
    assert code == 2 and "6 of its 6 patients are in 'train', whose labels the probes" in errors
    assert "add --allow_patient_overlap" in errors


# Allowed and said


def test_what_is_allowed_is_counted_and_reported(world, tuned):
    arguments = ["--eval_split=train[50%:]", "--eval_name=known", "--allow_patient_overlap"]
    code, output, errors = world.eval(tuned, *arguments)
    assert code == 0, errors
    result = result_of(tuned, "_known")
    assert in_common(result) == {"selection": 0, "training": 6}
    assert result["patients"]["allowed"] and result["patients"]["evaluated"] == 6
    assert "Warning: 6 of the 6 evaluated patients are known to the model" in output
    assert "Evaluated: 6 of 24 cases: split 'train[50%:]'" in output


def test_a_clean_evaluation_says_that_it_is(world, tuned):
    code, output, errors = world.eval(tuned, "--eval_split=test")
    assert code == 0, errors
    assert in_common(result_of(tuned)) == {"selection": 0, "training": 0}
    output = " ".join(output.split())
    assert "None of the 6 evaluated patients was chosen on ('validation') or trained on" in output
    assert "Evaluated: 6 of 24 cases" in output and "Warning" not in output


def test_pretraining_on_the_evaluated_patients_is_a_note(world, pretrained):
    """The encoder saw all of train, without labels; the probes only half of it."""
    arguments = ["--train_split=train[:50%]", "--eval_split=train[50%:]", "--eval_name=half"]
    code, output, errors = world.eval(pretrained, *arguments)
    assert code == 0, errors
    assert in_common(result_of(pretrained, "_half")) == {"probe": 0, "pretraining": 6}
    assert "6 of the 6 evaluated patients were in the pretraining" in output
    assert "Probes are fitted on 'train[:50%]', 6 cases of the same data" in output


# Slices and chains of runs


@pytest.mark.parametrize(("cases_each", "allowed"), [(1, True), (3, False)])
def test_slices_of_one_split_may_share_a_patient(world, tmp_path, cases_each, allowed):
    photos = draw_cases(
        tmp_path / "photos",
        {"train": 18, "test": 3},
        columns={"patient_id": lambda case: f"p{case // cases_each}"},
    )
    builder = world.prepared(photos)
    config = TUNE.replace(train_split="train[:80%]", eval_split="train[80%:]")
    ids = [
        [bag["patient_id"] for bag in build.open_bags(config, builder, split).dataset]
        for split in (config.data.train_split, config.data.eval_split)
    ]
    shared = {text.numpy() for text in ids[0]} & {text.numpy() for text in ids[1]}
    assert allowed == (not shared)
    if allowed:
        return evaluate.check_splits(config, builder)
    with pytest.raises(UserError, match=rf": {len(shared)} of its \d patients are in 'train\[:80%"):
        evaluate.check_splits(config, builder)
    evaluate.check_splits(config.replace(allow_patient_overlap=True), builder)


def pretend(folder, builder, **values):
    """Leaves the config.json of a run; returns its path."""
    folder.mkdir()
    config = tiny_runs.BASE.replace(**values)
    (folder / "config.json").write_text(json.dumps(splits.of_run(config, builder)))
    return str(folder)


def chain(root, builder, simclr, **values):
    """SimCLR on `simclr`, then MICLe on validation from its checkpoint; returns the latter."""
    simclr_run = pretend(root / "simclr", builder, train_split=simclr)
    start = f"{simclr_run}/ckpt-7"
    return pretend(
        root / "micle", builder, micle=True, checkpoint=start, train_split="validation", **values
    )


@pytest.mark.parametrize("end", ["", "/saved_model/12", "/export/saved_model", "/ckpt-12"])
def test_a_chain_of_runs_is_followed_to_its_beginning(world, tmp_path, end):
    config = TUNE.replace(eval_split="test", checkpoint=chain(tmp_path, world.builder, "all") + end)
    overlap = splits.check(config, world.builder, splits.of_run(config, world.builder), None)
    rows = [(row["with"], row["split"], row["patients"]) for row in overlap["in_common"]]
    assert rows == [
        ("training", "train", 0),
        ("pretraining", "validation", 0),
        ("pretraining", "all", 6),
    ]
    assert overlap["not_known"] == ""
    notes = " ".join(known_patients.notes({"patients": overlap}))
    assert "6 of the 6 evaluated patients were in the pretraining on 'all' of derm_bags/" in notes
    assert not known_patients.warnings({"patients": overlap})


def test_labels_of_a_run_that_it_began_from_count_as_training(world, tmp_path):
    start = pretend(tmp_path / "teacher", world.builder, train_mode="finetune", train_split="test")
    config = TUNE.replace(eval_split="test", checkpoint=start)
    with pytest.raises(UserError, match="6 of its 6 patients are in 'test', which the run was tr"):
        evaluate.check_splits(config, world.builder)


@pytest.mark.parametrize("weights", ["nowhere/ckpt-3", "BiT.npz", "others"])
def test_weights_from_elsewhere_are_not_known(world, tmp_path, weights):
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "config.json").write_text('{"model_type": "vit"}')  # a usual name
    config = TUNE.replace(eval_split="test", checkpoint=str(tmp_path / weights))
    overlap = splits.check(config, world.builder, splits.of_run(config, world.builder), None)
    assert [row["with"] for row in overlap["in_common"]] == ["training"]
    assert "Not known: the images behind the weights" in " ".join(
        known_patients.notes({"patients": overlap})
    )


def test_runs_that_began_from_one_another_end_the_list(world, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    pretend(one, world.builder, checkpoint=str(two))
    pretend(two, world.builder, checkpoint=str(one))
    config = TUNE.replace(eval_split="test", checkpoint=str(one))
    overlap = splits.check(config, world.builder, splits.of_run(config, world.builder), None)
    assert len(overlap["in_common"]) == 3 and overlap["not_known"]


def test_pretraining_on_another_dataset_is_not_known(world, tmp_path):
    other = world.prepared(draw_cases(tmp_path / "other", {"train": 6, "test": 6}, seed=5))
    start = pretend(tmp_path / "simclr", other)
    config = TUNE.replace(eval_split="test", checkpoint=start)
    overlap = splits.check(config, world.builder, splits.of_run(config, world.builder), None)
    row = overlap["in_common"][-1]
    assert row["patients"] is None and "another dataset" in row["why"]
    assert "Not known: patients in common with the pretraining on 'train' of" in " ".join(
        known_patients.notes({"patients": overlap})
    )


# Data that the run has never seen


def without_splits(folder, count, **how):
    """Draws cases whose table has no split column."""
    columns = {"patient_id": lambda case: f"q{case}"}
    draw_cases(folder, {"train": count}, columns=columns, **how)
    manifest = folder / "manifest.csv"
    rows = [line.split(",") for line in manifest.read_text().splitlines()]
    manifest.write_text("".join(",".join([*row[:3], *row[4:]]) + "\n" for row in rows))
    return folder


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """81 cases of one image, without a split column."""
    folder = tmp_path_factory.mktemp("outside") / "photos"
    return without_splits(folder, 81, images=lambda case: 1, seed=4)


@pytest.fixture(scope="module")
def chosen(world, short_encoders, tuned):
    """The fine-tuned run after its own evaluation, as other data wants it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(draw.embedding, "save", lambda *args: None)
        patch.setattr(draw, "save_report", lambda *args: {})
        code, _, errors = world.eval(tuned, "--eval_split=test")
    assert code == 0, errors
    return tuned


@pytest.mark.parametrize(
    ("arguments", "words", "cases"),
    [
        ([], "81 of 81 cases: all splits (train ", 81),
        (["--eval_split=validation"], " of 81 cases: split 'validation' (there are train ", None),
        (["--eval_steps=2", "--eval_batch_size=5"], "10 of 81 cases: all splits", 10),
    ],
)
def test_data_never_seen_is_evaluated_whole_unless_a_part_is_named(
    world, chosen, outside, arguments, words, cases
):
    code, output, errors = world.eval(
        chosen, f"--manual_dir={outside}", "--eval_name=out", *arguments
    )
    assert code == 0, errors
    result = result_of(chosen, "_out")
    assert f"Evaluated: {cases or result['evaluated']['cases']}" in output and words in output
    assert result["evaluated"]["of"] == 81
    if cases:
        assert result["evaluated"]["cases"] == cases
    else:  # the named split alone, by the hash of the ids
        assert 0 < result["evaluated"]["cases"] == result["evaluated"]["cases_of_split"] < 30
        assert "by a hash of the patients' ids" in output
    if cases == 10:
        assert "its first 10 of 81 by --eval_steps" in output
    assert in_common(result) == {"selection": None, "training": None}
    assert "the selection on 'validation', the training on 'train' of " in output


def test_a_table_s_own_splits_are_kept(world, chosen, tmp_path):
    other = draw_cases(tmp_path / "other", {"train": 5, "test": 4}, seed=8)
    arguments = [f"--manual_dir={other}", "--eval_name=own_splits"]
    code, _, errors = world.eval(chosen, *arguments)  # --eval_split is the run's, validation
    assert code == 2 and "has no split 'validation'; it has: " in errors
    code, output, errors = world.eval(chosen, *arguments, "--eval_split=test")
    assert code == 0, errors
    assert "Evaluated: 4 of 9 cases: split 'test' (there are train 5, test 4)." in output


def test_a_pretraining_run_needs_a_part_of_other_data_for_its_probes(world, pretrained, outside):
    code, output, errors = world.eval(pretrained, f"--manual_dir={outside}", "--eval_name=out")
    assert code == 0, errors
    evaluated = result_of(pretrained, "_out")["evaluated"]
    split, fitted = evaluated["probes_fitted_on"]
    assert (evaluated["split"], split) == ("validation", "train")
    assert (
        evaluated["cases"] == evaluated["cases_of_splits"]["validation"] and evaluated["of"] == 81
    )
    assert fitted == evaluated["cases_of_splits"]["train"]
    assert f"Evaluated: {evaluated['cases']} of 81 cases: split 'validation'" in output
    assert f"Probes are fitted on 'train', {fitted} cases of the same data." in output


def test_the_run_s_own_folder_prepared_again_is_not_data_never_seen(world, outside, tmp_path):
    """A file that was changed, here or in a copy, makes another dataset, of the same people."""
    photos = tmp_path / "photos"
    shutil.copytree(outside, photos)
    builder = world.prepared(photos)
    config = TUNE.replace(manual_dir=str(photos))
    of_run = splits.of_run(config, builder)
    for other in (photos, tmp_path / "copy"):
        if not other.exists():
            shutil.copytree(photos, other)
        with (other / "manifest.csv").open("a") as table:
            table.write("\n")
        again = world.prepared(other)
        assert again.info.full_name != builder.info.full_name
        config_of_copy = config.replace(
            manual_dir=str(other), eval_split="train", eval_name="again"
        )
        assert splits.whole_if_unseen(config_of_copy, again, of_run).data.eval_split == "train"
        count = len(patients_of(again, "train"))
        with pytest.raises(
            UserError, match=f": {count} of its {count} patients are in 'train', which"
        ):
            splits.check(config_of_copy, again, of_run, None)
        clean = splits.check(config_of_copy.replace(eval_split="test"), again, of_run, None)
        assert clean["in_common"][0]["patients"] == 0


def _tree(folder):
    for label in ("a", "b"):
        for case in range(12):
            derm_folders.draw(folder / label / f"{label}{case}" / "1.png", seed=case)


def _split_tree(folder):
    for split in ("train", "val", "test"):
        derm_folders.draw(folder / split / "a" / f"{split}0" / "1.png")


def _loose(folder):
    for case in range(20):
        derm_folders.draw(folder / f"c{case}_x.png", seed=case)


LAYOUTS = {  # name: (package, draws a folder, options, who divided it)
    "manifest without splits": (derm_bags, lambda f: without_splits(f, 30), {}, "hash"),
    "manifest with splits": (
        derm_bags,
        lambda f: draw_cases(f, {"train": 3, "test": 2}),
        {},
        "table",
    ),
    "label/case/image": (derm_bags, _tree, {}, "hash"),
    "split/label/case/image": (derm_bags, _split_tree, {}, "table"),
    "images alone": (derm_bags, _loose, {"bag_regex": "(c[0-9]+)"}, "hash"),
    "HAM10000": (
        derm_bags,
        lambda f: derm_folders.ham_folder(f, [(i, "nv", 1) for i in range(20)]),
        {},
        "hash",
    ),
    "CheXpert": (chexpert_studies, lambda f: cxr_twins.draw_chexpert(f, 30, size=16), {}, "hash"),
    "NIH with lists": (nih_cxr14, lambda f: cxr_twins.draw_nih(f, 20, size=16), {}, "table"),
    "NIH without": (
        nih_cxr14,
        lambda f: cxr_twins.draw_nih(f, 20, size=16, lists=False),
        {},
        "hash",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_of_every_layout_it_is_known_who_divided_it(tmp_path, layout):
    """Also of one that was prepared before that was written down."""
    package, draw, options, divided_by = LAYOUTS[layout]
    draw(tmp_path / "photos")
    config = package.folder_config(str(tmp_path / "photos"), **options)
    builder = package.Builder(config=config, data_dir=tmp_path / "tfds")
    assert splits.divided_by_hash(builder) == (
        divided_by == "hash"
    )  # its metadata is not there yet
    builder.download_and_prepare()
    assert splits.divided_by_hash(builder) == (divided_by == "hash")
    again = package.Builder(config=config, data_dir=tmp_path / "tfds")
    assert again.info.metadata["splits_from"] in ("hash", "table", "official lists")
    assert splits.divided_by_hash(again) == (divided_by == "hash")


def test_two_copies_of_a_published_dataset_have_the_same_patients(tmp_path):
    """With NIH's lists and without, reduced and not: other splits of the same people."""
    builders = []
    for lists in (True, False):
        folder = tmp_path / str(lists)
        cxr_twins.draw_nih(folder, 30, size=16, lists=lists)
        config = nih_cxr14.folder_config(str(folder))
        builders.append(nih_cxr14.Builder(config=config, data_dir=tmp_path / "tfds"))
        builders[-1].download_and_prepare()
    config = TUNE.replace(dataset="nih_cxr14", eval_split="test", eval_name="copy")
    of_run = splits.of_run(config, builders[0])
    shared = patients_of(builders[0], "train") & patients_of(builders[1], "test")
    assert shared
    assert splits.whole_if_unseen(config, builders[1], of_run) == config
    with pytest.raises(UserError, match=f": {len(shared)} of its "):
        splits.check(config, builders[1], of_run, None)


# Recipes


@pytest.mark.parametrize("recipe", sorted(path.name for path in (ROOT / "flags").glob("*.flags")))
def test_no_recipe_is_caught(world, recipe):
    recipe_flags = flags.parse(["", f"--flagfile={recipe}"]).given
    is_study = recipe_flags.get("mode") == "study"
    for config in (
        of_study(recipe_flags).values() if is_study else [flags.config_from(recipe_flags)]
    ):
        config = config.replace(label_set="all", selection_metric="macro_auc")
        evaluate.check_splits(config, world.builder)
