"""What a run refuses to train on, before anything is written: labels and batches that teach nothing."""

import types

import numpy as np
import pytest

from helpers.command_line import run
from helpers.folders import draw_cases
from simclr_med.config import Config
from simclr_med.errors import UserError
from simclr_med.training.plan import check_kinds

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
    code, _, said = run(
        "--train_mode=finetune", *photos, *TINY, f"--model_dir={tmp_path / 'run'}",
        "--train_batch_size=4",
    )  # fmt: skip
    assert code == 2
    assert "--train_split=train: all 8 labelled cases are of one class, 'nevus'" in said
    assert not (tmp_path / "run" / "config.json").exists()


def test_a_batch_without_negatives_is_refused(photos, tmp_path):
    command = (*photos, *TINY, f"--model_dir={tmp_path / 'run'}")
    for micle in ("--micle", "--nomicle"):
        code, _, said = run(*command, micle, "--train_batch_size=1")
        assert code == 2 and "--train_batch_size=1: a view's negatives are" in said
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
