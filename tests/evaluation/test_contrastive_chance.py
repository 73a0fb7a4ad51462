"""What chance gives, beside the contrastive loss of a finished run."""

import json
import math

import pytest

from simclr_med.config import Config
from simclr_med.evaluation import measure

CONFIG = Config().replace(train_batch_size=8)
ROW = {"contrast_loss": 4.0, "contrast_acc": 0.5}


def chance_of(folder, rows):
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps({"step": i, **row}) + "\n" for i, row in enumerate(rows, 1))
    )
    return measure._contrastive(CONFIG, str(folder))


def test_it_is_of_the_negatives_that_were_there(tmp_path):
    there = {"contrast_negatives": 10.0, "contrast_chance_loss": 5.0, "contrast_chance_acc": 0.2}
    found = chance_of(tmp_path, [ROW] * 3 + [{**ROW, **there}])
    assert found["negatives"] == 10 and found["same_patient_negatives"] == "mask"
    assert (found["loss"], found["chance_loss"], found["chance_accuracy"]) == (2.0, 2.5, 0.2)


def test_a_run_that_did_not_count_them_had_all_other_views(tmp_path):
    found = chance_of(tmp_path, [ROW])
    assert found["negatives"] is None
    assert found["chance_loss"] == pytest.approx(math.log(15))
    assert found["chance_accuracy"] == 1 / 8
