"""Flags, configuration and recipes: SimCLR's names and defaults, and no option without a reader."""

import ast
import re

import pytest

from helpers import ROOT
from simclr_med.commands import flags, help
from simclr_med.commands.recipes import of_study
from simclr_med.config import FIELDS, Config
from simclr_med.errors import UserError

# Name and default of every flag of google-research/simclr tf2/run.py (commit 383d414), but for the
# four whose help says why they differ: dataset, use_tpu, mode's extras and lists in `choices`.
SIMCLR = dict(
    learning_rate=0.3,
    learning_rate_scaling="linear",
    warmup_epochs=10,
    weight_decay=1e-6,
    batch_norm_decay=0.9,
    train_batch_size=512,
    train_split="train",
    train_epochs=100,
    train_steps=0,
    eval_steps=0,
    eval_batch_size=256,
    checkpoint_epochs=1,
    checkpoint_steps=0,
    eval_split="validation",
    cache_dataset=False,
    mode="train",
    train_mode="pretrain",
    lineareval_while_pretraining=True,
    checkpoint=None,
    zero_init_logits_layer=False,
    fine_tune_after_block=-1,
    master=None,
    model_dir=None,
    data_dir=None,
    tpu_name=None,
    tpu_zone=None,
    gcp_project=None,
    optimizer="lars",
    momentum=0.9,
    eval_name=None,
    keep_checkpoint_max=5,
    keep_hub_module_max=1,
    temperature=0.1,
    hidden_norm=True,
    proj_head_mode="nonlinear",
    proj_out_dim=128,
    num_proj_layers=3,
    ft_proj_selector=0,
    global_bn=True,
    width_multiplier=1,
    resnet_depth=50,
    sk_ratio=0.0,
    se_ratio=0.0,
    image_size=224,
    color_jitter_strength=1.0,
    use_blur=True,
)


def test_simclrs_flags_are_here_with_its_defaults():
    defaults = Config().to_dict()
    assert {name: defaults[name] for name in SIMCLR} == SIMCLR
    assert defaults["dataset"] is None and defaults["use_tpu"] is None


def test_every_option_is_read_somewhere():
    read = {"micle"}  # read as Config.method
    read |= {f"{name}_recipe" for name in ("simclr", "micle", "finetune")}  # commands/recipes.py
    files = [ROOT / "run.py", *(ROOT / "simclr_med").rglob("*.py")]
    for path in files:
        if path.name == "config.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute):
                read.add(node.attr)
            elif isinstance(node, ast.Constant) and path.name == "run.py":
                read.add(node.value)
    assert sorted(set(FIELDS) - read) == []


@pytest.mark.parametrize("recipe", sorted(path.name for path in (ROOT / "flags").glob("*.flags")))
def test_recipes_parse_and_are_possible(recipe):
    line = flags.parse(["run.py", f"--flagfile={ROOT / 'flags' / recipe}"])
    assert flags.config_from(line.given)
    studies = [f"study_{name}.flags" for name in ("demo", "ham10000", "derm", "cxr")]
    if recipe.startswith("sweep_"):
        assert line.given["mode"] == "sweep"
        return
    of_stage = recipe.startswith("study_") and recipe not in studies
    assert line.given.get("mode") == (
        None if of_stage else "study" if recipe in studies else "train_then_eval"
    )
    assert not line.is_demo


def test_the_recipes_of_a_study_are_possible_together():
    line = flags.parse(["run.py", f"--flagfile={ROOT / 'flags' / 'study_demo.flags'}"])
    recipes = of_study(line.given)
    assert [recipe.method for recipe in recipes.values()] == ["simclr", "micle", "finetune"]


@pytest.mark.parametrize("argument", ["--mode=compare", "-mode=compare"])
def test_comparing_runs_is_not_the_demo(argument):
    assert not flags.parse(["run.py", argument, "--runs=a,b"]).is_demo


def test_without_dataset_and_flagfile_it_is_the_demo_and_the_command_line_wins():
    line = flags.parse(["run.py", "--micle", "--image_size=32"])
    assert line.is_demo
    assert line.given["dataset"] == "derm_bags/demo" and line.given["image_size"] == 32


@pytest.mark.parametrize("mode", [["--mode=eval"], ["--mode", "eval"], ["-mode=eval"]])
def test_evaluating_a_run_is_not_the_demo(mode):
    assert not flags.parse(["run.py", *mode, "--model_dir=x"]).is_demo


@pytest.mark.parametrize(
    "argument, words",
    [
        ("--train_bach_size=8", "train_batch_size"),  # a typo gets a suggestion
        ("--optimizer=sgdx", "lars"),
        ("--train_batch_size=abc", "train_batch_size"),
        ("--resnet_depth=19", "18|34|50"),
        ("--temperature=0", "above 0"),
        ("--image_size=4", "at least 16"),
        ("--ft_proj_selector=4", "past the last layer"),
        ("--fine_tune_after_block=2", "finetune"),
        ("stray", "stray"),
        ("--flagfile=/no/such.flags", "/no/such.flags"),
    ],
)
def test_mistakes_are_named(argument, words):
    with pytest.raises(UserError, match=words.replace("|", r"\|")):
        flags.config_from(flags.parse(["run.py", "--dataset=x", argument]).given)


def test_a_configuration_survives_its_dict():
    config = Config().replace(micle=True, resnet_depth=18, rotation_degrees=45.0)
    assert Config.from_dict(config.to_dict()) == config
    with pytest.raises(UserError, match="colour"):
        Config.from_dict({"colour": 1})


def test_help_lists_every_flag():
    text = help.text(["--helpfull"])
    assert all(f"--{name}=" in text for name in FIELDS)


def test_no_document_holds_a_left_over_placeholder():
    left = re.compile(r"\b[A-Z]+_TABLE\b|TODO|FIXME|XXX")
    files = [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("flags/*.md")]
    assert len(files) >= 3
    placeholders = [(file.name, left.findall(file.read_text(encoding="utf-8"))) for file in files]
    assert [(name, words) for name, words in placeholders if words] == []
