"""What a run refuses to train on, before anything is written: labels and batches that teach nothing."""

import types

import numpy as np
import pytest

from helpers import many_files, tiny_runs
from helpers.command_line import run
from helpers.folders import draw_cases
from simclr_med.build import labelled_cases, open_bags
from simclr_med.config import Config
from simclr_med.data import DATA_ORDER, streams
from simclr_med.errors import UserError
from simclr_med.training.plan import check_kinds, make_plan

NAN = float("nan")
TINY = ("--resnet_depth=18", "--image_size=34", "--train_steps=1", "--warmup_epochs=0")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Eight cases of one class train; validation has two."""
    root = tmp_path_factory.mktemp("one_class")
    folder = draw_cases(
        root / "photos",
        {"train": 8, "validation": 4},
        classes=[*["nevus"] * 8, *["nevus", "mel"] * 2],
    )
    return "--dataset=derm_bags", f"--manual_dir={folder}", f"--data_dir={root / 'tfds'}"


def test_training_data_of_one_class_is_refused(photos, tmp_path):
    code, _, errors = run(
        "--train_mode=finetune", *photos, *TINY, f"--model_dir={tmp_path / 'run'}",
        "--train_batch_size=4",
    )  # fmt: skip
    assert code == 2
    assert "--train_split=train: all 8 labelled cases are of one class, 'nevus'" in errors
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_batch_without_negatives_is_refused(photos, tmp_path):
    command = (*photos, *TINY, f"--model_dir={tmp_path / 'run'}")
    for micle in ("--micle", "--nomicle"):
        code, _, errors = run(*command, micle, "--train_batch_size=1")
        assert code == 2 and "--train_batch_size=1: a view's negatives are" in errors
    assert not (tmp_path / "run" / "config.json").exists()


@pytest.mark.parametrize(
    ("labels", "refused"),
    [
        ([[0, 0], [0, NAN], [NAN, 0]], True),
        ([[1, 0], [1, NAN], [1, 0]], True),  # each label is constant, not the same constant
        ([[1, 0], [1, NAN], [1, 1]], False),
        ([[0, 0], [0, NAN], [1, 0]], False),
    ],
)
def test_labels_that_are_all_constant_are_refused(labels, refused):
    bags = types.SimpleNamespace(multilabel=True, class_names=("Edema", "Effusion"))
    config = Config().replace(label_fraction=0.25)
    if not refused:
        check_kinds(config, bags, np.array(labels))
        return
    with pytest.raises(UserError, match="--train_split=train --label_fraction=0.25: no label is"):
        check_kinds(config, bags, np.array(labels))


@pytest.mark.parametrize(
    ("changed", "num_examples", "words"),
    [
        (
            {"micle": True, "multi_image_repeats": 3},
            2 + 3 * 6,
            "6 of 8 bags hold several images and appear 3 times each: 90% of an epoch's pairs are two",
        ),
        (
            {"simclr_unit": "bag", "multi_image_repeats": 2},
            2 + 2 * 6,
            "6 of 8 bags hold several images and appear 2 times each: 86% of an epoch's examples are",
        ),
        ({"micle": True}, 8, "2 of 8 bags hold one image only: their pairs are two views of it."),
        ({"simclr_unit": "bag"}, 8, ""),
        ({}, 20, ""),  # the images
    ],
)
def test_what_an_epoch_is_made_of(tiny_data, capsys, changed, num_examples, words):
    """Of 8 cases with 1, 2, 3, 4, 1, 2, 3 and 4 images; steps and warm-up follow."""
    config = tiny_runs.BASE.replace(train_steps=0, train_epochs=10, warmup_epochs=2.0, **changed)
    plan = make_plan(config, tiny_data, 1)
    assert plan.num_examples == num_examples
    assert plan.total_steps == num_examples * 10 // 4 + 1
    assert plan.schedule.numbers["warmup_steps"] == num_examples * 2 // 4
    out = capsys.readouterr().out
    assert words in out and (words or "bags hold" not in out)


def test_a_batch_never_has_more_bags_than_there_are_however_often_they_appear(tiny_data):
    config = tiny_runs.BASE.replace(micle=True, multi_image_repeats=3, train_batch_size=9)
    with pytest.raises(
        UserError, match="is larger than split 'train' with its 8 bags. Use at most 8"
    ):
        make_plan(config, tiny_data, 1)


def test_the_labels_that_are_kept_follow_label_seed_and_else_the_seed(tiny_data, capsys):
    config = tiny_runs.FINETUNE.replace(label_fraction=0.5)
    bags = open_bags(config, tiny_data, "train")
    by_seed = [labelled_cases(config.replace(seed=s), bags)[1].tolist() for s in range(4)]
    assert len({tuple(chosen) for chosen in by_seed}) > 1
    for s, chosen in enumerate(by_seed):
        labelled = labelled_cases(config.replace(seed=9, label_seed=s), bags)[1]
        assert labelled.tolist() == chosen
    make_plan(config.replace(label_seed=3), tiny_data, 1)
    assert "(--label_fraction=0.5 of the patients, by --label_seed=3)" in capsys.readouterr().out


@pytest.mark.parametrize("begun", [(None, None), (3, 16), (3, 4), (2, None), (1, None)])
def test_the_streams_of_a_run_are_those_with_which_it_began(
    tmp_path_factory, monkeypatch, capsys, begun
):
    builder = many_files.prepare(tmp_path_factory.mktemp("sixteen"), 16)
    monkeypatch.setattr(streams, "_LEAST", 10)
    config = Config().replace(train_batch_size=48, micle=True, train_steps=2)
    plan = make_plan(config, builder, 1, *begun)
    order, count = begun
    assert plan.streams.count == (1 if order in (1, 2) else count or 8)
    assert plan.data_order == (order or DATA_ORDER)
    assert ("began with an older version" in capsys.readouterr().out) == (order in (1, 2))
