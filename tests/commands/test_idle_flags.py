"""Flags without an effect: which are refused, which noted, and that the table of them is true."""

import contextlib
import io
import itertools
import json
import shutil

import pytest

from helpers import ROOT
from helpers.command_line import run
from helpers.effects import BASE, CHANGES, FINETUNE, TUNED, Effects
from simclr_med import config as options
from simclr_med.commands import flags, idle_flags
from simclr_med.commands.main import main
from simclr_med.config import FIELDS, REACH, Config, work_of
from simclr_med.errors import UserError

MODES = FIELDS["mode"].metadata["choices"]
RECIPES = sorted((ROOT / "flags").glob("*.flags"))


def check_line(*arguments, of_run=None):
    """Returns (what is refused, notes) of a command line, without running it."""
    line = flags.parse(["run.py", *arguments])
    return checked(line, Config.from_dict({**(of_run or {}), **line.given}), of_run)


def checked(line, config, of_run=None):
    try:
        return "", idle_flags.check(line, config, of_run)
    except UserError as error:
        return str(error), []


def test_each_flag_says_where_it_has_an_effect():
    assert list(REACH) == list(FIELDS)
    for name, reach in REACH.items():
        assert reach.work and set(reach.work) <= set(idle_flags._WORDS), name
        assert {*reach.only_if, *filter(None, [reach.unless])} <= set(FIELDS), name
        assert set(reach.set_in) <= set(MODES), name
    assert set(itertools.chain(*(work_of(mode, "finetune") for mode in MODES))) | {
        *work_of("train", "pretrain"),
        *work_of("eval", "finetune", of_run=False),
        *work_of("compare", "pretrain", features=True),
    } == set(idle_flags._WORDS)


def other_value(name):
    """Returns a value that is not the flag's default."""
    value = CHANGES[name][1]
    default = FIELDS[name].default
    return value if value != default else {"bool": not default}.get(FIELDS[name].type, "elsewhere")


@pytest.mark.parametrize("name", [name for name in FIELDS if name not in ("mode", "train_mode")])
@pytest.mark.parametrize("train_mode", ["pretrain", "finetune"])
def test_every_flag_in_every_mode_has_an_effect_or_is_named(name, train_mode):
    """By hand. In every mode something is said if and only if the table says that nothing happens."""
    reach, value = REACH[name], other_value(name)
    given = {"str | None": "given", "bool": True}
    needed = {o: given[FIELDS[o].type] for o in reach.only_if if FIELDS[o].type in given}
    line = flags.CommandLine({name: value}, False, by_hand=frozenset({name}))
    for mode in MODES:
        config = Config().replace(**{**needed, "mode": mode, "train_mode": train_mode, name: value})
        refused, notes = checked(line, config, {} if mode == "eval" else None)
        reached = set(reach.work) & set(work_of(mode, train_mode)) and mode not in reach.set_in
        must_act = reach.shapes_results and mode not in ("build", "verify", *reach.set_in)
        assert bool(refused) == bool(not reached and must_act), mode
        assert len(notes) == bool(not reached and not must_act), mode
        for text in [refused, *notes] if not reached else []:
            assert not text or f"--{name}=" in text and text.endswith("Leave it out.")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--class_weights=balanced", "with --train_mode=pretrain: it is for fine-tuning."),
        ("--train_mode=finetune --temperature=0.5", "with --train_mode=finetune: it is for pretra"),
        ("--selection_split=test", "it is for evaluating a fine-tuned run, --mode=export"),
        ("--train_mode=finetune --nohidden_norm", "--hidden_norm=false has no effect"),
        ("--train_mode=finetune --label_fractions=0.1", "it is for --mode=label_efficiency and"),
        ("--mode=train --repeats=5", "with --mode=train: it is for --mode=train_then_eval"),
        ("--mode=train --folds=5", "with --mode=train: it is for --mode=train_then_eval"),
        ("--mode=compare --runs=a,b --eval_split=test", "--eval_split=test has no effect"),
        ("--optimizer=adam --momentum=0.5", "with --optimizer=adam: it needs --optimizer=lars or"),
        ("--flagfile=laptop.flags --train_epochs=3", "beside --train_steps=300, which overrides"),
        ("--flagfile=laptop.flags --train_epochs=100", "add --train_steps=0, or leave it out."),
        ("--proj_head_mode=none --proj_out_dim=64", "needs --proj_head_mode=linear or nonlinear"),
        ("--mode=embed --checkpoint=x --learning_rate=1", "it is for pretraining and fine-tuning"),
    ],
)
def test_what_would_mislead_is_refused(arguments, words):
    refused, notes = check_line("--dataset=x", *arguments.split())
    assert words in refused and not notes


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (
            "--mode=build --temperature=0.5",
            "with --mode=build: it is for pretraining. Leave it out.",
        ),
        (
            "--mode=sweep --train_mode=finetune --learning_rate=1",
            "which sets it for each of its ru",
        ),
        (
            "--mode=label_efficiency --train_mode=finetune --label_fraction=0.5",
            "for each of its run",
        ),
        ("--train_mode=finetune --nt_xent_chunk=64", "it is for pretraining"),
        ("--mode=compare --runs=a,b --nodeterministic", "--deterministic=false has no effect"),
        ("--beam_options=--x=1", "with --beam_runner=none: it needs --beam_runner"),
    ],
)
def test_what_misleads_nobody_is_noted(arguments, words):
    refused, notes = check_line(*arguments.split())
    assert not refused and len(notes) == 1
    assert notes[0].startswith("Note: --") and words in notes[0]


@pytest.mark.parametrize(
    "arguments", ["--train_mode=finetune --nomicle --temperature=0.1", "--class_weights=none"]
)
def test_what_is_so_anyway_is_not_worth_a_word(arguments):
    assert check_line("--dataset=x", *arguments.split()) == ("", [])


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
@pytest.mark.parametrize("mode", [None, *MODES])
def test_recipes_are_for_every_mode(recipe, mode):
    arguments = [f"--flagfile={recipe}", *([f"--mode={mode}"] if mode else [])]
    assert check_line(*arguments) == ("", [])


def test_a_file_of_the_users_own_may_serve_several_commands(tmp_path):
    """What stands in it is noted, and what stands in the recipe below it is not."""
    path = tmp_path / "mine.flags"
    path.write_text("--flagfile=derm_finetune.flags\n# mine\n--temperature=0.5\n--nohidden_norm\n")
    refused, notes = check_line(f"--flagfile={path}", "--noglobal_bn", "--mode=sweep")
    assert not refused
    assert [note.split()[1] for note in notes] == ["--hidden_norm=false", "--temperature=0.5"]
    refused, _ = check_line(f"--flagfile={path}", "--temperature=0.5")  # by hand too
    assert "--temperature=0.5" in refused and "hidden_norm" not in refused


OF_RUN = {**TUNED.to_dict(), "learning_rate": 0.25}


@pytest.mark.parametrize("mode", ["eval", "export", "embed"])
def test_the_flags_of_a_trained_run_may_be_given_again_as_they_were(mode):
    """As SimCLR's own --mode=eval needs them; with other values they would be a false record."""
    command = (f"--mode={mode}", "--model_dir=run")
    again = ("--learning_rate=0.25", "--train_mode=finetune", "--weight_decay=0.001")
    assert check_line(*command, *again, of_run=OF_RUN) == ("", [])
    refused, _ = check_line(*command, "--learning_rate=0.5", of_run=OF_RUN)
    assert "the run in --model_dir was trained with 0.25. Leave it out." in refused
    refused, _ = check_line(*command, "--train_mode=pretrain", of_run=OF_RUN)
    assert "--train_mode=pretrain has no effect" in refused and "with finetune" in refused
    older = {k: v for k, v in OF_RUN.items() if k != "class_weights"}  # than that flag
    assert check_line(*command, "--class_weights=none", of_run=older) == ("", [])


def test_a_selection_for_a_pretrained_run_is_refused():
    refused, _ = check_line(
        "--mode=eval", "--model_dir=run", "--selection_split=test", of_run=BASE.to_dict()
    )
    assert "has no effect on a run of --train_mode=pretrain" in refused


def test_the_command_refuses_and_notes(tiny_tuned, tmp_path):
    copy = shutil.copytree(tiny_tuned, tmp_path / "tuned")
    before = (copy / "result.json").read_text()
    code, _, errors = run("--mode=eval", f"--model_dir={copy}", "--weight_decay=0.7")
    assert code == 2 and errors.startswith(
        "run.py: --weight_decay=0.7 has no effect with --mode=ev"
    )
    assert (copy / "result.json").read_text() == before
    data = {k: v for k, v in json.loads((copy / "config.json").read_text()).items() if "_dir" in k}
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        build = ["--mode=build", "--dataset=derm_bags", "--micle"]
        folders = [f"--{name}={data[name]}" for name in ("manual_dir", "data_dir")]
        assert main(["run.py", *build, *folders]) == 0
    assert out.getvalue().startswith(
        "Note: --micle=true has no effect with --mode=build: it is for p"
    )


@pytest.fixture(scope="module")
def effects(tmp_path_factory):
    return Effects(tmp_path_factory.mktemp("effects"))


_MADE_OF = ("augment", "model", "train", "optim")  # groups of flags whose effects show in training
_SHOWS = {"training": _MADE_OF, "evaluation": (*_MADE_OF, "data")}
_NEEDS = {"jit_compile", "micle", "train_epochs"}  # other flags, or another mode; see validate


def idle_in(work, how):
    """Returns the flags that the table says not to reach some work, of those that could show in it."""
    groups = {f.name for g in _SHOWS[how] for f in options.dataclasses.fields(options.GROUPS[g])}
    return [n for n, reach in REACH.items() if n in groups - _NEEDS and not {*work} & {*reach.work}]


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("name", [*idle_in([options.PRETRAIN], "training")])
def test_it_is_true_of_pretraining(effects, name):
    if name == "fine_tune_after_block":  # refused by `validate`
        return
    changed = BASE.replace(**{name: other_value(name)})
    assert effects.see_training(changed) == effects.see("training", BASE)


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("name", idle_in([options.FINETUNE], "training"))
def test_it_is_true_of_fine_tuning(effects, name):
    changed = TUNED.replace(**{name: other_value(name)})
    assert effects.see_training(changed)[:3] == effects.see("training", TUNED)[:3]


@pytest.mark.slow
@pytest.mark.one_stack
@pytest.mark.parametrize("name", idle_in([options.SCORE], "evaluation"))
def test_it_is_true_of_evaluation(effects, name):
    if name in ("manual_dir", "dataset", "label_fraction", "label_seed"):
        return  # they are in the result as they are given
    changed = TUNED.replace(**{name: other_value(name)})
    assert effects.see_evaluation(changed) == effects.see("evaluation", TUNED)


def test_fine_tuning_is_told_from_pretraining():
    """Or the tests above compare nothing."""
    assert idle_in([options.PRETRAIN], "training") == [
        "fine_tune_after_block",
        "class_weights",
        "soft_labels",
        "init_head",
        "layer_decay",
    ]
    assert {"temperature", "hidden_norm"} <= set(idle_in([options.FINETUNE], "training"))
    assert FINETUNE["train_mode"] == "finetune"
