"""What several seeds give: the table, where not all of them have every row, and their ensemble."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from helpers import tiny_runs
from simclr_med.build import open_bags
from simclr_med.data.cases import read_cases
from simclr_med.evaluation.report.results import predictions_csv
from simclr_med.experiments import repeats


def test_a_row_that_one_seed_lacks_is_left_out():
    """The weights before a run may be gone by the time of the second evaluation."""
    both = {"trained": {"macro_auc": 0.5}, "before this run": {"macro_auc": 0.4}}
    one = {"trained": {"macro_auc": 0.7}}
    rows_of_all = repeats.rows([{"classification": {"kNN": rows}} for rows in (both, one)])
    assert [(row["encoder"], row["values"]) for row in rows_of_all] == [("trained", [0.5, 0.7])]


def test_an_ensemble_is_the_mean_of_the_probabilities(tmp_path):
    builder, config = tiny_runs.prepare(tmp_path), tiny_runs.FINETUNE.replace(eval_split="train")
    bags, rng = open_bags(config, builder, "train"), np.random.default_rng(0)
    cases = read_cases(bags, 0)
    scores = rng.dirichlet([1, 1], (3, len(cases.ids)))
    folders, patients = [], {"evaluated": 8, "in_common": [], "told_apart_by": "x", "not_known": ""}
    for k, of_seed in enumerate(scores):
        order = rng.permutation(len(cases.ids)) if k else np.arange(len(cases.ids))
        shuffled = type(cases)(
            *(getattr(cases, n)[order] for n in ("ids", "patients", "labels")), order
        )
        folder = tmp_path / f"seed_{k}"
        folder.mkdir()
        csv = predictions_csv(shuffled, of_seed[order], bags.class_names)
        (folder / "predictions.csv").write_text(csv)
        data = {"class_names": list(bags.class_names), "several_labels": False}
        (folder / "data.json").write_text(json.dumps(data))
        folders.append(str(folder))
    results = [{"global_step": 2, "adopted_weights": None, "patients": patients}] * 3
    measured = repeats.ensemble(config, builder, folders, results)
    mean = scores.mean(axis=0)
    np.testing.assert_allclose(measured.predictions["predictions"], mean, rtol=1e-8)
    head = measured.result["classification"]["supervised head"]["trained"]
    assert head["macro_auc"] == pytest.approx(roc_auc_score(cases.labels == 1, mean[:, 1]))
