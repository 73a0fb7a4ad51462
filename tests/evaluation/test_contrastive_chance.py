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
    counted = {"contrast_negatives": 10.0, "contrast_chance_loss": 5.0, "contrast_chance_acc": 0.2}
    facts = chance_of(tmp_path, [ROW] * 3 + [{**ROW, **counted}])
    assert facts["negatives"] == 10 and facts["same_patient_negatives"] == "mask"
    assert (facts["loss"], facts["chance_loss"], facts["chance_accuracy"]) == (2.0, 2.5, 0.2)


def test_a_run_that_did_not_count_them_had_all_other_views(tmp_path):
    facts = chance_of(tmp_path, [ROW])
    assert facts["negatives"] is None
    assert facts["chance_loss"] == pytest.approx(math.log(15))
    assert facts["chance_accuracy"] == 1 / 8
