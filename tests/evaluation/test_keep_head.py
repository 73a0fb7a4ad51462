"""Weights of others as the classifiers that they are: the scores of the run that made them."""

import json

import numpy as np
import pytest

from helpers import simclr_layout
from helpers.command_line import run
from helpers.tiny_runs import FINETUNE
from simclr_med.build import make_model
from simclr_med.checkpoints import files as checkpoint_files
from simclr_med.checkpoints.restore import restore
from simclr_med.checkpoints.weights import open_weights
from simclr_med.commands.run_config import default_model_dir
from simclr_med.config import Config

pytestmark = pytest.mark.usefixtures("one_block")


@pytest.fixture(scope="module")
def of_data(tiny_data):
    folder, data_dir = tiny_data.builder_config.manifest.folder, tiny_data._data_dir_root
    return ["--dataset=derm_bags", f"--manual_dir={folder}", f"--data_dir={data_dir}"]


@pytest.fixture(scope="module")
def simclr(tiny_tuned, tmp_path_factory):
    """A fine-tuned model's checkpoint as SimCLR's code writes it, and the flags of its encoder."""
    with pytest.MonkeyPatch.context() as patch:
        from helpers import encoders

        encoders.shorten(patch)
        model = make_model(FINETUNE, 2)
        restore(model, checkpoint_files.newest_usable(str(tiny_tuned)))
        path = tmp_path_factory.mktemp("simclr") / "ckpt"
        simclr_layout.write_checkpoint(model, str(path))
    return [f"--checkpoint={path}", "--keep_head", "--resnet_depth=18", "--image_size=34"]


def few():
    return ["--keep_hub_module_max=0"]


@pytest.mark.slow
@pytest.mark.one_stack
def test_the_scores_are_those_of_the_run_that_made_the_weights(
    simclr, of_data, tiny_tuned, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    out = tmp_path / "out"
    # SimCLR's own weights were trained without antialiasing; these were not.
    command = ["--mode=eval", *simclr, "--antialias=true", *of_data, *few(), f"--model_dir={out}"]
    code, output, errors = run(*command)
    assert code == 0, errors
    assert "Assumed: its 2 classes are the dataset's, in this order: label0, label1" in output
    assert "nothing is trained" in output and "supervised head" in output
    assert (out / "predictions.csv").read_text() == (tiny_tuned / "predictions.csv").read_text()
    result = json.loads((out / "result.json").read_text())
    assert result["global_step"] == 0 and "SimCLR TF2 checkpoint" in result["adopted_weights"]
    assert json.loads((tiny_tuned / "result.json").read_text())["adopted_weights"] is None
    config = json.loads((out / "config.json").read_text())
    assert (config["train_mode"], config["keep_head"]) == ("finetune", True)

    # Again, with and without the weights; then as any run.
    (out / "predictions.csv").unlink()
    assert run(*command)[0] == 0 and (out / "predictions.csv").exists()
    code, _, errors = run(
        "--mode=eval", f"--model_dir={out}", "--eval_split=train", "--eval_name=t"
    )
    assert code == 0 and (out / "predictions_t.csv").exists(), errors
    code, _, errors = run("--mode=export", f"--model_dir={out}", "--export_formats=keras")
    assert code == 0, errors
    card = (out / "export" / "README.md").read_text()
    assert (
        "not trained further" in card and "Logits for 2 classes (softmax): label0, label1" in card
    )


def test_the_folder_of_a_run_is_not_overwritten(simclr, of_data, tiny_tuned):
    code, _, errors = run("--mode=eval", *simclr, *of_data, *few(), f"--model_dir={tiny_tuned}")
    assert code == 2 and f"--model_dir={tiny_tuned} holds a run, and --checkpoint names" in errors


def test_without_a_folder_it_gets_one_of_its_own():
    config = Config().replace(dataset="d", train_mode="finetune", checkpoint="x", keep_head=True)
    evaluated = default_model_dir(config.replace(mode="eval"), "d")
    assert evaluated.startswith("runs/d_eval_")
    assert default_model_dir(config.replace(mode="train"), "d") != evaluated


@pytest.mark.slow
@pytest.mark.one_stack
def test_fine_tuning_goes_on_from_the_kept_head(simclr, of_data, tiny_tuned, tmp_path):
    """At a learning rate of nearly nothing: what was in the file is in the checkpoint."""
    step = ["--train_mode=finetune", "--mode=train", "--train_steps=1", "--train_batch_size=4"]
    step += [
        "--optimizer=momentum",
        "--learning_rate=1e-9",
        "--warmup_epochs=0",
        "--weight_decay=0",
    ]
    step += ["--label_fraction=0.9"]
    heads = {}
    for keep in ("--keep_head", "--nokeep_head"):
        out = tmp_path / keep
        code, output, errors = run(*step, *simclr, *of_data, keep, f"--model_dir={out}")
        assert code == 0, errors
        hidden = "trained with labels that --label_fraction=0.9 hides" in output
        assert hidden == (keep == "--keep_head")
        heads[keep] = open_weights(str(out)).entries["supervised_head/dense/kernel"].read()
    original = open_weights(str(tiny_tuned)).entries["supervised_head/dense/kernel"].read()
    np.testing.assert_allclose(heads["--keep_head"], original, atol=1e-6)
    assert np.abs(heads["--nokeep_head"] - original).max() > 1e-3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--mode=eval", "--keep_head"], "needs the --model_dir of a run, or --checkpoint with --keep_"),
        (["--mode=eval", "--keep_head", "--checkpoint=x", "--train_mode=pretrain"], "evaluates --check"),
        (["--train_mode=finetune", "--keep_head"], "--keep_head=true has no effect with --checkpoint=n"),
        (["--checkpoint=x", "--keep_head"], "has no effect with --train_mode=pretrain"),
        (
            ["--train_mode=finetune", "--checkpoint=x", "--keep_head", "--zero_init_logits_layer"],
            "beside --keep_head=true, which overrides it: add --nokeep_head, or leave it out",
        ),
        (["--mode=eval", "--keep_head", "--checkpoint=x"], "--dataset is missing"),
    ],
)  # fmt: skip
def test_mistakes_are_named(arguments, words):
    code, _, errors = run(*arguments)
    assert code == 2 and words in errors and len(errors.splitlines()) == 1
